"""Use of the latent code, and the aggregate posterior q(z) against the prior.

q(z) is the equal mixture of all N images' posteriors. Three views, from the surest to the most
searching: the divergence of its first two moments, the maximum mean discrepancy of draws, and its
full KL to the prior. Latent axes are flattened in C order; values are in nats except the
discrepancy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.likelihood.elbo import LOG_2PI, LOGVAR_LIMIT, gaussian_kl_per_dimension
from vae_batch.metrics.validation import (
    FloatArray,
    require_range,
    require_same_shape,
    sample_rows,
)

ACTIVE_VARIANCE = 0.01
"""A unit is active where its posterior mean varies by more than this over images."""

COLLAPSED_KL = 0.01
COLLAPSED_SHARE = 0.99
"""A dimension is collapsed where its KL is below 0.01 nats on at least 99 % of the images."""

COLLAPSED_RATE = 0.1
"""A model is collapsed where its mean KL is below this, nats an image."""


@dataclass(frozen=True, eq=False)
class LatentUsage:
    """Which latent dimensions a checkpoint uses.

    Attributes:
        kl: (d,) mean over images of each dimension's KL to N(0, 1); their sum is the rate.
        mean_variances: (d,) variance over images (ddof 1) of the posterior means.
        low_kl_shares: (d,) share of images whose KL in that dimension is below 0.01 nats.
    """

    kl: FloatArray
    mean_variances: FloatArray
    low_kl_shares: FloatArray

    @property
    def rate(self) -> float:
        """Mean KL to the prior, nats an image."""
        return float(self.kl.sum())

    @property
    def active_units(self) -> int:
        """Dimensions whose mean varies by more than 0.01 (arXiv:1509.00519, section 5.2)."""
        return int((self.mean_variances > ACTIVE_VARIANCE).sum())

    @property
    def collapsed_dimensions(self) -> int:
        """Dimensions with KL < 0.01 on at least 99 % of the images (cf. arXiv:1911.02469)."""
        return int((self.low_kl_shares >= COLLAPSED_SHARE).sum())

    @property
    def is_collapsed(self) -> bool:
        """Whether the model ignores its code: a rate below 0.1 nats, or no active unit."""
        return self.rate < COLLAPSED_RATE or self.active_units == 0


def latent_usage(mean: ArrayLike, logvar: ArrayLike) -> LatentUsage:
    """Active units and collapse from the posteriors of n images.

    Args:
        mean: (n, *shape) posterior means, n >= 2.
        logvar: The same shape, log variances.

    Raises:
        ValueError: As ``gaussian_kl``, or fewer than 2 images.
    """
    kl = gaussian_kl_per_dimension(mean, logvar)
    if len(kl) < 2:
        raise ValueError(f"mean: a variance over images needs at least 2 images, got {len(kl)}")
    means = sample_rows("mean", mean)
    # Shifted by the first row, equal means vary by exactly 0.
    variances = (means - means[0]).var(axis=0, ddof=1)
    return LatentUsage(kl.mean(axis=0), variances, (kl < COLLAPSED_KL).mean(axis=0))


SATURATION_MARGIN = 2.0
"""Nats below log N. On Gaussian channels of 1 to 32 dimensions the mutual information of 1000
images is 3 to 13 % low at this point, and less below it."""

BLOCK_ENTRIES = 2**22
"""float64 entries of the largest temporary array: 32 MiB."""


@dataclass(frozen=True)
class AggregateInformation:
    """The rate split in two: how far codes tell images apart, and how far q(z) is from p(z).

    Attributes:
        count: N, images.
        mutual_information: I_q(n; z) between the image's index and its code, at most log N.
        marginal_kl: KL(q(z) || p(z)); its estimate may be slightly negative.
    """

    count: int
    mutual_information: float
    marginal_kl: float

    @property
    def rate(self) -> float:
        """Their sum: the mean KL to the prior, estimated from the same draws."""
        return self.mutual_information + self.marginal_kl

    @property
    def ceiling(self) -> float:
        """The most that N images can be told apart by: log N."""
        return math.log(self.count)

    @property
    def is_saturated(self) -> bool:
        """Whether the mutual information is within 2 nats of log N: then it measures N."""
        return self.mutual_information > self.ceiling - SATURATION_MARGIN


@dataclass(frozen=True)
class MomentDivergence:
    """KL(N(m, S) || N(0, I)) of the aggregate posterior's first two moments, in three parts.

    Attributes:
        mean_shift: |m|^2 / 2.
        variances: Sum over dimensions of (S_dd - 1 - log S_dd) / 2.
        correlations: -log det(correlation matrix) / 2.
    """

    mean_shift: float
    variances: float
    correlations: float

    @property
    def kl(self) -> float:
        """The sum, (tr S + |m|^2 - d - log |S|) / 2, >= 0."""
        return self.mean_shift + self.variances + self.correlations


def aggregate_information(
    latents: ArrayLike, mean: ArrayLike, logvar: ArrayLike
) -> AggregateInformation:
    """Mutual information and marginal KL from one posterior draw an image.

    rate = I_q + KL(q(z) || p(z)) (Hoffman and Johnson 2016, ELBO surgery), where q(z) is the
    mixture of all N posteriors, so that I_q <= log N holds for every estimate. About these N
    images both are unbiased; about the population I_q is too low and the marginal KL too high
    by as much, badly so near log N. N^2 d operations in blocks of 32 MiB.

    Args:
        latents: (n, *shape), row i drawn from the posterior of image i.
        mean: The same shape, posterior means.
        logvar: The same shape, log variances in [-700, 700].

    Raises:
        ValueError: Shapes differ, or values that are not finite or out of range.
    """
    require_same_shape("latents", latents, "mean", mean)
    require_same_shape("mean", mean, "logvar", logvar)
    z, mu, lv = sample_rows("latents", latents), sample_rows("mean", mean), _logvars(logvar)
    own = _log_normal(z - mu, lv)
    mixture = _log_mixture(z, mu, lv, own)
    prior = _log_normal(z, np.zeros_like(lv))
    # own <= mixture + log N holds up to rounding.
    information = min(float((own - mixture).mean()), math.log(len(z)))
    return AggregateInformation(len(z), information, float((mixture - prior).mean()))


def aggregate_moment_kl(mean: ArrayLike, logvar: ArrayLike) -> MomentDivergence:
    """How far the aggregate posterior's mean and covariance are from the prior's 0 and I.

    The moments of the mixture of n posteriors are exact: m = E mu,
    S = diag E exp(logvar) + Cov mu (ddof 0). No draw is needed, but n images are: with d
    dimensions the value is too high by at most about d (d + 3) / 4n. A q(z) of these moments may
    be far from Gaussian: read the MMD beside it.

    Args:
        mean: (n, *shape) posterior means.
        logvar: The same shape, log variances in [-700, 700].

    Raises:
        ValueError: Shapes differ, values that are not finite or out of range, or a covariance that
            is singular in float64.
    """
    require_same_shape("mean", mean, "logvar", logvar)
    rows, variances = sample_rows("mean", mean), np.exp(_logvars(logvar)).mean(axis=0)
    centred = rows - rows[0]
    shift = centred.mean(axis=0)
    centred -= shift
    covariance = centred.T @ centred / len(rows)
    excess = covariance.diagonal() + (variances - 1.0)
    scales = np.sqrt(covariance.diagonal() + variances)
    near = np.abs(excess) < 0.5
    log_variances = np.where(near, np.log1p(np.where(near, excess, 0.0)), 2.0 * np.log(scales))
    correlation = covariance / scales[:, None] / scales
    np.fill_diagonal(correlation, 1.0)
    pivots = _cholesky_pivots(correlation)
    return MomentDivergence(
        0.5 * float(np.square(rows[0] + shift).sum()),
        0.5 * float(np.maximum(excess - log_variances, 0.0).sum()),
        max(0.0, -float(np.log(pivots).sum())),
    )


def aggregate_prior_mmd(latents: ArrayLike, seed: int) -> float:
    """Squared maximum mean discrepancy between posterior draws and as many prior draws.

    The unbiased U-statistic (Gretton et al. 2012, JMLR 13), so that equal distributions give 0
    on average and may give a negative value. The kernel is the Wasserstein autoencoder's
    C / (C + |x - y|^2) with C = 2d (arXiv:1711.01558): under the prior |x - y|^2 is 2d on average.
    Comparable at one d only.

    Args:
        latents: (n, *shape) draws from n images' posteriors, n >= 2.
        seed: Of the prior draws, numpy's ``default_rng(seed).standard_normal((n, d))``: the same
            for all checkpoints of one latent shape.

    Raises:
        ValueError: Fewer than 2 draws, or non-finite ones.
    """
    draws = sample_rows("latents", latents)
    if len(draws) < 2:
        raise ValueError(f"latents: a U-statistic needs at least 2 draws, got {len(draws)}")
    n, d = len(draws), int(draws.shape[1])
    prior = np.random.default_rng(seed).standard_normal((n, d))
    x, y = draws / math.sqrt(2 * d), prior / math.sqrt(2 * d)
    within = (_sum_within(x) + _sum_within(y)) / (n * (n - 1))
    return within - 2.0 * _sum_between(x, y) / n**2


def _logvars(logvar: ArrayLike) -> FloatArray:
    rows = sample_rows("logvar", logvar)
    remedy = "the encoder diverged, or this output is not a log variance"
    require_range("logvar", rows, -LOGVAR_LIMIT, LOGVAR_LIMIT, remedy)
    return rows


def _cholesky_pivots(correlation: FloatArray) -> FloatArray:
    """Diagonal of the Cholesky factor: the root of the determinant is its product."""
    try:
        pivots = np.asarray(np.linalg.cholesky(correlation).diagonal(), dtype=np.float64)
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if not np.square(pivots).min() > len(correlation) * np.finfo(np.float64).eps:
        raise ValueError(
            "mean and logvar: the aggregate posterior's covariance is singular; latent dimensions "
            "repeat each other, and their divergence from the prior is infinite"
        )
    return pivots


def _log_normal(deviations: FloatArray, logvars: FloatArray) -> FloatArray:
    """(n,) log densities of deviations from the mean, row by row."""
    terms = np.square(deviations * np.exp(-0.5 * logvars)) + logvars + LOG_2PI
    total: FloatArray = -0.5 * terms.sum(axis=1)
    return total


def _log_mixture(z: FloatArray, mu: FloatArray, lv: FloatArray, own: FloatArray) -> FloatArray:
    """(n,) log mean over j of N(z_i; mu_j, exp lv_j), by one matrix product a block.

    (z - mu)^2 p = z^2 p - 2 z mu p + mu^2 p costs a product of 2d columns where the direct form
    costs N^2 d differences, at a rounding of 1e-16 z^2 p. Centring keeps that small for a
    dimension whose means hardly vary; a draw's own component is exact; and a component that is
    far in units of its own deviation stays far. What rounding leaves below 0 is clipped.
    """
    n, origin = len(z), mu.mean(axis=0)
    z, mu = z - origin, mu - origin
    precision = np.exp(-lv)
    left = np.hstack([np.square(z), z])
    right = np.hstack([0.5 * precision, -mu * precision])
    offset = 0.5 * (np.square(mu) * precision).sum(axis=1)
    peak = -0.5 * (lv + LOG_2PI).sum(axis=1)
    result = np.empty(n)
    block = max(1, BLOCK_ENTRIES // n)
    for start in range(0, n, block):
        stop = min(start + block, n)
        density = left[start:stop] @ right.T
        density += offset
        np.maximum(density, 0.0, out=density)
        np.subtract(peak, density, out=density)
        density[np.arange(stop - start), np.arange(start, stop)] = own[start:stop]
        top = density.max(axis=1)
        density -= top[:, None]
        np.exp(density, out=density)
        result[start:stop] = top + np.log(density.mean(axis=1))
    return result


def _sum_between(x: FloatArray, y: FloatArray) -> float:
    """Sum of k(x_i, y_j) over all pairs, in blocks."""
    total, block = 0.0, max(1, BLOCK_ENTRIES // len(y))
    for start in range(0, len(x), block):
        total += float(_kernel(x[start : start + block], y).sum())
    return total


def _sum_within(x: FloatArray) -> float:
    """Sum of k(x_i, x_j) over all ordered pairs i != j, each block and its mirror at once."""
    total, block = 0.0, max(1, BLOCK_ENTRIES // len(x))
    for start in range(0, len(x), block):
        values = _kernel(x[start : start + block], x[start:])
        square = values[:, : len(values)]
        np.fill_diagonal(square, 0.0)
        total += 2.0 * float(values.sum()) - float(square.sum())
    return total


def _kernel(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kernel values of scaled rows: 1 / (1 + |x - y|^2)."""
    values: FloatArray = (-2.0 * x) @ y.T
    values += np.square(x).sum(axis=1)[:, None]
    values += np.square(y).sum(axis=1)
    np.maximum(values, 0.0, out=values)
    values += 1.0
    return np.reciprocal(values, out=values)
