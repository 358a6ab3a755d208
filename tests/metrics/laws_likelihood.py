"""Entries of the law tables for the likelihood side, and its metrics' directions.

A law of one value a sample is (metric, arguments, flattens), as in test_metric_laws.PerSample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.metrics.likelihood import families as likelihood_families
from vae_batch.metrics.likelihood import importance

Array = NDArray[Any]
Law = tuple[Callable[..., Array], Callable[[np.random.Generator, int], tuple[Array, ...]], bool]


def _normal(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(size=(n, 3, 4))


def _eight_bit(rng: np.random.Generator, n: int) -> Array:
    return rng.integers(0, 256, size=(n, 3, 4)) / 255


def _log_weights(rng: np.random.Generator, n: int) -> tuple[Array]:
    return (3 * rng.normal(size=(n, 40)),)


def _posterior_draws(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
    return rng.normal(size=(n, 5, 2, 3)), rng.normal(size=(n, 2, 3)), rng.normal(size=(n, 2, 3))


PER_SAMPLE: dict[str, Law] = {
    "continuous_bernoulli_nll": (
        likelihood_families.continuous_bernoulli_nll,
        lambda rng, n: (_normal(rng, n), rng.uniform(size=(n, 3, 4))),
        True,
    ),
    "discretized_logistic_nll": (
        lambda mean, scale, x: likelihood_families.discretized_logistic_nll(
            mean, scale, x, 1 / 255, 0.0, 1.0
        ),
        lambda rng, n: (rng.uniform(size=(n, 3, 4)), _normal(rng, n) - 3, _eight_bit(rng, n)),
        True,
    ),
    "gaussian_nll_of_scales": (
        likelihood_families.gaussian_nll_of_scales,
        lambda rng, n: (_normal(rng, n), _normal(rng, n), _normal(rng, n)),
        True,
    ),
    "importance_weighted_bound": (importance.importance_weighted_bound, _log_weights, False),
    "effective_sample_size": (importance.effective_sample_size, _log_weights, False),
    "pareto_k": (importance.pareto_k, _log_weights, False),
    "log_standard_normal": (
        importance.log_standard_normal,
        lambda rng, n: _posterior_draws(rng, n)[:1],
        False,
    ),
    "log_gaussian_posterior": (importance.log_gaussian_posterior, _posterior_draws, False),
}

MERGEABLE: dict[str, Any] = {}

SET_DISTANCES: dict[str, Any] = {}

COVERED_ELSEWHERE = {
    "pareto_k_limit": "of a number of draws, see test_importance.py",
    "continuous_bernoulli_mean": "one value a pixel, see test_likelihood_families.py",
    "optimal_sigma": "one number from a MeanLoss, see test_likelihood_families.py",
    "LatentUsage": "what metrics.latent_usage returns",
    "latent_usage": "shares and variances over images, see test_posterior.py",
    "AggregateInformation": "what metrics.aggregate_information returns",
    "aggregate_information": "one number of a whole set, see test_aggregate_posterior.py",
    "MomentDivergence": "what metrics.aggregate_moment_kl returns",
    "aggregate_moment_kl": "one number of a whole set, see test_aggregate_posterior.py",
    "aggregate_prior_mmd": "draws against a fixed prior, see test_aggregate_posterior.py",
}

EXPECTED_DIRECTIONS = {
    "reconstruction_nll_at_mean": "lower",
    "beta_objective": "neither",  # of different objectives
    "iwae": "higher",
    "iwae_ess": "higher",
    "iwae_pareto_k": "lower",
    "latent_dimensions": "neither",
    "active_units": "neither",
    "collapsed_dimensions": "neither",
    "mutual_information": "neither",
    "marginal_kl": "neither",  # 0 is collapse
    "aggregate_prior_kl": "lower",
    "aggregate_prior_mmd": "lower",
}
