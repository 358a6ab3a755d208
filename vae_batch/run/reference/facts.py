"""A reference: what identifies it, and where the reference store keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import Unit, fingerprint
from vae_batch.storage.score_rows import ReferenceKind


@dataclass(frozen=True)
class ReferenceFacts:
    """A reference set of images; or features of one, or statistics of these.

    Attributes:
        name: As the user named it.
        split: Split that was read.
        sha256: Digest of shape and pixels, in order; of features or statistics.
        count: Number of images; 0 where it is not known of statistics.
        shape: (H, W, C) of one image; None where there are no images.
        label_counts: Images of class 0, 1, ...; empty where the set has no labels.
        labels_sha256: Digest of the labels, in order; None where there are none.
        shard_size: Images per stored file.
        notes: Sentences for the user, such as an inferred value range.
        subset: Which images of the set these are, such as ``all`` or ``random 100 of 797``.
        unlike_rest: Why the first images of the set do not stand for the others; None where they
            do, or were not asked for.
        kind: What it holds.
        dimension: Of features or statistics; None of images.
        fit: How images were brought to one size, such as ``center-crop 256``; None where they are
            as they were stored.
        protocol: How features or statistics were made, as declared, else as the file says.
        weights_sha256: Of the network that they were made with, as the file says.
    """

    name: str
    split: str
    sha256: str
    count: int
    shape: tuple[int, int, int] | None
    label_counts: tuple[int, ...]
    labels_sha256: str | None
    shard_size: int
    notes: tuple[str, ...] = ()
    subset: str = "all"
    unlike_rest: str | None = None
    kind: ReferenceKind = "images"
    dimension: int | None = None
    fit: str | None = None
    protocol: str | None = None
    weights_sha256: str | None = None

    @property
    def folder(self) -> str:
        """Folder of these images in the reference store."""
        if self.kind != "images":
            return f"{self.kind}-{self.sha256[:16]}"
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
