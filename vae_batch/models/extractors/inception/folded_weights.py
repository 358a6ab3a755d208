"""Weights of an Inception v3 as arrays: folded batch norm, checks, and seeded random weights.

NumPy only. ``extractors.weights`` reads the published files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.inception.layout import (
    BATCH_NORM_EPSILON,
    FEATURE_DIM,
    UNITS,
)
from vae_batch.plan.errors import InputError

Float32 = NDArray[np.float32]

RANDOM_SEED = 20151205
RANDOM_CLASSES = 1000
# He et al. have 2; more compensates for the mean that is removed, so features stay of order one.
RANDOM_GAIN = 2.8


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of one unit, four arrays of shape (out channels,)."""

    gamma: Float32
    beta: Float32
    mean: Float32
    variance: Float32
    epsilon: float = BATCH_NORM_EPSILON


@dataclass(frozen=True)
class FoldedUnit:
    """One convolution with its batch norm folded in.

    Attributes:
        kernel: (height, width, in channels, out channels) float32.
        bias: (out channels,) float32.
    """

    kernel: Float32
    bias: Float32


@dataclass(frozen=True)
class InceptionWeights:
    """All numbers of one network.

    Attributes:
        units: The 94 units by name.
        classifier_kernel: (2048, classes) float32; None in a file without the top layer.
        classifier_bias: (classes,) float32 or None; the 2015 network's logits leave it out.
    """

    units: Mapping[str, FoldedUnit]
    classifier_kernel: Float32 | None
    classifier_bias: Float32 | None

    @property
    def class_count(self) -> int:
        """Number of classes; 0 without the top layer."""
        return 0 if self.classifier_kernel is None else int(self.classifier_kernel.shape[1])


def fold(kernel: Float32, norm: BatchNorm) -> FoldedUnit:
    """Fold gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta into kernel and bias.

    Args:
        kernel: (height, width, in, out) float32.
        norm: The unit's batch normalisation.

    Returns:
        The folded unit; computed in float64, rounded once to float32.
    """
    deviation = np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    scale = norm.gamma.astype(np.float64) / deviation
    bias = norm.beta.astype(np.float64) - norm.mean.astype(np.float64) * scale
    folded = kernel.astype(np.float64) * scale
    return FoldedUnit(folded.astype(np.float32), bias.astype(np.float32))


class WeightChecks:
    """Takes raw arrays of one file by name, with shape, dtype and finiteness checked.

    Args:
        source: What the messages call the file.
        arrays: Every array that the file holds, by its name there.
    """

    def __init__(self, source: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self._source = source
        self._arrays = arrays

    def take(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Return one float32 array.

        Raises:
            InputError: The array is missing, has another shape or dtype, or is not finite.
        """
        array = self._arrays.get(name)
        if array is None:
            raise InputError(
                f"{self._source}: the weights lack {name!r} (expected shape {shape}); "
                "this is not a complete Inception v3 of this kind. Download the file again."
            )
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"{self._source}: {name!r} should be float32 of shape {shape}, found "
                f"{array.dtype} of shape {array.shape}; this is another network."
            )
        if not np.isfinite(array).all():
            raise InputError(
                f"{self._source}: {name!r} holds values that are not finite; the file is damaged. "
                "Download it again."
            )
        return np.asarray(array, dtype=np.float32)

    def take_norm(
        self, names: Iterable[str], channels: int, epsilon: float = BATCH_NORM_EPSILON
    ) -> BatchNorm:
        """Return gamma, beta, mean and variance, named in this order, checked like ``take``."""
        gamma, beta, mean, variance = (self.take(name, (channels,)) for name in names)
        if (variance < 0).any():
            raise InputError(
                f"{self._source}: a batch norm variance is negative; the file is damaged. "
                "Download it again."
            )
        return BatchNorm(gamma, beta, mean, variance, epsilon)


def _random_kernel(bits: np.random.Philox, unit_shape: tuple[int, ...]) -> Float32:
    """Uniform weights with half of every filter's mean removed, from raw 24-bit integers.

    Only integer sums and single float64 operations are used, so every platform and NumPy version
    gives the same bits. Inputs behind a ReLU are positive: with plain He weights their common
    part drowns what tells two images apart (cosine of the features of two MNIST digits 0.9993).
    With all of the mean removed the network amplifies float32 rounding a hundredfold; half is
    the compromise (cosine 0.986).
    """
    fan_in = int(np.prod(unit_shape[:-1]))
    count = fan_in * unit_shape[-1]
    integers = (bits.random_raw(count) >> np.uint64(40)).astype(np.int64) - (1 << 23)
    integers = integers.reshape(fan_in, unit_shape[-1])
    shifted = integers - 0.5 * (integers.sum(axis=0) / fan_in)
    # The variance of the integers is 2**48 / 12.
    scale = np.sqrt(RANDOM_GAIN / fan_in) / (2.0**24 / np.sqrt(12.0))
    kernel: Float32 = (shifted * scale).reshape(unit_shape).astype(np.float32)
    return kernel


def _philox(seed: int, stream: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))


def random_weights(seed: int = RANDOM_SEED, classes: int = RANDOM_CLASSES) -> InceptionWeights:
    """Seeded random weights: uniform kernels scaled by fan-in (He et al. 2015), zero biases.

    Args:
        seed: Key of the Philox streams, one per unit.
        classes: Number of classes of the classifier.

    Returns:
        Weights whose bits depend on ``seed`` and ``classes`` only.
    """
    units: dict[str, FoldedUnit] = {}
    for stream, unit in enumerate(UNITS.values()):
        kernel = _random_kernel(_philox(seed, stream), unit.kernel_shape)
        units[unit.name] = FoldedUnit(kernel, np.zeros(unit.kernel_shape[-1], np.float32))
    top = _random_kernel(_philox(seed, len(UNITS)), (FEATURE_DIM, classes))
    return InceptionWeights(units, top, np.zeros(classes, np.float32))


def random_weights_description(seed: int = RANDOM_SEED, classes: int = RANDOM_CLASSES) -> str:
    """Say what ``random_weights`` makes; its hash stands for the hash of a weights file."""
    return (
        "vae_batch inception-random v1: Inception v3, uniform kernels with half of each filter's "
        f"mean removed, gain {RANDOM_GAIN}, zero biases, Philox4x64 key=(seed, unit), 24-bit, "
        f"seed={seed}, classes={classes}"
    )


def description_sha256(text: str) -> str:
    """Hex sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
