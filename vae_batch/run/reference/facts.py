"""A set of reference images: what identifies it, and where the reference store keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import Unit, fingerprint


@dataclass(frozen=True)
class ReferenceFacts:
    """A reference set.

    Attributes:
        name: As the user named it.
        split: Split that was read.
        sha256: Digest of shape and pixels, in order.
        count: Number of images.
        shape: (H, W, C) of one image.
        label_counts: Images of class 0, 1, ...; empty where the set has no labels.
        labels_sha256: Digest of the labels, in order; None where there are none.
        shard_size: Images per stored file.
        notes: Sentences for the user, such as an inferred value range.
        subset: Which images of the set these are, such as ``all`` or ``random 100 of 797``.
        unlike_rest: Why the first images of the set do not stand for the others; None where they
            do, or were not asked for.
    """

    name: str
    split: str
    sha256: str
    count: int
    shape: tuple[int, int, int]
    label_counts: tuple[int, ...]
    labels_sha256: str | None
    shard_size: int
    notes: tuple[str, ...] = ()
    subset: str = "all"
    unlike_rest: str | None = None

    @property
    def folder(self) -> str:
        """Folder of these images in the reference store."""
        return image_folder(self.sha256)

    @property
    def unit(self) -> Unit:
        """The unit of the stored images."""
        mark = fingerprint(
            kind="images", sha256=self.sha256, labels=self.labels_sha256, size=self.shard_size
        )
        return Unit(
            path=f"{self.folder}/uint8-{self.shard_size}-{mark[:8]}",
            kind="images",
            fingerprint=mark,
            samples=self.count,
            shard_size=self.shard_size,
        )


def image_folder(sha256: str) -> str:
    """Folder, in the reference store, of the images with this digest."""
    return f"images-{sha256[:16]}"
