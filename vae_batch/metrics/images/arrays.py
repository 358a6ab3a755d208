"""Images at the door of a metric, (n, H, W, C), and the blocks in which they become float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import FloatArray, real_array, require_finite

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
    step = max(1, BLOCK_VALUES * len(array) // array.size)
    for start in range(0, len(array), step):
        yield slice(start, min(start + step, len(array)))


def channel_maps(block: NDArray[np.generic]) -> FloatArray:
    """(b, H, W, C) images as contiguous (b, C, H, W) float64 maps."""
    return np.ascontiguousarray(np.moveaxis(block, -1, 1), dtype=np.float64)
