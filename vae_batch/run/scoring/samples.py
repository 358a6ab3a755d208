"""Scores of the sample side, from stored activations and their reductions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.samples.frechet import FrechetReference, frechet_distance
from vae_batch.metrics.samples.frechet_influence import frechet_influence
from vae_batch.metrics.samples.frechet_uncertainty import (
    CorrectedFrechetDistance,
    bias_dominated,
    frechet_distance_infinity,
)
from vae_batch.metrics.samples.inception import (
    InceptionScore,
    LabelDistribution,
    inception_score_of_splits,
)
from vae_batch.metrics.samples.inception_uncertainty import (
    corrected_inception_score,
    inception_divergences,
)
from vae_batch.metrics.samples.moments import Moments
from vae_batch.plan import Unit
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
from vae_batch.run.scoring.stored import RowParts, read_all, read_reduction
from vae_batch.storage import Store

Rows = npt.NDArray[Any]

_CORRECTED = ("fid_corrected", "fid_low", "fid_high")
_INCEPTION = ("inception_score", "inception_score_std", "inception_score_corrected")


def add_sample_scores(sheet: ScoreSheet, parts: RowParts) -> dict[str, PairedScore]:
    """FID and Inception Score, with their uncertainty, and the FID of reconstructions.

    Returns:
      Scores with the influence of each sample, for paired differences between checkpoints.
    """
    influences: dict[str, PairedScore] = {}
    if "generated" in parts.units:
        reduction = parts.reduction("generated")
        if reduction.moments is not None:
            sheet.values["feature_dim"] = reduction.moments.dimension
            influences |= _add_frechet(sheet, parts, reduction.moments)
            influences |= _add_inception(sheet, parts, reduction.labels)
    if "reconstructed" in parts.units:
        _add_reconstruction(sheet, parts)
    return influences


def _add_frechet(sheet: ScoreSheet, parts: RowParts, moments: Moments) -> dict[str, PairedScore]:
    """The distance, its correction and extrapolation.

    Its influences go with the corrected distance where that is sound, so that differences
    between checkpoints are freed of their biases, too.
    """
    if not sheet.wants("fid", *_CORRECTED, "fid_infinity"):
        return {}
    reference = parts.units["reference"]
    features = parts.columns("generated", ["features"])["features"]

    def real() -> FrechetReference:
        return reference_factor(parts.stores.reference, reference)

    count, dimension = moments.count, moments.dimension
    source = moments if count >= dimension else features
    sheet.add(lambda: {"fid": frechet_distance(source, real())}, "fid")
    if "fid" in sheet.values and bias_dominated(count, reference.samples, dimension):
        few = f"{min(count, reference.samples)} images for {dimension} feature dimensions"
        warning = f"bias-dominated: {few} (n < 5 d)"
        sheet.values["fid_warning"] = f"{warning}; compare at equal n only"
        sheet.refuse(f"{warning}; no interval is sound", *_CORRECTED)
    sheet.add(lambda: _corrected(features, real()), *_CORRECTED)
    sheet.add(lambda: {"fid_infinity": frechet_distance_infinity(features, real())}, "fid_infinity")
    if "fid" not in sheet.values:
        return {}
    value = sheet.values.get("fid_corrected", sheet.values["fid"])
    return {"fid": PairedScore(value, frechet_influence(features, real()))}


def _corrected(features: Rows, real: FrechetReference) -> Row:
    corrected = CorrectedFrechetDistance.from_activations(features, real)
    interval = corrected.interval()
    if interval is None:
        raise ValueError("too few images for an interval")
    return {
        "fid_corrected": corrected.value,
        "fid_corrected_se": corrected.standard_error,
        "fid_low": interval.low,
        "fid_high": interval.high,
    }


def _add_inception(
    sheet: ScoreSheet, parts: RowParts, labels: Sequence[LabelDistribution]
) -> dict[str, PairedScore]:
    if not labels:
        sheet.refuse("the extractor gives no class probabilities", *_INCEPTION)
    if not sheet.wants(*_INCEPTION):
        return {}
    probabilities = parts.columns("generated", ["probabilities"])["probabilities"]
    score = inception_score_of_splits(labels)
    sheet.add(lambda: _inception(score, probabilities), *_INCEPTION)
    if "inception_score" not in sheet.values:
        return {}
    return {"inception_score": _log_score(inception_divergences(probabilities))}


def _inception(score: InceptionScore, probabilities: Rows) -> Row:
    corrected = corrected_inception_score(probabilities)
    return {
        "inception_score": score.mean,
        "inception_score_se": score.mean * corrected.log_standard_error,
        "inception_score_std": score.std,
        "inception_score_corrected": corrected.score,
        "inception_score_corrected_se": corrected.standard_error,
    }


def _log_score(divergences: Rows) -> PairedScore:
    """The score of all images at once; its influences are those on its log, by the chain rule."""
    score = math.exp(float(divergences.mean()))
    return PairedScore(score, score * (divergences - divergences.mean()))


def _add_reconstruction(sheet: ScoreSheet, parts: RowParts) -> None:
    """Fréchet distance of reconstructions of the reference images from those images."""
    moments = parts.reduction("reconstructed").moments
    if moments is None or not sheet.wants("reconstruction_fid"):
        return
    sheet.values.setdefault("feature_dim", moments.dimension)

    def compute() -> Row:
        source: Moments | Rows = moments
        if moments.count < moments.dimension:
            source = parts.columns("reconstructed", ["features"])["features"]
        real = reference_factor(parts.stores.reference, parts.units["reference"])
        return {"reconstruction_fid": frechet_distance(source, real)}

    sheet.add(compute, "reconstruction_fid")


@functools.lru_cache(maxsize=4)
def reference_factor(store: Store, unit: Unit) -> FrechetReference:
    """The reference's factor, computed once a process and extractor."""
    moments = read_reduction(store, unit).moments
    if moments is None:
        raise ValueError(f"reference unit {unit.path} has no activations")
    if moments.count >= moments.dimension:
        return FrechetReference.from_moments(moments)
    return FrechetReference.from_activations(reference_features(store, unit))


def reference_features(store: Store, unit: Unit) -> npt.NDArray[np.float32]:
    """(n, d) activations of the reference."""
    return read_all(store, unit, ["features"])["features"]
