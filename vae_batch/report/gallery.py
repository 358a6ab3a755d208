"""The pictures stored for one checkpoint, and the checks they pass before they are drawn.

Every image is uint8 (height, width, channels) with 1 or 3 channels, of any size that can be scored.
A gallery may lack any of its entries; what is there must have the shape stated below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gallery = Mapping[str, NDArray[Any]]
"""Arrays by name; images are (..., H, W, C) uint8.

- ``samples``, ``originals``, ``reconstructions``, ``reference_samples``: (n, H, W, C).
- ``interpolation``: (pairs, steps, H, W, C).
- ``traversal``: (dimensions, values, H, W, C), by decreasing KL; ``traversal_dimensions``
  (dimensions,) integers; ``traversal_kl`` (dimensions,) nats; ``traversal_values`` (values,);
  ``traversal_collapsed`` (dimensions,) bool, by the definition of ``metrics.latent_usage``.
- ``worst_originals``, ``worst_reconstructions``: (k, H, W, C), the largest error of all reference
  images first; ``worst_ids`` (k,) their indices; ``worst_errors`` (k,) mean squared errors of
  pixels in 0..1.
- ``nearest_generated``, ``nearest_training``: (k, H, W, C), the first samples and the training
  image nearest to each; ``nearest_ids`` (k,) its index; ``nearest_distances`` (k,) between
  activations of the extractor that ``nearest_extractor`` () names.
- ``duplicate_first``, ``duplicate_second``: (k, H, W, C), the most similar pairs of ``samples``;
  ``duplicate_ids`` (k, 2); ``duplicate_distances`` (k,) between activations of the extractor that
  ``duplicate_measure`` () names or, where it says "pixels", root mean squared, pixels in 0..1.
- ``kl_per_dimension`` (d,) nats, its sum is the KL; ``kl_collapsed`` (d,) bool;
  ``aggregate_mean``, ``aggregate_std`` (d,) of the aggregate posterior; ``aggregate_dimensions``
  (k,) those of largest KL, whose histograms of posterior draws are ``aggregate_density`` (k, b)
  between ``aggregate_edges`` (b + 1,); draws beyond the last edges are missing from them.
- ``spectrum_frequencies`` (f,) cycles per pixel; ``spectrum_power``, ``spectrum_power_reference``
  (f,) squared 8-bit levels.
"""

Images = NDArray[np.uint8]

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


def absolute_difference(originals: Images, reconstructions: Images) -> Images:
    """|reconstruction - original| for uint8 images, in the same 0..255 units."""
    wide = originals.astype(np.int16) - reconstructions.astype(np.int16)
    return np.abs(wide).astype(np.uint8)


def same_frame(stacks: Sequence[Images]) -> list[Images]:
    """Image stacks with one height, width and number of channels: padded with white, not resized.

    Checkpoints of one report may differ in image shape; grey images become RGB only where some
    stack has colour.
    """
    height = max(stack.shape[-3] for stack in stacks)
    width = max(stack.shape[-2] for stack in stacks)
    channels = max(stack.shape[-1] for stack in stacks)
    return [framed(stack, height, width, channels) for stack in stacks]


def framed(stack: Images, height: int, width: int, channels: int) -> Images:
    """Images in the middle of white ones of at least their size."""
    top, left = (height - stack.shape[-3]) // 2, (width - stack.shape[-2]) // 2
    frame = np.full((*stack.shape[:-3], height, width, channels), 255, dtype=np.uint8)
    rows, columns = slice(top, top + stack.shape[-3]), slice(left, left + stack.shape[-2])
    frame[..., rows, columns, :] = stack
    return frame
