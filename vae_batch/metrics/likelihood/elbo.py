"""The evidence lower bound, its two terms, bits per dimension, and mean losses over shards.

Negative log-likelihoods and the KL term are one float64 value (nats) a sample. The sample axis
comes first; every other axis is summed. Inputs of any real dtype are computed in float64. Nothing
is broadcast across samples silently.
"""

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
    require_range,
    require_same_shape,
    sample_rows,
)

LOGVAR_LIMIT = 700.0
"""exp of more than about 709 overflows float64."""

LOG_2PI = math.log(2.0 * math.pi)

_TARGET_REMEDY = "scale 8-bit images by 1/255 or declare a Gaussian likelihood"


def bernoulli_nll(logits: ArrayLike, x: ArrayLike) -> FloatArray:
    """-log p(x) under independent Bernoulli pixels with these logits.

    softplus(l) - x l in the form max(l, 0) - x l + log1p(exp(-|l|)), finite at any logit.
    On grey targets (0 < x < 1) this is a cross entropy with a floor above zero, not a
    normalised likelihood (arXiv:1907.06845).

    Args:
        logits: (n, ...) real logits.
        x: The same shape, targets in [0, 1].

    Returns:
        (n,) nats.

    Raises:
        ValueError: Shapes differ, non-finite values, or targets outside [0, 1].
    """
    rows, targets = _paired("logits", logits, x)
    require_range("x", targets, 0.0, 1.0, _TARGET_REMEDY)
    pixels = np.maximum(rows, 0.0) - rows * targets + np.log1p(np.exp(-np.abs(rows)))
    return _summed(pixels)


def bernoulli_nll_from_probabilities(
    p: ArrayLike, x: ArrayLike, clip: float = 1e-7
) -> tuple[FloatArray, NDArray[np.int64]]:
    """-log p(x) from probabilities clipped to [clip, 1 - clip], and how many were clipped.

    Prefer ``bernoulli_nll`` where logits exist: a clipped pixel's likelihood is the clip's.

    Args:
        p: (n, ...) probabilities in [0, 1].
        x: The same shape, targets in [0, 1].
        clip: In (0, 0.5).

    Returns:
        (n,) nats and (n,) counts of the clipped pixels of each sample.

    Raises:
        ValueError: Shapes differ, non-finite values, values outside [0, 1] (such as logits).
    """
    if not 0.0 < clip < 0.5:
        raise ValueError(f"clip: expected a value in (0, 0.5), got {clip}")
    rows, targets = _paired("p", p, x)
    require_range("p", rows, 0.0, 1.0, "pass logits to bernoulli_nll instead")
    require_range("x", targets, 0.0, 1.0, _TARGET_REMEDY)
    clipped = (rows < clip) | (rows > 1.0 - clip)
    inner = np.clip(rows, clip, 1.0 - clip)
    pixels = -(targets * np.log(inner) + (1.0 - targets) * np.log1p(-inner))
    return _summed(pixels), clipped.sum(axis=1, dtype=np.int64)


def gaussian_nll(mean: ArrayLike, x: ArrayLike, scale: ArrayLike) -> FloatArray:
    """-log density of x under independent Gaussians: a density in the units of x.

    Args:
        mean: (n, ...) decoder means.
        x: The same shape.
        scale: Standard deviation sigma > 0 in the units of x: one number, or an array that
            broadcasts to the shape of x. A mean squared error alone fixes no sigma.

    Returns:
        (n,) nats, sum of log sigma + log(2 pi) / 2 + ((x - mean) / sigma)^2 / 2; negative where the
        density exceeds 1.

    Raises:
        ValueError: Shapes differ, non-finite values, or a scale that is not positive.
    """
    rows, targets = _paired("mean", mean, x)
    sigma = real_array("scale", scale).astype(np.float64, copy=False)
    if not (np.isfinite(sigma).all() and (sigma > 0).all()):
        raise ValueError(f"scale: expected positive finite values, got a minimum of {sigma.min()}")
    try:
        sigmas = np.broadcast_to(sigma, np.shape(x)).reshape(rows.shape)
    except ValueError as error:
        raise ValueError(
            f"scale: expected one number or a shape that broadcasts to {np.shape(x)}, "
            f"got {sigma.shape}"
        ) from error
    pixels = np.log(sigmas) + 0.5 * LOG_2PI + 0.5 * ((targets - rows) / sigmas) ** 2
    return _summed(pixels)


def gaussian_kl(mean: ArrayLike, logvar: ArrayLike) -> FloatArray:
    """KL(N(mean, exp(logvar)) || N(0, I)), summed over all latent axes.

    Kingma and Welling 2013 (arXiv:1312.6114, appendix B), with expm1 against cancellation.
    Zero means a posterior equal to the prior, that is collapse: smaller is not better.

    Args:
        mean: (n, ...) posterior means.
        logvar: The same shape, log variances (not log standard deviations), at most 700.

    Returns:
        (n,) nats, >= 0.

    Raises:
        ValueError: Shapes differ, or a value that is not finite or too large (names the row and the
            latent dimension).
    """
    return _summed(gaussian_kl_per_dimension(mean, logvar))


def gaussian_kl_per_dimension(mean: ArrayLike, logvar: ArrayLike) -> FloatArray:
    """``gaussian_kl`` before the sum: (n, prod latent) nats, latent axes flattened in C order.

    Raises:
        ValueError: As ``gaussian_kl``.
    """
    require_same_shape("mean", mean, "logvar", logvar)
    logvars = _checked_logvar(logvar)
    means = sample_rows("mean", mean)
    # expm1(lv) - lv is never negative; its rounding can be, by one unit in the last place.
    kl: FloatArray = 0.5 * (means**2 + np.maximum(np.expm1(logvars) - logvars, 0.0))
    return kl


def _checked_logvar(logvar: ArrayLike) -> FloatArray:
    array = real_array("logvar", logvar)
    if array.ndim and array.size:
        flat = array.reshape(len(array), -1).astype(np.float64, copy=False)
        bad = ~np.isfinite(flat) | (flat > LOGVAR_LIMIT)
        if bad.any():
            row, dimension = (int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"logvar: expected finite values of at most {LOGVAR_LIMIT:g}, got "
                f"{flat[row, dimension]:g} in row {row}, latent dimension {dimension} "
                f"({int(bad.any(axis=1).sum())} of {len(flat)} rows affected); the encoder "
                "diverged, or this output is not a log variance"
            )
    return sample_rows("logvar", array)


def _paired(name: str, values: ArrayLike, x: ArrayLike) -> tuple[FloatArray, FloatArray]:
    require_same_shape(name, values, "x", x)
    return sample_rows(name, values), sample_rows("x", x)


def _summed(pixels: FloatArray) -> FloatArray:
    total: FloatArray = pixels.sum(axis=1)
    return total


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
