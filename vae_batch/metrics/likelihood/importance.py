"""Importance-weighted bounds on log p(x), and whether their weights can be trusted.

Log weights log p(x, z) - log q(z|x) are (n, K) in nats, z_1..z_K drawn from q(z|x):

    bound_K(x) = log 1/K sum_k w_k        Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519

At K = 1 it is the ELBO of one draw; its expectation rises with K towards log p(x), and is too
low by about Var(w / p(x)) / 2K. Compare at one K only, and read it beside the effective sample
size and the Pareto shape: a bound that one draw carries is no estimate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.likelihood.elbo import LOG_2PI, LOGVAR_LIMIT
from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_range,
    require_same_shape,
    sample_rows,
)

PARETO_K_LIMIT = 0.7
"""Above this shape the weights' mean converges too slowly at any K (arXiv:1507.02646)."""

FEWEST_DRAWS = 21
"""The smallest K whose tail holds 5 weights; fewer fix no shape."""

EQUAL = 1e-12
"""Log weights that differ by a smaller share of their size differ by rounding."""

BLOCK_ENTRIES = 2**21
"""float64 entries of the largest temporary array: 16 MiB."""

PRIOR_DRAWS, PRIOR_SHAPE = 10.0, 0.5
"""The tail shape is averaged with this many pseudo-draws of this shape, as PSIS does."""


def log_standard_normal(latents: ArrayLike) -> FloatArray:
    """Prior log density N(z; 0, I) of (n, K, *shape) latents: (n, K) nats, latent axes summed.

    Raises:
        ValueError: No draw axis, nothing in a latent, or a non-finite entry.
    """
    draws = _draws(latents)
    log_density: FloatArray = -0.5 * (np.square(draws).sum(axis=2) + draws.shape[2] * LOG_2PI)
    return log_density


def log_gaussian_posterior(latents: ArrayLike, mean: ArrayLike, logvar: ArrayLike) -> FloatArray:
    """Log density N(z; mean, diag exp(logvar)) of each draw under its own image's posterior.

    Draw z = mean + exp(logvar / 2) noise in float64: in float32 a standard deviation below
    1e-7 |mean| is lost in the sum, and with it the noise that this function recovers.

    Args:
        latents: (n, K, *shape).
        mean: (n, *shape) posterior means.
        logvar: (n, *shape) log variances in [-700, 700].

    Returns:
        (n, K) nats, all latent axes summed.

    Raises:
        ValueError: Shapes that do not fit, or values that are not finite or out of range.
    """
    draws = _draws(latents)
    require_same_shape("mean", mean, "logvar", logvar)
    shape = np.shape(latents)
    if np.shape(mean) != (shape[0], *shape[2:]):
        raise ValueError(
            f"latents and mean: expected (n, K, *shape) and (n, *shape), got {shape} and "
            f"{np.shape(mean)}"
        )
    means, logvars = sample_rows("mean", mean), sample_rows("logvar", logvar)
    remedy = "the encoder diverged, or this output is not a log variance"
    require_range("logvar", logvars, -LOGVAR_LIMIT, LOGVAR_LIMIT, remedy)
    noise = (draws - means[:, None, :]) * np.exp(-0.5 * logvars)[:, None, :]
    normaliser = logvars.sum(axis=1) + logvars.shape[1] * LOG_2PI
    log_density: FloatArray = -0.5 * (np.square(noise).sum(axis=2) + normaliser[:, None])
    return log_density


def importance_weighted_bound(log_weights: ArrayLike) -> FloatArray:
    """Lower bound on log p(x) from K draws: the log of the mean weight, exact at any size.

    Args:
        log_weights: (n, K) nats.

    Returns:
        (n,) nats. Equal weights give their common value exactly.

    Raises:
        ValueError: Not (n, K) with K >= 1, or a non-finite entry (names the row).
    """
    rows = _rows(log_weights)
    top = rows.max(axis=1)
    bound: FloatArray = top + np.log(np.exp(rows - top[:, None]).mean(axis=1))
    return bound


def effective_sample_size(log_weights: ArrayLike) -> FloatArray:
    """(sum w)^2 / sum w^2 of each image's (n, K) log weights: (n,) in [1, K].

    Kong 1992. K for equal weights, near 1 where one draw carries the bound; large by chance
    where the draws missed the tail, so read ``pareto_k`` too.

    Raises:
        ValueError: As ``importance_weighted_bound``.
    """
    rows = _rows(log_weights)
    weights = np.exp(rows - rows.max(axis=1, keepdims=True))
    size: FloatArray = np.square(weights.sum(axis=1)) / np.square(weights).sum(axis=1)
    return size


