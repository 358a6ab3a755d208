"""What every gallery that is stored must hold to; see ``vae_batch.report.gallery.Gallery``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.report.gallery import Gallery

_IMAGE_AXES = {
    "samples": 4,
    "originals": 4,
    "reconstructions": 4,
    "reference_samples": 4,
    "interpolation": 5,
    "traversal": 5,
    "worst_originals": 4,
    "worst_reconstructions": 4,
    "nearest_generated": 4,
    "nearest_training": 4,
    "duplicate_first": 4,
    "duplicate_second": 4,
}

#: Stacks of images that belong side by side.
_PAIRS = (
    ("originals", "reconstructions"),
    ("worst_originals", "worst_reconstructions"),
    ("nearest_generated", "nearest_training"),
    ("duplicate_first", "duplicate_second"),
)
#: Axes of what is no image.
_NUMBER_AXES = {
    "kl_per_dimension": 1,
    "aggregate_mean": 1,
    "aggregate_density": 2,
    "spectrum_power": 1,
}

Shape = tuple[int, ...]

#: What goes with an entry: name, kind of dtype, and shape by that of the entry.
_COMPANIONS: dict[str, tuple[tuple[str, str, Callable[[Shape], Shape]], ...]] = {
    "traversal": (
        ("traversal_dimensions", "integer", lambda shape: shape[:1]),
        ("traversal_kl", "float", lambda shape: shape[:1]),
        ("traversal_values", "float", lambda shape: shape[1:2]),
        ("traversal_collapsed", "bool", lambda shape: shape[:1]),
    ),
    "worst_originals": (
        ("worst_ids", "integer", lambda shape: shape[:1]),
        ("worst_errors", "float", lambda shape: shape[:1]),
    ),
    "nearest_training": (
        ("nearest_ids", "integer", lambda shape: shape[:1]),
        ("nearest_distances", "float", lambda shape: shape[:1]),
        ("nearest_extractor", "text", lambda _: ()),
    ),
    "duplicate_first": (
        ("duplicate_ids", "integer", lambda shape: (shape[0], 2)),
        ("duplicate_distances", "float", lambda shape: shape[:1]),
        ("duplicate_measure", "text", lambda _: ()),
    ),
    "kl_per_dimension": (("kl_collapsed", "bool", lambda shape: shape),),
    "aggregate_mean": (("aggregate_std", "float", lambda shape: shape),),
    "aggregate_density": (
        ("aggregate_dimensions", "integer", lambda shape: shape[:1]),
        ("aggregate_edges", "float", lambda shape: (shape[1] + 1,)),
    ),
    "spectrum_power": (
        ("spectrum_power_reference", "float", lambda shape: shape),
        ("spectrum_frequencies", "float", lambda shape: shape),
    ),
}
#: Companions that galleries of older runs lack.
_OPTIONAL = ("traversal_collapsed", "kl_collapsed", "duplicate_measure")
_KINDS = {"integer": "iu", "float": "f", "bool": "b", "text": "U"}


def check_gallery(checkpoint: str, gallery: Gallery) -> None:
    """Check every entry's axes, dtype and channels, and that what belongs together fits.

    Raises:
        ValueError: An entry is not as ``Gallery`` states; it names checkpoint, entry and shapes.
    """
    for name, axes in _IMAGE_AXES.items():
        if name in gallery:
            _check_images(f"gallery of {checkpoint!r}: {name}", np.asarray(gallery[name]), axes)
    for name, axes in _NUMBER_AXES.items():
        if name in gallery:
            _check_numbers(f"gallery of {checkpoint!r}: {name}", np.asarray(gallery[name]), axes)
    _check_pairs(checkpoint, gallery)
    for name in _COMPANIONS:
        if name in gallery:
            _check_companions(checkpoint, gallery, name)


def _check_images(what: str, images: NDArray[Any], axes: int) -> None:
    good = (
        images.ndim == axes
        and images.dtype == np.uint8
        and images.shape[-1] in (1, 3)
        and images.size > 0
    )
    if not good:
        raise ValueError(
            f"{what}: expected uint8 images of {axes} axes, 1 or 3 channels last, "
            f"found {images.dtype} of shape {images.shape}; store decoded pixels as 0..255 NHWC"
        )


def _check_numbers(what: str, numbers: NDArray[Any], axes: int) -> None:
    if numbers.ndim != axes or numbers.dtype.kind != "f" or not numbers.size:
        raise ValueError(
            f"{what}: expected floats of {axes} axes, found {numbers.dtype} of shape "
            f"{numbers.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what}: expected finite values, found {numbers[~np.isfinite(numbers)]}")


def _check_pairs(checkpoint: str, gallery: Gallery) -> None:
    for left, right in _PAIRS:
        if left not in gallery or right not in gallery:
            continue
        shapes = gallery[left].shape, gallery[right].shape
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"gallery of {checkpoint!r}: {left} {shapes[0]} and {right} {shapes[1]} differ in "
                "shape; they must be as many images of one size, in the same order"
            )


def _check_companions(checkpoint: str, gallery: Gallery, entry: str) -> None:
    shape = gallery[entry].shape
    for name, kind, shape_of in _COMPANIONS[entry]:
        if name not in gallery and name in _OPTIONAL:
            continue
        expected = shape_of(shape)
        found = np.asarray(gallery[name]) if name in gallery else None
        if found is None or found.dtype.kind not in _KINDS[kind] or found.shape != expected:
            described = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise ValueError(
                f"gallery of {checkpoint!r}: {name}: expected {kind} of shape {expected} for "
                f"{entry} of shape {shape}, found {described}"
            )
