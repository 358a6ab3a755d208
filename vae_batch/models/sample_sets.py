"""Sets of generated images, or of their features, that other programs made.

Such a set is scored like a checkpoint whose decoder reads images: sample i is the i-th image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import Decision, Description, Need
from vae_batch.models.autoencoder.images import ImageFit, ImageShape, Pixels, require_fit
from vae_batch.models.extractors.extractor import ExtractorIdentity, require_made_by
from vae_batch.models.formats.format import Array, Floats
from vae_batch.models.formats.registry import format_of
from vae_batch.models.inputs.files import (
    LocalCopy,
    content_sha256,
    is_hidden,
    names_below,
    read_head,
    sha256_of_roles,
    walk,
)
from vae_batch.models.references.encoded_images import (
    is_image_name,
    parquet_rows,
    zip_image_names,
)
from vae_batch.models.references.precomputed import (
    Features,
    content_of,
    open_features,
)
from vae_batch.models.references.reference import ReferenceImages, open_generated
from vae_batch.models.references.subset import (
    Subset,
    subset_in_words,
    subset_positions,
    unlike_halves,
)
from vae_batch.plan.errors import CheckpointError, InputError
from vae_batch.plan.location import Location, is_uri
from vae_batch.plan.reading import InputFit, Reading
from vae_batch.storage.retry import OutageError

_LACKS: dict[Need, str] = {
    "encoder": "it is a set of generated images, which has no encoder",
    "posterior": "it is a set of generated images, which has no posterior",
    "latents": "it is a set of generated images, whose latents are not known",
}
_FEATURES_LACK: dict[Need, str] = {
    "encoder": "it is a set of features, which has no encoder",
    "posterior": "it is a set of features, which has no posterior",
    "latents": "it is a set of features, whose latents are not known",
    "pixels": "it is a set of features, without images",
}
_LOOKED_AT = 64
_BLACK = (
    "no pixel of the images that were looked at is above 1 of 255, so they are black, or "
    "binarised: save binarised images as 0 and 255"
)


@dataclass(frozen=True)
class Samples:
    """What a set of generated samples holds.

    Attributes:
        kind: Images, or features of images.
        count: How many.
    """

    kind: Literal["images", "features"]
    count: int


@dataclass(frozen=True)
class FeatureSet:
    """Features of generated images, read in place of an extractor's.

    Attributes:
        description: What it is, and what it lacks.
        features: All that the file holds.
        positions: (n,) of those that are scored.
        name: Of the file.
        batch_size: Not used; as of an autoencoder.
    """

    description: Description
    features: Features
    positions: npt.NDArray[np.int64]
    name: str
    batch_size: int

    def rows(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """(n, d) features and (n, c) probabilities, float32, of samples [start, stop)."""
        return self.features.rows(self.positions[start:stop])

    def require_made_by(self, extractor: ExtractorIdentity) -> None:
        """Refuse features of another network than those of the reference.

        Raises:
            CheckpointError: Names what differs.
        """
        origin, found = self.features.origin, self.features.values.shape[1]
        try:
            require_made_by(self.name, found, origin, extractor)
        except InputError as error:
            raise CheckpointError(str(error)) from None


@dataclass(frozen=True)
class SampleSet:
    """Generated images in files, read in place of an autoencoder's decoded ones.

    Attributes:
        description: What it is, and what it lacks.
        images: Those that are scored, with the reference's channels.
        fit: From their size to the reference's.
        batch_size: Not used; as of an autoencoder.
        local: Local path of the files, which messages show by the name of ``images``.
    """

    description: Description
    images: ReferenceImages
    fit: ImageFit
    batch_size: int
    local: str
    takes_labels: bool = False

    def pictures(self, positions: Array, labels: Array | None = None) -> Pixels:
        """Images at (n,) positions as (n, H, W, C) uint8 of the reference's size.

        Raises:
            CheckpointError: An image is damaged, or cannot become grey; the message names it.
        """
        try:
            pixels = self.images.at(positions)
        except InputError as error:
            raise CheckpointError(str(error).replace(self.local, self.images.name)) from error
        if self.fit.how is None:
            return pixels
        return self.fit.to_pictures(pixels.astype(np.float32))


def samples_held(path: str, *, folder: bool) -> Samples | None:
    """What a set of samples holds, by content; None of anything else.

    Args:
        path: Local path or URI; of a folder, all images below it are counted.
        folder: Whether it is a folder.
    """
    if folder:
        return _images(len(_image_names(path)))
    suffix = Path(Location.parse(path).path).suffix.lower()
    if suffix not in _SUFFIXES:
        return None
    try:
        copy = LocalCopy(path)  # lives as long as it is named
        local = copy.path
        head = read_head(str(local))
        if format_of(str(local), head):
            return None
        if suffix == ".zip":
            return _images(len(zip_image_names(local)))
        if suffix == ".parquet":
            return _images(parquet_rows(local))
        kind, count = content_of(local) or ("statistics", 0)
        return None if kind == "statistics" or not count else Samples(kind, count)
    except (OSError, ValueError):  # loading it as a checkpoint says why
        return None


def _images(count: int) -> Samples | None:
    return Samples("images", count) if count else None


_SUFFIXES = (".npy", ".npz", ".parquet", ".zip")


def _image_names(folder: str) -> list[str]:
    """Sorted relative paths of the images below a folder."""
    location = Location.parse(folder)
    local = location.local_path
    names = names_below(location) if local is None else walk(local).files
    return sorted(name for name in names if is_image_name(name) and not is_hidden(name))


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
    copy, local, name = _local(path, sha256)
    try:
        channels = None if reference is None else reference[2]
        images = open_generated(local, reading.model_range, limit, subset, channels)
        if len(images) < 2:
            raise InputError(f"{name} holds 1 image, expected at least 2; a covariance needs them")
        order = unlike_halves(len(images), images.at)
        looked_at = images.at(subset_positions("random", _LOOKED_AT, len(images)))
        black = _BLACK if looked_at.max() <= 1 else None
    except (InputError, OSError) as error:
        raise CheckpointError(str(error).replace(local, name)) from error
    like = reference or images.shape
    require_fit(images.shape, images.shape, like, reading.input_fit, f"the images of {name} are")
    how = reading.input_fit if images.shape[:2] != like[:2] else None
    description = Description(
        *("images", (), images.shape, "0..255"),
        *(None, None, None, None),
        how,
        missing=dict(_LACKS),
        decisions=tuple(_decisions(images, subset, reading, how, like)),
        warnings=tuple(filter(None, (*images.notes, order, black))),
    )
    fit = ImageFit(like, images.shape, how, "0..255")
    images = replace(images, name=name, _copy=copy)
    return SampleSet(description, images, fit, batch_size, local)


def open_feature_set(
    path: str, limit: int, subset: Subset, batch_size: int, sha256: str | None = None
) -> FeatureSet:
    """Open a set of features, which must have the content of ``sha256``; see ``open_sample_set``.

    Raises:
        CheckpointError: It cannot be read.
    """
    _copy, local, name = _local(path, sha256)
    try:
        features = open_features(local)
    except InputError as error:
        raise CheckpointError(str(error).replace(local, name)) from error
    count, dimension = features.values.shape
    classes = features.probabilities.shape[1]
    decisions = (
        Decision("features", f"{count:,} of {dimension} dimensions", "by content"),
        Decision("class probabilities", f"{classes}" if classes else "none", "by content"),
        Decision("protocol", features.origin.protocol or "not known", "as the file says"),
    )
    description = Description(
        *("features", (), (0, 0, 0), "0..255"),
        *(None, None, None, None, None),
        missing=dict(_FEATURES_LACK),
        decisions=decisions,
    )
    positions = subset_positions(subset, min(limit, count), count)
    return FeatureSet(description, features, positions, name, batch_size)


def _local(path: str, sha256: str | None) -> tuple[LocalCopy | None, str, str]:
    """A copy of what a URI names, the local path, and the name; its content is checked.

    Raises:
        CheckpointError: It cannot be read, or is not the content of the plan.
    """
    uri = Location.parse(path)
    name = uri.label
    try:
        copy = LocalCopy(path, is_image_name) if is_uri(path) else None
        local = str(copy.path if copy else uri.local_path)
        found = sha256_of_roles([("samples", set_sha256(local, folder=Path(local).is_dir()))])
    except OutageError:  # not the set's fault
        raise
    except OSError as error:
        raise CheckpointError(
            f"{name} cannot be read here ({str(error)[:300]}); give a path or URI that every "
            "worker can read"
        ) from error
    if sha256 not in (None, found):
        raise CheckpointError(
            f"{name} has changed since this run began (its content has another hash); wait until "
            "it is saved completely, and run again"
        )
    return copy, local, name


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
