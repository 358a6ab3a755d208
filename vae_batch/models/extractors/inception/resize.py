"""Image resizes and normalisations of the Inception protocols, by name.

Three resizes, all without quantisation of the result:

``tf1-bilinear``
    Source position i * in / out, no antialiasing; TensorFlow 1's ``ResizeBilinear``.
``tf2-bilinear``
    Source position (i + 1/2) * in / out - 1/2, no antialiasing; ``tf.image.resize``.
``pil-bicubic``
    Pillow's antialiased bicubic (a = -1/2) on float32 channels, clipped to [0, 255]; clean-fid's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.plan.errors import InputError

RESIZES = ("tf1-bilinear", "tf2-bilinear", "pil-bicubic")
NORMALISATIONS = ("(x-128)/128", "x/127.5-1")

#: A tensor of TensorFlow's or an array, which have no common static type.
Tensor = Any


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


def _bicubic(distance: float) -> float:
    """Keys' cubic convolution kernel (1981) with a = -1/2, support 2."""
    a, x = -0.5, abs(distance)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0


def bicubic_table(size_in: int, size_out: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """One axis of Pillow's bicubic resampling: the kernel widens with the scale when shrinking.

    Returns:
        (out, taps) source positions, all inside the image, and their weights: out[i] = sum over k
        of weights[i, k] * x[sources[i, k]].
    """
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
        row = [_bicubic((x - centre + 0.5) * (1.0 / stretch)) for x in range(first, last)]
        total = sum(row)
        weights[i, : len(row)] = [value * (1.0 / total) for value in row]
        sources[i, : len(row)] = range(first, last)
    return sources, weights


def _weigh(x: Tensor, size: int, axis: int) -> Tensor:
    """Sum of the taps in their order in float64, rounded to float32 at the end as Pillow does."""
    import tensorflow as tf

    shape = [1, 1, 1, 1]
    shape[axis] = -1
    x, total = tf.cast(x, tf.float64), 0.0
    sources, weights = bicubic_table(x.shape[axis], size)
    for rows, column in zip(sources.T, weights.T, strict=True):
        total = total + tf.gather(x, rows, axis=axis) * column.reshape(shape)
    return tf.cast(total, tf.float32)


def resize(images: Tensor, name: str, size: int) -> Tensor:
    """Resize a batch with a named protocol, by TensorFlow's own kernel where it has one.

    Args:
        images: (n, height, width, channels) in [0, 255], of static height and width.
        name: One of ``RESIZES``.
        size: Output height and width.

    Returns:
        (n, size, size, channels) float32 in [0, 255].
    """
    import tensorflow as tf

    if check_resize(name) != "pil-bicubic":
        return tf.raw_ops.ResizeBilinear(
            images=images,
            size=(size, size),
            align_corners=False,
            half_pixel_centers=name == "tf2-bilinear",
        )
    if tuple(images.shape[1:3]) == (size, size):
        return tf.cast(images, tf.float32)
    return tf.clip_by_value(_weigh(_weigh(images, size, 2), size, 1), 0.0, 255.0)


def normalise(images: Tensor, name: str) -> Tensor:
    """Map [0, 255] to [-1, 1) or [-1, 1] with a named normalisation, any array type."""
    if check_normalisation(name) == "(x-128)/128":
        return (images - 128.0) * 0.0078125
    return images / 127.5 - 1.0
