"""Laws over the metrics of images, sets and comparisons: keyword arguments of the law tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.metrics.images.diagnostics import high_frequency_fraction, path_changes, sharpness
from vae_batch.metrics.images.reconstruction import (
    MeanPsnr,
    mean_absolute_error,
    mean_squared_error,
    multiscale_structural_similarity,
    peak_signal_to_noise_ratio,
    structural_similarity,
)

Array = NDArray[Any]


def _pair(rng: np.random.Generator, n: int, *sides: int) -> tuple[Array, Array]:
    return rng.random((n, *sides)), rng.random((n, *sides))


def _decibels(rng: np.random.Generator, n: int) -> Array:
    values = rng.normal(size=n) + 30.0
    values[rng.random(n) < 0.3] = np.inf
    return values


MERGEABLE: dict[str, dict[str, Any]] = {
    "MeanPsnr": {
        "build": MeanPsnr.from_values,
        "empty": MeanPsnr.empty,
        "read": lambda v: [v.count, v.perfect, v.finite.mean, v.finite.scatter],
        "rows": _decibels,
    },
}

PER_SAMPLE: dict[str, dict[str, Any]] = {
    "mean_squared_error": {
        "metric": lambda x, y: mean_squared_error(x, y, 1.0),
        "arguments": lambda rng, n: _pair(rng, n, 3, 4),
    },
    "mean_absolute_error": {
        "metric": lambda x, y: mean_absolute_error(x, y, 1.0),
        "arguments": lambda rng, n: _pair(rng, n, 3, 4),
    },
    "path_changes": {
        "metric": lambda x, y: path_changes(x, y, 1e-2),
        "arguments": lambda rng, n: _pair(rng, n, 3, 4),
    },
    "peak_signal_to_noise_ratio": {
        "metric": lambda x, y: peak_signal_to_noise_ratio(x, y, 1.0),
        "arguments": lambda rng, n: _pair(rng, n, 3, 4),
    },
    "structural_similarity": {
        "metric": lambda x, y: structural_similarity(x, y, 1.0),
        "arguments": lambda rng, n: _pair(rng, n, 12, 13, 2),
        "flattens": False,
    },
    "multiscale_structural_similarity": {
        "metric": lambda x, y: multiscale_structural_similarity(x, y, 1.0),
        "arguments": lambda rng, n: _pair(rng, n, 161, 162),
        "flattens": False,
    },
    "sharpness": {
        "metric": sharpness,
        "arguments": lambda rng, n: (rng.random((n, 5, 6, 2)),),
        "flattens": False,
    },
    "high_frequency_fraction": {
        "metric": high_frequency_fraction,
        "arguments": lambda rng, n: (rng.random((n, 5, 6, 2)),),
        "flattens": False,
    },
}

SET_DISTANCES: dict[str, Any] = {}
"""None: the ratios and rates of two sets are no distances."""

COVERED_ELSEWHERE: dict[str, str] = {
    "trimmed_mean": "a mean without its tails, see test_set_diagnostics.py",
    "RadialSpectrum": "what metrics.radial_power_spectrum returns",
    "radial_power_spectrum": "a figure's data, see test_image_diagnostics.py",
    "real_against_real": "applies another metric, see test_set_diagnostics.py",
    "nearest_distances": "a search, see test_nearest.py",
    "NearDuplicateThreshold": "what near_duplicate_rate reads, see test_set_diagnostics.py",
    "near_duplicate_rate": "a rate against a reference, see test_set_diagnostics.py",
    "vendi_score": "a spread of one set, see test_set_diagnostics.py",
    "TrainingNeighbours": "what the memorisation metrics read, see test_set_diagnostics.py",
    "authentic_fraction": "of three sets, see test_set_diagnostics.py",
    "training_distance_ratio": "of three sets, see test_set_diagnostics.py",
    "data_copying_z": "of three sets, see test_set_diagnostics.py",
    "PairedScore": "what comparisons take, see test_paired_difference.py",
    "PairedDifference": "what metrics.paired_difference returns",
    "paired_difference": "of two checkpoints, see test_paired_difference.py",
    "count_to_separate": "of a difference, see test_paired_difference.py",
    "holm_adjusted": "of p-values, see test_paired_difference.py",
    "LevelWithBest": "what metrics.level_with_best returns",
    "level_with_best": "of checkpoints, see test_comparison.py",
    "ComparisonRow": "what metrics.comparison_table returns",
    "comparison_table": "of checkpoints, see test_comparison.py",
    "require_same_conditions": "a refusal, see test_comparison.py",
}
