"""FID and Inception Score, from stored activations and their reductions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.samples.frechet import FrechetReference, frechet_distance
from vae_batch.metrics.samples.frechet_uncertainty import (
    CorrectedFrechetDistance,
    bias_dominated,
    frechet_distance_infinity,
)
from vae_batch.metrics.samples.inception import (
    LabelDistribution,
    corrected_inception_score,
    inception_score_of_splits,
)
from vae_batch.metrics.samples.moments import Moments
from vae_batch.plan import Unit
from vae_batch.plan.spec import ReferenceIs
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet, UndefinedScoreError
from vae_batch.run.scoring.stored import RowParts, read_all, read_reduction
from vae_batch.storage import Reason, ReasonCode, Score, Store

Rows = npt.NDArray[Any]

_CORRECTED = ("fid_corrected", "fid_low", "fid_high")
_INCEPTION_CORRECTED = ("inception_score_corrected", "inception_score_low", "inception_score_high")
_INCEPTION = ("inception_score", "inception_score_std", *_INCEPTION_CORRECTED)

_UNKNOWN_COUNT = Reason(
    "bias_not_known",
    "the statistics of the reference do not say of how many images they are, so that their own "
    "bias is not known; declare it with --reference-samples",
)
_NO_PROBABILITIES = Reason("no_class_probabilities", "the extractor gives no class probabilities")


def add_sample_scores(sheet: ScoreSheet, parts: RowParts) -> None:
    """FID and Inception Score, with their uncertainty, and the FID of reconstructions."""
    if "generated" in parts.units:
        reduction = parts.reduction("generated")
        if reduction.moments is not None:
            sheet.feature_dim = reduction.moments.dimension
            with sheet.isolated("fid", *_CORRECTED, "fid_infinity"):
                _add_frechet(sheet, parts, reduction.moments)
            with sheet.isolated(*_INCEPTION):
                _add_inception(sheet, parts, reduction.labels)
    if "reconstructed" in parts.units:
        _add_reconstruction(sheet, parts)


def _add_frechet(sheet: ScoreSheet, parts: RowParts, moments: Moments) -> None:
    """The distance, its correction and extrapolation."""
    if not sheet.wants("fid", *_CORRECTED, "fid_infinity"):
        return
    reference = parts.units["reference"]
    features = parts.columns("generated", ["features"])["features"]

    def real() -> FrechetReference:
        return declared_reference(parts.stores.reference, reference, parts.spec.reference_is)

    count, dimension = moments.count, moments.dimension
    source = moments if count >= dimension else features
    known = functools.partial(reference_factor, parts.stores.reference, reference)
    sheet.add(lambda: {"fid": Score(frechet_distance(source, known()))}, "fid")
    fid = sheet.value("fid")
    counts = [count, reference.samples] if parts.spec.reference_is == "sample" else [count]
    if parts.reference_count is None:
        sheet.refuse(_UNKNOWN_COUNT, *_CORRECTED)
    if fid is not None and bias_dominated(dimension, *counts):
        few = f"{min(counts)} images for {dimension} feature dimensions"
        text = f"bias-dominated: {few} (n < 5 d)"
        sheet.scores["fid"] = Score(fid, warning=f"{text}; compare at equal n only")
        sheet.refuse(Reason("bias_dominated", f"{text}; no interval is sound"), *_CORRECTED)
    sheet.add(lambda: _corrected(sheet, features, real()), *_CORRECTED)
    sheet.add(
        lambda: {"fid_infinity": Score(frechet_distance_infinity(features, real()))},
        "fid_infinity",
    )


def _corrected(sheet: ScoreSheet, features: Rows, real: FrechetReference) -> Scores:
    corrected = CorrectedFrechetDistance.from_activations(features, real)
    interval = corrected.interval()
    if interval is None:
        text = f"{corrected.doubt}; raise the number of images"
        raise UndefinedScoreError("bias_not_known", text)
    sheet.influences["fid"] = corrected.score
    return {
        "fid_corrected": Score(corrected.value, corrected.standard_error),
        "fid_low": Score(interval.low),
        "fid_high": Score(interval.high),
    }


def _add_inception(sheet: ScoreSheet, parts: RowParts, labels: Sequence[LabelDistribution]) -> None:
    if not labels:
        sheet.refuse(_NO_PROBABILITIES, *_INCEPTION)
    if not sheet.wants(*_INCEPTION):
        return
    if len(labels) < parts.spec.splits:
        few = f"{parts.units['generated'].samples} samples cannot fill {parts.spec.splits} splits"
        sheet.refuse(Reason("too_few_images", few), *_INCEPTION)
        return
    probabilities = parts.columns("generated", ["probabilities"])["probabilities"]
    sheet.add(lambda: _inception(sheet, labels, probabilities), *_INCEPTION)


def _inception(
    sheet: ScoreSheet, labels: Sequence[LabelDistribution], probabilities: Rows
) -> Scores:
    score, corrected = inception_score_of_splits(labels), corrected_inception_score(probabilities)
    found = {
        "inception_score": Score(score.mean, score.mean * corrected.log_standard_error),
        "inception_score_std": Score(score.std),
    }
    interval = corrected.interval()
    if interval is None:
        code: ReasonCode = "bias_dominated" if corrected.bias_dominated else "bias_not_known"
        reason = Reason(code, f"{corrected.doubt}; raise the number of images")
        return found | dict.fromkeys(_INCEPTION_CORRECTED, Score(reason=reason))
    sheet.influences["inception_score"] = corrected.paired
    return found | {
        "inception_score_corrected": Score(corrected.score, corrected.standard_error),
        "inception_score_low": Score(interval.low),
        "inception_score_high": Score(interval.high),
    }


def _add_reconstruction(sheet: ScoreSheet, parts: RowParts) -> None:
    """Fréchet distance of reconstructions of the reference images from those images."""
    moments = parts.reduction("reconstructed").moments
    if moments is None or not sheet.wants("reconstruction_fid"):
        return
    sheet.feature_dim = sheet.feature_dim or moments.dimension

    def compute() -> Scores:
        source: Moments | Rows = moments
        if moments.count < moments.dimension:
            source = parts.columns("reconstructed", ["features"])["features"]
        real = reference_factor(parts.stores.reference, parts.units["reference"])
        return {"reconstruction_fid": Score(frechet_distance(source, real))}

    sheet.add(compute, "reconstruction_fid")


@functools.lru_cache(maxsize=4)
def reference_factor(store: Store, unit: Unit) -> FrechetReference:
    """The reference's factor, computed once per process and extractor.

    It is that of the moments where these suffice, so that it outlives pruned activations.
    """
    moments = read_reduction(store, unit).moments
    if moments is None:
        raise ValueError(f"reference unit {unit.path} has no activations")
    if moments.count < moments.dimension:
        return FrechetReference.from_activations(reference_features(store, unit), True)
    return FrechetReference.from_moments(moments)


@functools.lru_cache(maxsize=4)
def declared_reference(store: Store, unit: Unit, reference_is: ReferenceIs) -> FrechetReference:
    """The reference's factor, with the activations where it is a sample of its distribution."""
    if reference_is == "population":
        return reference_factor(store, unit)
    return replace(reference_factor(store, unit), activations=reference_features(store, unit))


def reference_features(store: Store, unit: Unit) -> npt.NDArray[np.float32]:
    """(n, d) activations of the reference."""
    return read_all(store, unit, ["features"])["features"]
