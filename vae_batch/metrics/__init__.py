"""The numbers, as pure float64 functions and mergeable values; numpy and scipy only.

    from vae_batch.metrics import Moments, frechet_distance, inception_score

Arrays have the sample axis first. Likelihoods are in nats, one value a sample.
"""

from __future__ import annotations

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.metrics.comparison.intervals import Interval
from vae_batch.metrics.comparison.paired_difference import (
    PairedDifference,
    PairedScore,
    holm_adjusted,
    paired_difference,
)
from vae_batch.metrics.comparison.permutation import sign_flip_test, swap_test
from vae_batch.metrics.comparison.race import Elimination, Race, race_counts
from vae_batch.metrics.comparison.ranking import (
    ComparisonRow,
    LevelWithBest,
    comparison_table,
    level_with_best,
    require_same_conditions,
)
from vae_batch.metrics.images.diagnostics import (
    RadialSpectrum,
    duplicate_rate,
    high_frequency_fraction,
    high_frequency_ratio,
    pixel_diversity,
    radial_power_spectrum,
    real_against_real,
    sharpness,
    sharpness_ratio,
)
from vae_batch.metrics.images.reconstruction import (
    MeanPsnr,
    mean_absolute_error,
    mean_squared_error,
    multiscale_structural_similarity,
    peak_signal_to_noise_ratio,
    structural_similarity,
)
from vae_batch.metrics.images.smoothness import latent_smoothness, path_changes, trimmed_mean
from vae_batch.metrics.likelihood.aggregate_posterior import (
    AggregateInformation,
    MomentDivergence,
    aggregate_information,
    aggregate_moment_kl,
    aggregate_prior_mmd,
)
from vae_batch.metrics.likelihood.densities import (
    bernoulli_nll,
    bernoulli_nll_from_probabilities,
    gaussian_kl,
    gaussian_kl_per_dimension,
    gaussian_nll,
)
from vae_batch.metrics.likelihood.elbo import MeanLoss, bits_per_dim, elbo
from vae_batch.metrics.likelihood.families import (
    continuous_bernoulli_mean,
    continuous_bernoulli_nll,
    discretized_logistic_nll,
    gaussian_nll_of_scales,
    optimal_sigma,
)
from vae_batch.metrics.likelihood.importance import (
    effective_sample_size,
    importance_weighted_bound,
    log_gaussian_posterior,
    log_importance_weights,
    log_standard_normal,
    pareto_k,
)
from vae_batch.metrics.likelihood.posterior import LatentUsage, latent_usage
from vae_batch.metrics.samples.frechet import FrechetReference, frechet_distance
from vae_batch.metrics.samples.frechet_influence import frechet_influence, frechet_standard_error
from vae_batch.metrics.samples.frechet_uncertainty import (
    CorrectedFrechetDistance,
    bias_dominated,
    frechet_distance_infinity,
)
from vae_batch.metrics.samples.inception import (
    InceptionScore,
    LabelDistribution,
    inception_score,
    inception_score_of_splits,
    split_bounds,
)
from vae_batch.metrics.samples.inception_uncertainty import (
    CorrectedInceptionScore,
    corrected_inception_score,
    inception_divergences,
)
from vae_batch.metrics.samples.kernel import (
    KernelDistance,
    KernelInfluence,
    KernelReference,
    SubsetKernelDistance,
    kernel_distance,
    kernel_distance_of_subsets,
    kernel_influence,
)
from vae_batch.metrics.samples.kernel_subsets import KernelSubsets
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.samples.nearest import nearest_distances
from vae_batch.metrics.samples.neighbours import Neighbourhoods, neighbour_radii
from vae_batch.metrics.samples.precision_recall import (
    DENSITY_COVERAGE,
    PRECISION_RECALL,
    BallConvention,
    ManifoldScores,
    manifold_scores,
    precision_recall_density_coverage,
)
from vae_batch.metrics.samples.set_diagnostics import (
    NearDuplicateThreshold,
    TrainingNeighbours,
    authentic_fraction,
    data_copying_z,
    near_duplicate_rate,
    training_distance_ratio,
    vendi_score,
)

__all__ = [
    "DENSITY_COVERAGE",
    "METRICS",
    "PRECISION_RECALL",
    "AggregateInformation",
    "BallConvention",
    "ComparisonRow",
    "CorrectedFrechetDistance",
    "CorrectedInceptionScore",
    "Elimination",
    "FrechetReference",
    "InceptionScore",
    "Interval",
    "KernelDistance",
    "KernelInfluence",
    "KernelReference",
    "KernelSubsets",
    "LabelDistribution",
    "LatentUsage",
    "LevelWithBest",
    "ManifoldScores",
    "MeanLoss",
    "MeanPsnr",
    "Metric",
    "MomentDivergence",
    "Moments",
    "NearDuplicateThreshold",
    "Neighbourhoods",
    "PairedDifference",
    "PairedScore",
    "Race",
    "RadialSpectrum",
    "SubsetKernelDistance",
    "TrainingNeighbours",
    "aggregate_information",
    "aggregate_moment_kl",
    "aggregate_prior_mmd",
    "authentic_fraction",
    "bernoulli_nll",
    "bernoulli_nll_from_probabilities",
    "bias_dominated",
    "bits_per_dim",
    "comparison_table",
    "continuous_bernoulli_mean",
    "continuous_bernoulli_nll",
    "corrected_inception_score",
    "data_copying_z",
    "discretized_logistic_nll",
    "duplicate_rate",
    "effective_sample_size",
    "elbo",
    "frechet_distance",
    "frechet_distance_infinity",
    "frechet_influence",
    "frechet_standard_error",
    "gaussian_kl",
    "gaussian_kl_per_dimension",
    "gaussian_nll",
    "gaussian_nll_of_scales",
    "high_frequency_fraction",
    "high_frequency_ratio",
    "holm_adjusted",
    "importance_weighted_bound",
    "inception_divergences",
    "inception_score",
    "inception_score_of_splits",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "kernel_influence",
    "latent_smoothness",
    "latent_usage",
    "level_with_best",
    "log_gaussian_posterior",
    "log_importance_weights",
    "log_standard_normal",
    "manifold_scores",
    "mean_absolute_error",
    "mean_squared_error",
    "multiscale_structural_similarity",
    "near_duplicate_rate",
    "nearest_distances",
    "neighbour_radii",
    "optimal_sigma",
    "paired_difference",
    "pareto_k",
    "path_changes",
    "peak_signal_to_noise_ratio",
    "pixel_diversity",
    "precision_recall_density_coverage",
    "race_counts",
    "radial_power_spectrum",
    "real_against_real",
    "require_same_conditions",
    "sharpness",
    "sharpness_ratio",
    "sign_flip_test",
    "split_bounds",
    "structural_similarity",
    "swap_test",
    "training_distance_ratio",
    "trimmed_mean",
    "vendi_score",
]