def pareto_k(log_weights: ArrayLike) -> FloatArray:
    """Shape k of a generalised Pareto distribution fitted to each image's largest weights.

    Weights have finite moments up to order 1/k. Above ``pareto_k_limit`` the bound is no
    reliable estimate. The tail is the
    min(K/5, 3 sqrt K) largest weights over the next; the fit is that of Zhang and Stephens 2009
    (Technometrics 51(3)), averaged with 10 pseudo-draws of shape 1/2. Its standard error is
    about (1 + k) / sqrt(tail): .3 at K = 64, .1 at K = 5000.

    Args:
        log_weights: (n, K) nats with K >= 21.

    Returns:
        (n,) shapes; 0 where the tail's weights are equal up to rounding.

    Raises:
        ValueError: Fewer than 21 draws, or as ``importance_weighted_bound``.
    """
    rows = _rows(log_weights)
    draws = rows.shape[1]
    if draws < FEWEST_DRAWS:
        raise ValueError(
            f"log_weights: a Pareto shape needs at least {FEWEST_DRAWS} draws an image, got {draws}"
        )
    tail = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    largest = np.sort(np.partition(rows, draws - tail - 1, axis=1)[:, -tail - 1 :], axis=1)
    cutoff, top = largest[:, :1], largest[:, -1:]
    varied = (top - cutoff > EQUAL * np.maximum(1.0, np.abs(top)))[:, 0]
    shapes = np.zeros(len(rows))
    if varied.any():
        excess = np.exp(largest[varied, 1:] - top[varied]) - np.exp(cutoff[varied] - top[varied])
        fitted = _generalised_pareto_shape(excess / excess[:, -1:])
        weight = tail / (tail + PRIOR_DRAWS)
        shapes[varied] = weight * fitted + (1.0 - weight) * PRIOR_SHAPE
    return shapes


def pareto_k_limit(draws: int) -> float:
    """Largest shape k at which the bound of K draws is a reliable estimate of log p(x).

    min(1 - 1/log10 K, 0.7): Vehtari et al. 2024, arXiv:1507.02646, section 3.2.4; 0.45 at K = 64,
    0.7 from about K = 2200 on.

    Raises:
        ValueError: Fewer than 21 draws, which fix no shape.
    """
    if draws < FEWEST_DRAWS:
        raise ValueError(f"draws: expected at least {FEWEST_DRAWS}, got {draws}")
    return min(1.0 - 1.0 / math.log10(draws), PARETO_K_LIMIT)


def _generalised_pareto_shape(excess: FloatArray) -> FloatArray:
    """Zhang and Stephens' estimate for (n, M) ascending excesses with a maximum of 1.

    The profile likelihood over b = -shape / scale is averaged over a grid of M-dependent size
    under their weakly informative prior, which is located by the first quartile.
    """
    tail = excess.shape[1]
    points = 30 + math.isqrt(tail)
    steps = 1.0 - np.sqrt(points / (np.arange(points) + 0.5))
    # Weights over 300 orders of magnitude below the largest leave excesses of 0.
    quartile = np.maximum(excess[:, int(tail / 4 + 0.5) - 1], 1e-300)
    shapes = np.empty(len(excess))
    block = max(1, BLOCK_ENTRIES // (points * tail))
    for start in range(0, len(excess), block):
        part = excess[start : start + block]
        b = 1.0 + steps / (3.0 * quartile[start : start + block, None])
        b[b == 0.0] = 1e-300
        profile = np.log1p(-b[:, :, None] * part[:, None, :]).mean(axis=2)
        log_likelihood = tail * (np.log(-b / profile) - profile - 1.0)
        weights = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
        b_mean = (weights * b).sum(axis=1) / weights.sum(axis=1)
        shapes[start : start + block] = np.log1p(-b_mean[:, None] * part).mean(axis=1)
    return shapes


def _draws(latents: ArrayLike) -> FloatArray:
    array = real_array("latents", latents)
    if array.ndim < 3 or array.size == 0:
        raise ValueError(
            f"latents: expected (n, K, *shape) with K draws an image, got shape {array.shape}"
        )
    require_finite("latents", array)
    return array.reshape(*array.shape[:2], -1).astype(np.float64, copy=False)


def _rows(log_weights: ArrayLike) -> FloatArray:
    array: NDArray[np.generic] = real_array("log_weights", log_weights)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"log_weights: expected (n, K) with K >= 1 draws an image, got shape {array.shape}"
        )
    require_finite("log_weights", array)
    return array.astype(np.float64, copy=False)
