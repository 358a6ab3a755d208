"""The numbers, as pure float64 functions and mergeable values; numpy and scipy only.

    from vae_batch.metrics import Moments, frechet_distance, inception_score

Arrays have the sample axis first. Likelihoods are in nats, one value per sample. The names of
``__all__`` are the public interface and stay. Everything else is imported from its room, such as
``vae_batch.metrics.images.diagnostics``, and may move:

- ``likelihood``: densities, ELBO, importance-weighted bound, the latent code.
- ``samples``: Fréchet and kernel distance, Inception Score, precision and recall, diversity.
- ``images``: reconstruction errors, sharpness, spectra, duplicates.
- ``comparison``: paired differences, rankings, races.
- ``catalogue``: the metric table; words and flags, no arrays.

A name is imported when it is first used, so that reading the metric table loads no numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vae_batch.metrics.catalogue import METRICS, Metric, StoredArrays
    from vae_batch.metrics.comparison.paired_difference import (
        PairedScore,
        holm_adjusted,
        paired_difference,
    )
    from vae_batch.metrics.comparison.ranking import comparison_table, level_with_best
    from vae_batch.metrics.images.reconstruction import mean_squared_error, structural_similarity
    from vae_batch.metrics.likelihood.elbo import (
        MeanLoss,
        bernoulli_nll,
        bits_per_dim,
        elbo,
        gaussian_kl,
        gaussian_nll,
    )
    from vae_batch.metrics.likelihood.importance import importance_weighted_bound
    from vae_batch.metrics.samples.frechet import FrechetReference, frechet_distance
    from vae_batch.metrics.samples.frechet_uncertainty import (
        CorrectedFrechetDistance,
        frechet_distance_infinity,
    )
    from vae_batch.metrics.samples.inception import (
        LabelDistribution,
        corrected_inception_score,
        inception_score,
    )
    from vae_batch.metrics.samples.kernel import kernel_distance
    from vae_batch.metrics.samples.moments import Moments
    from vae_batch.metrics.samples.precision_recall import precision_recall_density_coverage

_ROOMS = {
    "METRICS": "catalogue",
    "Metric": "catalogue",
    "StoredArrays": "catalogue",
    "PairedScore": "comparison.paired_difference",
    "holm_adjusted": "comparison.paired_difference",
    "paired_difference": "comparison.paired_difference",
    "comparison_table": "comparison.ranking",
    "level_with_best": "comparison.ranking",
    "mean_squared_error": "images.reconstruction",
    "structural_similarity": "images.reconstruction",
    "bernoulli_nll": "likelihood.elbo",
    "gaussian_kl": "likelihood.elbo",
    "gaussian_nll": "likelihood.elbo",
    "MeanLoss": "likelihood.elbo",
    "bits_per_dim": "likelihood.elbo",
    "elbo": "likelihood.elbo",
    "importance_weighted_bound": "likelihood.importance",
    "FrechetReference": "samples.frechet",
    "frechet_distance": "samples.frechet",
    "CorrectedFrechetDistance": "samples.frechet_uncertainty",
    "frechet_distance_infinity": "samples.frechet_uncertainty",
    "LabelDistribution": "samples.inception",
    "inception_score": "samples.inception",
    "corrected_inception_score": "samples.inception",
    "kernel_distance": "samples.kernel",
    "Moments": "samples.moments",
    "precision_recall_density_coverage": "samples.precision_recall",
}

__all__ = [
    "METRICS",
    "CorrectedFrechetDistance",
    "FrechetReference",
    "LabelDistribution",
    "MeanLoss",
    "Metric",
    "Moments",
    "PairedScore",
    "StoredArrays",
    "bernoulli_nll",
    "bits_per_dim",
    "comparison_table",
    "corrected_inception_score",
    "elbo",
    "frechet_distance",
    "frechet_distance_infinity",
    "gaussian_kl",
    "gaussian_nll",
    "holm_adjusted",
    "importance_weighted_bound",
    "inception_score",
    "kernel_distance",
    "level_with_best",
    "mean_squared_error",
    "paired_difference",
    "precision_recall_density_coverage",
    "structural_similarity",
]


def __getattr__(name: str) -> object:
    """A public name, from its room.

    Raises:
        AttributeError: It is not public.
    """
    if name not in _ROOMS:
        raise AttributeError(
            f"vae_batch.metrics has no public name {name!r}; import it from its room, such as "
            "vae_batch.metrics.samples.frechet"
        )
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
