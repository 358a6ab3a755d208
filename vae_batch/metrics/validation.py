"""Checks of arrays at the door of a metric: real, finite, of the expected shape."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def real_array(name: str, values: ArrayLike) -> NDArray[np.generic]:
    """Return ``values`` as an array of real numbers in its own dtype.

    Raises:
        ValueError: ``values`` is complex, text, an object array or ragged.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected real numbers, got dtype {array.dtype}; "
            "convert it first, for example with .astype('float32')"
        )
    return array


def require_finite(name: str, array: NDArray[np.generic]) -> None:
    """Check that every entry is finite.

    Raises:
        ValueError: Names the first offending row and its position in that row.
    """
    finite = np.isfinite(array)
    if finite.all():
        return
    row, *rest = (int(i) for i in np.argwhere(~finite)[0])
    bad_rows = int((~finite).reshape(len(array), -1).any(axis=1).sum())
    raise ValueError(
        f"{name}: expected finite values, got {array[(row, *rest)]} in row {row}"
        f"{_entry(rest)} ({bad_rows} of {len(array)} rows affected); "
        "drop those samples or repair the checkpoint that produced them"
    )


def require_matrix(name: str, array: NDArray[np.generic]) -> None:
    """Check that ``array`` is (n, d) with n >= 1 and d >= 1.

    Raises:
        ValueError: Names the shape found and how to reshape.
    """
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected a 2-D array (samples, dimensions), got shape {array.shape}; "
            "keep the sample axis first and flatten the others, "
            "for example x.reshape(len(x), -1)"
        )
    if 0 in array.shape:
        raise ValueError(
            f"{name}: expected at least one sample and one dimension, got shape {array.shape}"
        )


def sample_rows(name: str, values: ArrayLike) -> FloatArray:
    """Return (n, ...) values as (n, D) float64, all axes after the first flattened.

    Raises:
        ValueError: No sample axis, no samples, nothing in a sample, or a non-finite entry.
    """
    array = real_array(name, values)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name}: expected samples along the first axis and at least one value, "
            f"got shape {array.shape}"
        )
    require_finite(name, array)
    return array.reshape(len(array), -1).astype(np.float64, copy=False)


def require_same_shape(name: str, values: ArrayLike, other_name: str, other: ArrayLike) -> None:
    """Check that two arrays have one shape: nothing is broadcast silently.

    Raises:
        ValueError: Names both shapes.
    """
    shape, other_shape = np.shape(values), np.shape(other)
    if shape != other_shape:
        raise ValueError(
            f"{name} and {other_name}: expected one shape, got {shape} and {other_shape}"
        )


def require_range(name: str, rows: FloatArray, low: float, high: float, remedy: str) -> None:
    """Check that every entry of (n, D) ``rows`` lies in [low, high].

    Raises:
        ValueError: Names the first offending row, the range found and ``remedy``.
    """
    outside = (rows < low) | (rows > high)
    if not outside.any():
        return
    row = int(np.argwhere(outside)[0][0])
    raise ValueError(
        f"{name}: expected values in [{low:g}, {high:g}], found a range of "
        f"[{rows.min():g}, {rows.max():g}], first outside in row {row}; {remedy}"
    )


def require_positive(name: str, value: float) -> None:
    """Check that a number is positive and finite.

    Raises:
        ValueError: Names the number found.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a positive finite number, got {value}")


def _entry(position: list[int]) -> str:
    return f", entry {tuple(position)}" if position else ""


ActivationArray = NDArray[np.generic]
"""(n, d) activations of any real dtype; metrics convert blocks of them to float64."""


def activation_array(name: str, values: ArrayLike, at_least: int) -> ActivationArray:
    """Return (n, d) finite activations without converting or copying them.

    Raises:
        ValueError: Not 2-D, empty, non-finite (names the row), or n < ``at_least``.
    """
    array = real_array(name, values)
    require_matrix(name, array)
    require_finite(name, array)
    if len(array) < at_least:
        raise ValueError(
            f"{name}: expected at least {at_least} samples, got {len(array)}; "
            "raise the number of samples"
        )
    return array


def require_same_dimension(generated: int, reference: int) -> None:
    """Check that two sets of activations have one number of dimensions.

    Raises:
        ValueError: Names both.
    """
    if generated != reference:
        raise ValueError(
            f"generated and reference: expected one dimension, got {generated} and "
            f"{reference}; both must come from the same extractor"
        )


def row_blocks(count: int, size: int) -> Iterator[slice]:
    """Ranges of at most ``size`` of ``count`` rows, in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


BLOCK_VALUES = 1 << 18
"""Pixel values that are float64 at once: 2 MB, so that the maps of a block stay in cache."""


def image_array(name: str, images: ArrayLike, smallest_side: int = 1) -> NDArray[np.generic]:
    """Return images as (n, H, W, C) in their own dtype; (n, H, W) gets one channel.

    Raises:
        ValueError: Another shape, no images, a side below ``smallest_side``, a non-finite pixel.
    """
    array = real_array(name, images)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.size == 0:
        raise ValueError(
            f"{name}: expected images of shape (n, H, W, C) or (n, H, W), at least one, got "
            f"{np.shape(images)}"
        )
    if min(array.shape[1:3]) < smallest_side:
        raise ValueError(
            f"{name}: expected images of at least {smallest_side} pixels a side, got "
            f"{array.shape[1]} x {array.shape[2]}"
        )
    require_finite(name, array)
    return array


def image_blocks(array: NDArray[np.generic]) -> Iterator[slice]:
    """Ranges of samples whose values fit ``BLOCK_VALUES``, at least one sample each."""
    return row_blocks(len(array), max(1, BLOCK_VALUES * len(array) // array.size))


def channel_maps(block: NDArray[np.generic]) -> FloatArray:
    """(b, H, W, C) images as contiguous (b, C, H, W) float64 maps."""
    return np.ascontiguousarray(np.moveaxis(block, -1, 1), dtype=np.float64)
