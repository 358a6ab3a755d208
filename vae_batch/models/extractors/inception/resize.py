"""Image resizes and normalisations of the Inception protocols, by name.

Three resizes, all without quantisation of the result:

``tf1-bilinear``
    Source position i * in / out, no antialiasing; TensorFlow 1's ``ResizeBilinear``.
``tf2-bilinear``
    Source position (i + 1/2) * in / out - 1/2, no antialiasing; ``tf.image.resize``.
``pil-bicubic``
    Pillow's antialiased bicubic (a = -1/2) on float32 channels, clipped to [0, 255]; clean-fid's.

Every resize is separable, so it is a ``ResizeTable`` an axis: a few source rows and their
weights for every output row. The tables are made in NumPy with the arithmetic of the original
(float32 positions for TensorFlow's, float64 weights for Pillow's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.plan.errors import InputError

RESIZES = ("tf1-bilinear", "tf2-bilinear", "pil-bicubic")
NORMALISATIONS = ("(x-128)/128", "x/127.5-1")

# A tensor of whichever Keras backend runs, and keras.ops or NUMPY_OPS: neither has a static type.
Tensor = Any
Ops = Any

# NumPy under the names of keras.ops that a resize needs: the reference for every backend.
NUMPY_OPS = SimpleNamespace(
    take=np.take,
    cast=lambda x, dtype: x.astype(dtype),
    zeros_like=np.zeros_like,
    clip=np.clip,
)


@dataclass(frozen=True)
class ResizeTable:
    """One axis of a separable resize: out[i] = sum over k of weights[i, k] * x[sources[i, k]].

    Attributes:
        sources: (out, taps) int32 source positions, all inside the image.
        weights: (out, taps) float64; for the bilinear resizes (1 - lerp, lerp).
    """

    sources: NDArray[np.int32]
    weights: NDArray[np.float64]


def check_resize(name: str) -> str:
    """Return ``name``; raise ``InputError`` for an unknown resize."""
    if name not in RESIZES:
        raise InputError(f"resize {name!r} is unknown; expected one of {', '.join(RESIZES)}.")
    return name


def check_normalisation(name: str) -> str:
    """Return ``name``; raise ``InputError`` for an unknown normalisation."""
    if name not in NORMALISATIONS:
        choices = ", ".join(NORMALISATIONS)
        raise InputError(f"normalisation {name!r} is unknown; expected one of {choices}.")
    return name


def bilinear_table(size_in: int, size_out: int, half_pixel: bool) -> ResizeTable:
    """Table of TensorFlow's bilinear kernel, positions in float32 as it computes them."""
    scale = np.float32(size_in) / np.float32(size_out)
    out = np.arange(size_out, dtype=np.float32)
    half = np.float32(0.5)
    position = (out + half) * scale - half if half_pixel else out * scale
    low = np.floor(position)
    lerp = (position - low).astype(np.float64)
    upper = np.minimum(np.ceil(position), size_in - 1)
    lower = np.minimum(np.maximum(low, 0), upper)
    sources = np.stack([lower, upper], axis=1).astype(np.int32)
    return ResizeTable(sources, np.stack([1.0 - lerp, lerp], axis=1))


def cubic_kernel(distance: float, a: float = -0.5) -> float:
    """Keys' cubic convolution kernel (1981), support 2."""
    x = abs(distance)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0


def bicubic_table(size_in: int, size_out: int) -> ResizeTable:
    """Table of Pillow's bicubic resampling: the kernel widens with the scale when shrinking."""
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    taps = math.ceil(support) * 2 + 1
    sources = np.zeros((size_out, taps), dtype=np.int32)
    weights = np.zeros((size_out, taps), dtype=np.float64)
    for i in range(size_out):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), size_in)
        row = [cubic_kernel((x - centre + 0.5) * (1.0 / stretch)) for x in range(first, last)]
        total = sum(row)
        weights[i, : len(row)] = [value * (1.0 / total) for value in row]
        sources[i, : len(row)] = range(first, last)
    return ResizeTable(sources, weights)


def resize_tables(name: str, height: int, width: int, size: int) -> tuple[ResizeTable, ResizeTable]:
    """Tables of the rows and the columns, for an image of ``height`` x ``width`` -> size x size."""
    if check_resize(name) == "pil-bicubic":
        return bicubic_table(height, size), bicubic_table(width, size)
    half_pixel = name == "tf2-bilinear"
    return bilinear_table(height, size, half_pixel), bilinear_table(width, size, half_pixel)


def _lerp(ops: Ops, x: Tensor, table: ResizeTable, axis: int) -> Tensor:
    """Two taps as low + (high - low) * lerp, the order in which TensorFlow's kernel rounds."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    lerp = table.weights[:, 1].astype(np.float32).reshape(shape)
    low = ops.take(x, table.sources[:, 0], axis=axis)
    high = ops.take(x, table.sources[:, 1], axis=axis)
    return low + (high - low) * lerp


def _weigh(ops: Ops, x: Tensor, table: ResizeTable, axis: int, dtype: str) -> Tensor:
    """Sum of the taps in their order, rounded to float32 at the end as Pillow does."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    x = ops.cast(x, dtype)
    total = ops.zeros_like(ops.take(x, table.sources[:, 0], axis=axis))
    for sources, weights in zip(table.sources.T, table.weights.T, strict=True):
        total = total + ops.take(x, sources, axis=axis) * weights.astype(dtype).reshape(shape)
    return ops.cast(total, "float32")


def resize(images: Tensor, name: str, size: int, *, ops: Ops, wide: str = "float64") -> Tensor:
    """Resize a batch with a named protocol.

    Args:
        images: (n, height, width, channels) float32 in [0, 255], of static height and width.
        name: One of ``RESIZES``.
        size: Output height and width.
        ops: ``keras.ops``, or anything with its ``take``, ``cast``, ``zeros_like``, ``clip``.
        wide: dtype in which the bicubic taps are summed; float32 where a backend lacks float64.

    Returns:
        (n, size, size, channels) float32 in [0, 255].
    """
    height, width = int(images.shape[1]), int(images.shape[2])
    rows, columns = resize_tables(name, height, width, size)
    if (height, width) == (size, size):
        return images
    if name == "pil-bicubic":
        wide_columns = _weigh(ops, images, columns, 2, wide)
        return ops.clip(_weigh(ops, wide_columns, rows, 1, wide), 0.0, 255.0)
    return _lerp(ops, _lerp(ops, images, columns, 2), rows, 1)


def normalise(images: Tensor, name: str) -> Tensor:
    """Map [0, 255] to [-1, 1) or [-1, 1] with a named normalisation, any array type."""
    if check_normalisation(name) == "(x-128)/128":
        return (images - 128.0) * 0.0078125
    return images / 127.5 - 1.0
