"""The evidence lower bound, bits per dimension, and mean losses that merge over shards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_positive,
    require_same_shape,
)


def elbo(reconstruction_nll: ArrayLike, kl: ArrayLike, beta: float = 1.0) -> FloatArray:
    """-(reconstruction_nll + beta kl), one value a sample.

    At beta = 1 a lower bound on log p(x) (arXiv:1312.6114). Above 1 the bound is looser,
    below 1 it is none: compare checkpoints at beta = 1, whatever they were trained with.

    Args:
        reconstruction_nll: (n,) nats.
        kl: (n,) nats.
        beta: Weight of the KL term, >= 0.

    Returns:
        (n,) nats.

    Raises:
        ValueError: Shapes differ or are not (n,), non-finite values, or a negative beta.
    """
    require_same_shape("reconstruction_nll", reconstruction_nll, "kl", kl)
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta: expected a finite number of at least 0, got {beta}")
    nll = _one_a_sample("reconstruction_nll", reconstruction_nll)
    return -(nll + beta * _one_a_sample("kl", kl))


@overload
def bits_per_dim(nats: float, dimensions: int, bin_width: float | None = None) -> float: ...
@overload
def bits_per_dim(
    nats: NDArray[np.floating], dimensions: int, bin_width: float | None = None
) -> FloatArray: ...
def bits_per_dim(
    nats: float | NDArray[np.floating], dimensions: int, bin_width: float | None = None
) -> float | FloatArray:
    """Negative log-likelihood as bits a dimension: nats / (D ln 2).

    A density's value depends on the units of x. 8-bit images scaled by v/255 to a range of width
    w have grey levels ``bin_width`` = w / 255 apart; the probability of a level is about density x
    bin_width, and the bits grow by log2(255 / w): +7.994 on [0, 1]. Papers that dequantise,
    (v + u)/256 with u uniform on [0, 1), have bins of w / 256 and +8, which bounds the discrete
    code length from above (Theis, van den Oord and Bethge 2016, arXiv:1511.01844, section 3.1).
    Never rank across likelihood families by it.

    Args:
        nats: -log p(x) (or -ELBO) a sample: a number or an array.
        dimensions: D, pixels times channels of one sample.
        bin_width: None for a probability mass (Bernoulli, discretised); for a density the width of
            one grey level in the units of x.

    Returns:
        The same shape as ``nats``, float64.

    Raises:
        ValueError: Dimensions < 1 or a bin width that is not positive.
    """
    if dimensions < 1:
        raise ValueError(f"dimensions: expected at least 1, got {dimensions}")
    offset = 0.0
    if bin_width is not None:
        require_positive("bin_width", bin_width)
        offset = -math.log2(bin_width)
    nats_per_bit = dimensions * math.log(2.0)
    if np.ndim(nats) == 0:
        return float(nats) / nats_per_bit + offset
    bits: FloatArray = np.asarray(nats, dtype=np.float64) / nats_per_bit + offset
    return bits


@dataclass(frozen=True)
class MeanLoss:
    """Mean of a loss over samples, with its standard error; mergeable.

    Laws: ``empty()`` merged on either side changes no bit; ``merge`` is associative and
    commutative up to rounding.

    Attributes:
        count: Number of samples, >= 0.
        mean: Mean of the values, in their unit; 0.0 while count is 0.
        scatter: Centred sum of squares.
    """

    count: int
    mean: float
    scatter: float

    @classmethod
    def empty(cls) -> MeanLoss:
        """The mean of no samples: the identity of ``merge``, not a score."""
        return cls(0, 0.0, 0.0)

    @classmethod
    def from_values(cls, values: ArrayLike) -> MeanLoss:
        """Mean of (n,) values, one a sample, computed in float64 in two passes.

        Raises:
            ValueError: Not (n,) with n >= 1, or non-finite (the error names the row).
        """
        array = _one_a_sample("values", values)
        shifted = array - array[0]
        offset = float(shifted.mean())
        return cls(len(array), float(array[0]) + offset, float(((shifted - offset) ** 2).sum()))

    def merge(self, other: MeanLoss) -> MeanLoss:
        """Mean over both sets: the update of Chan, Golub and LeVeque 1983 (see ``Moments``)."""
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        count = self.count + other.count
        delta = other.mean - self.mean
        return MeanLoss(
            count,
            self.mean + delta * (other.count / count),
            self.scatter + other.scatter + delta**2 * (self.count * other.count / count),
        )

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over samples: sqrt(scatter / (n - 1) / n).

        Raises:
            ValueError: Fewer than 2 samples.
        """
        if self.count < 2:
            raise ValueError(
                f"mean loss: a standard error needs at least 2 samples, got {self.count}"
            )
        return math.sqrt(self.scatter / (self.count - 1) / self.count)


def _one_a_sample(name: str, values: ArrayLike) -> FloatArray:
    array = real_array(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name}: expected one value a sample, shape (n,) with n >= 1, got {array.shape}"
        )
    require_finite(name, array)
    return array.astype(np.float64, copy=False)
