"""Laws over the metrics of two sets of activations, and their entries of the law tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_batch.metrics.samples.frechet_uncertainty import frechet_influence
from vae_batch.metrics.samples.inception import (
    corrected_inception_score,
)
from vae_batch.metrics.samples.kernel import KernelReference, kernel_distance
from vae_batch.metrics.samples.precision_recall import (
    ManifoldScores,
    Neighbourhoods,
    manifold_scores,
    precision_recall_density_coverage,
)

Array = NDArray[Any]


def _numbers(scores: ManifoldScores) -> list[float]:
    return [scores.precision, scores.recall, scores.density, scores.coverage]


MERGEABLE: dict[str, dict[str, Any]] = {}

PER_SAMPLE: dict[str, dict[str, Any]] = {}

SET_DISTANCES: dict[str, Any] = {}
"""None is a distance: some are negative, some are shares, none vanishes for equal sets."""

SET_SCORES: dict[str, Callable[[Any, Any], Any]] = {
    "kernel_distance": kernel_distance,
    "KernelReference": lambda generated, reference: kernel_distance(
        generated, KernelReference.from_activations(reference)
    ),
    "manifold_scores": lambda generated, reference: [
        number for scores in manifold_scores(reference, generated) for number in _numbers(scores)
    ],
    "precision_recall_density_coverage": lambda generated, reference: _numbers(
        precision_recall_density_coverage(reference, generated)
    ),
    "Neighbourhoods": lambda generated, reference: _numbers(
        precision_recall_density_coverage(Neighbourhoods.from_activations(reference, 5), generated)
    ),
    "frechet_influence": lambda generated, reference: np.sort(
        frechet_influence(generated, reference)
    ),
}
"""Numbers of (generated, reference) that keep under any order and any rotation of the rows."""

LABELS: dict[str, Callable[[Array], float]] = {
    "corrected_inception_score": lambda p: math.exp(corrected_inception_score(p).plug_in_log),
}

COVERED_ELSEWHERE = {
    "KernelInfluence": "what kernel_influence returns",
    "KernelSubsets": "an argument of KernelReference, see test_kernel_distance.py",
    "kernel_influence": "see test_kernel_distance.py",
    **dict.fromkeys(SET_SCORES, "of two sets, see test_set_scores.py"),
    "KernelDistance": "the pair that metrics.kernel_distance returns",
    "SubsetKernelDistance": "what metrics.kernel_influence returns of subsets",
    "ManifoldScores": "what metrics.manifold_scores returns",
    "BallConvention": "an argument of metrics.manifold_scores",
    "PRECISION_RECALL": "an argument of metrics.manifold_scores",
    "DENSITY_COVERAGE": "an argument of metrics.manifold_scores",
    "CorrectedFrechetDistance": "depends on its blocks, see test_frechet_uncertainty.py",
    "bias_dominated": "a rule on counts, see test_frechet_uncertainty.py",
    "frechet_distance_infinity": "depends on its seed, see test_frechet_uncertainty.py",
    "Interval": "what an interval() returns",
    "normalised_probabilities": "how metrics of class probabilities read their argument",
    "trace_of_root": "a part of frechet_distance and of named protocols",
    **dict.fromkeys(
        ("GaussianPair", "NamedProtocol", "TooFewError"), "see test_named_protocols.py"
    ),
    "CorrectedInceptionScore": "what metrics.corrected_inception_score returns",
}

EXPECTED_DIRECTIONS = {
    "kid": "lower",
    "kid_subsets": "lower",
    "kid_subsets_std": "neither",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "fid_corrected": "lower",
    "fid_low": "lower",
    "fid_high": "lower",
    "fid_infinity": "lower",
    "inception_score_corrected": "higher",
    "inception_score_low": "higher",
    "inception_score_high": "higher",
}
