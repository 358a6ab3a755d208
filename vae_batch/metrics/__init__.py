"""The numbers, as pure float64 functions and mergeable values; numpy and scipy only.

    from vae_batch.metrics import Moments, frechet_distance, inception_score

Arrays have the sample axis first. Likelihoods are in nats, one value a sample.
"""

from __future__ import annotations

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.metrics.elbo import MeanLoss, bits_per_dim, elbo
from vae_batch.metrics.frechet import FrechetReference, frechet_distance
from vae_batch.metrics.inception_score import (
    InceptionScore,
    LabelDistribution,
    inception_score,
    inception_score_of_splits,
    split_bounds,
)
from vae_batch.metrics.likelihood import (
    bernoulli_nll,
    bernoulli_nll_from_probabilities,
    gaussian_kl,
    gaussian_kl_per_dimension,
    gaussian_nll,
)
from vae_batch.metrics.moments import Moments

__all__ = [
    "METRICS",
    "FrechetReference",
    "InceptionScore",
    "LabelDistribution",
    "MeanLoss",
    "Metric",
    "Moments",
    "bernoulli_nll",
    "bernoulli_nll_from_probabilities",
    "bits_per_dim",
    "elbo",
    "frechet_distance",
    "gaussian_kl",
    "gaussian_kl_per_dimension",
    "gaussian_nll",
    "inception_score",
    "inception_score_of_splits",
    "split_bounds",
]
