"""Sets of generated images that other programs made: a folder, an archive or an array file.

Such a set is scored like a checkpoint whose decoder reads images: sample i is the i-th image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vae_batch.models.autoencoder.description import Decision, Description, Need
from vae_batch.models.autoencoder.images import ImageFit, ImageShape, Pixels, require_fit
from vae_batch.models.formats.format import Array
from vae_batch.models.formats.registry import formats
from vae_batch.models.inputs.files import (
    LocalCopy,
    content_sha256,
    is_hidden,
    names_below,
    read_head,
    sha256_of_roles,
    walk,
)
from vae_batch.models.references.array_images import ONE_ARRAY
from vae_batch.models.references.encoded_images import (
    IMAGE_SUFFIXES,
    parquet_rows,
    zip_image_names,
)
from vae_batch.models.references.reference import ReferenceImages, open_generated
from vae_batch.models.references.subset import Subset, subset_in_words, unlike_halves
from vae_batch.plan.errors import CheckpointError, InputError
from vae_batch.plan.location import Location, is_uri
from vae_batch.plan.reading import InputFit, Reading
from vae_batch.storage.array_files import npy_array, npz_headers

#: The role of a set's file or folder among those of a checkpoint.
SAMPLES = "samples"

_LACKS: dict[Need, str] = {
    "encoder": "it is a set of generated images, which has no encoder",
    "posterior": "it is a set of generated images, which has no posterior",
    "latents": "it is a set of generated images, whose latents are not known",
}


@dataclass(frozen=True)
class SampleSet:
    """Generated images in files, read in place of an autoencoder's decoded ones.

    Attributes:
        description: What it is, and what it lacks.
        images: Those that are scored, with the reference's channels.
        fit: From their size to the reference's.
        batch_size: Not used; as of an autoencoder.
    """

    description: Description
    images: ReferenceImages
    fit: ImageFit
    batch_size: int
    takes_labels: bool = False

    def pictures(self, positions: Array, labels: Array | None = None) -> Pixels:
        """Images at (n,) positions as (n, H, W, C) uint8 of the reference's size.

        Raises:
            CheckpointError: An image is damaged, or cannot become grey; the message names it.
        """
        try:
            pixels = self.images.at(positions)
        except InputError as error:
            raise CheckpointError(str(error)) from error
        if self.fit.how is None:
            return pixels
        return self.fit.to_pictures(pixels.astype(np.float32))


def images_held(path: str, *, folder: bool) -> int | None:
    """Number of images of a set, by content; None of anything else.

    Args:
        path: Local path or URI; of a folder, all images below it are counted.
        folder: Whether it is a folder.
    """
    if folder:
        return len(_image_names(path)) or None
    count = _COUNTS.get(Path(Location.parse(path).path).suffix.lower())
    if count is None:
        return None
    try:
        local = LocalCopy(path).path
        head = read_head(str(local))
        if any(known.recognises(str(local), head) for known in formats()):
            return None
        return count(local) or None
    except (OSError, ValueError, InputError):  # loading it as a checkpoint says why
        return None


def _of_npy(path: Path) -> int:
    shape = npy_array(path).shape
    return shape[0] if len(shape) in (3, 4) else 0


def _of_npz(path: Path) -> int:
    headers = npz_headers(path)
    shape = next((headers[key][0] for key in ONE_ARRAY if key in headers), ())
    return shape[0] if len(shape) in (3, 4) else 0


_COUNTS: dict[str, Callable[[Path], int]] = {
    ".npy": _of_npy,
    ".npz": _of_npz,
    ".parquet": parquet_rows,
    ".zip": lambda path: len(zip_image_names(path)),
}


def _image_names(folder: str) -> list[str]:
    """Sorted relative paths of the images below a folder."""
    location = Location.parse(folder)
    names = walk(folder).files if location.local_path is not None else names_below(location)
    return sorted(name for name in names if _is_image(name) and not is_hidden(name))


def set_sha256(path: str, *, folder: bool) -> str:
    """SHA-256 of a set's file, or of the names and contents of the images in its folder.

    Raises:
        OSError: It cannot be read.
    """
    if not folder:
        return content_sha256(path, folder=False)
    location = Location.parse(path)
    names = _image_names(path)
    return sha256_of_roles(
        (name, content_sha256((location / name).address, folder=False)) for name in names
    )


def open_sample_set(
    path: str,
    reading: Reading,
    reference: ImageShape | None,
    limit: int,
    subset: Subset,
    batch_size: int,
    sha256: str | None = None,
) -> SampleSet:
    """Open a set of generated images, and decide how it is read.

    Args:
        path: Of its folder or file; local or a URI, which is copied.
        reading: What was declared: ``model_range`` of floats, ``input_fit`` of another size.
        reference: (H, W, C) of the reference images; None for the set's own.
        limit: Images that are scored at most.
        subset: Which, where the set holds more.
        batch_size: Of the run.
        sha256: Of the content that it must have; None for any.

    Raises:
        CheckpointError: It cannot be read, or does not fit the reference.
    """
    uri = Location.parse(path)
    copy = LocalCopy(path, _is_image) if is_uri(path) else None
    local, name = str(copy.path if copy else uri.local_path), uri.label
    found = sha256_of_roles([(SAMPLES, set_sha256(local, folder=Path(local).is_dir()))])
    if sha256 not in (None, found):
        raise CheckpointError(
            f"{name} has changed since this run began (its content has another hash); wait until "
            "it is saved completely, and run again"
        )
    try:
        channels = None if reference is None else reference[2]
        images = open_generated(local, reading.model_range, limit, subset, channels)
        if len(images) < 2:
            raise InputError(f"{name} holds 1 image, expected at least 2; a covariance needs them")
        order = unlike_halves(len(images), images.at)
    except (InputError, OSError) as error:
        raise CheckpointError(str(error).replace(local, name)) from error
    like = reference or images.shape
    require_fit(images.shape, images.shape, like, reading.input_fit, f"the images of {name} are")
    how = reading.input_fit if images.shape[:2] != like[:2] else None
    description = Description(
        format="images",
        latent_shape=(),
        image_shape=images.shape,
        value_range="0..255",
        likelihood=None,
        output=None,
        second_head=None,
        condition=None,
        input_fit=how,
        missing=dict(_LACKS),
        decisions=tuple(_decisions(images, subset, reading, how, like)),
        warnings=tuple(filter(None, (*images.notes, order))),
    )
    fit = ImageFit(like, images.shape, how, "0..255")
    return SampleSet(description, replace(images, name=name, _copy=copy), fit, batch_size)


def _decisions(
    images: ReferenceImages,
    subset: Subset,
    reading: Reading,
    how: InputFit | None,
    like: ImageShape,
) -> Iterator[Decision]:
    count, (height, width, channels) = images.whole_count, images.shape
    taken = subset_in_words(subset, len(images), count)
    yield Decision("images", f"{count:,} of {height}x{width}x{images.own_channels}", "by content")
    yield Decision("scored", taken, "by --samples and --reference-subset")
    if channels != images.own_channels:
        verdict = "one of three equal channels" if channels == 1 else "grey, repeated in three"
        yield Decision("channels", verdict, "as the reference images have them")
    if how is not None:
        verdict = f"{images.shape[:2]} to {like[:2]}, {how}"
        yield Decision("input fit", verdict, "declared by --input-fit")
    low, high = images.source_range
    declared = "declared by --model-range" if reading.model_range else "by the values' type"
    how_found = "inferred from the values, and checked" if images.range_inferred else declared
    yield Decision("value range", f"{low:g}..{high:g}", how_found)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
