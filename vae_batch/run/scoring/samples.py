"""Scores of the sample side, from stored activations and their reductions."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import (
    CorrectedFrechetDistance,
    FrechetReference,
    Moments,
    bias_dominated,
    corrected_inception_score,
    frechet_distance,
    frechet_distance_infinity,
    frechet_influence,
    inception_divergences,
    inception_score_of_splits,
)
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.plan import Unit
from vae_batch.run.scoring.defined import Row, ScoreSheet
from vae_batch.run.scoring.stored import RowParts, read_all, read_reduction
from vae_batch.storage import Store, read_receipt

Rows = npt.NDArray[Any]

_CORRECTED = ("fid_corrected", "fid_low", "fid_high")
_INCEPTION = ("inception_score", "inception_score_std", "inception_score_corrected")


def add_sample_scores(sheet: ScoreSheet, parts: RowParts) -> dict[str, PairedScore]:
    """FID and Inception Score, with their uncertainty.

    Returns:
      Scores with the influence of each sample, for paired differences between checkpoints.
    """
    reduction = parts.reduction("generated")
    if reduction.moments is None:
        return {}
    store, unit = parts.store_of("generated"), parts.units["generated"]
    receipt = read_receipt(store, unit, unit.shards()[0].name)
    sheet.values |= {
        "feature_dim": reduction.moments.dimension,
        "device": receipt.device if receipt else None,
    }
    influences = _frechet(sheet, parts, reduction.moments)
    if not reduction.labels:
        sheet.refuse("the extractor gives no class probabilities", *_INCEPTION)
    if sheet.wants(*_INCEPTION):
        probabilities = read_all(store, unit, ["probabilities"])["probabilities"]
        sheet.add(
            lambda: _inception(inception_score_of_splits(list(reduction.labels)), probabilities),
            *_INCEPTION,
        )
        divergences = inception_divergences(probabilities)
        influences["inception_score"] = _log_score(divergences)
    if "reconstructed" not in parts.units:
        reason = "needs the model: run `vae-batch score` with --metrics reconstruction_fid"
        sheet.refuse(reason, "reconstruction_fid")
    if sheet.wants("reconstruction_fid"):
        sheet.add(lambda: _reconstruction(parts), "reconstruction_fid")
    return influences


def _frechet(sheet: ScoreSheet, parts: RowParts, moments: Moments) -> dict[str, PairedScore]:
    if not sheet.wants("fid", *_CORRECTED, "fid_infinity"):
        return {}
    real = reference_factor(parts.stores.reference, parts.units["reference"])
    features = parts.columns("generated", ["features"])["features"]
    source = moments if moments.count >= moments.dimension else features
    fid = frechet_distance(source, real)
    sheet.add(lambda: {"fid": fid}, "fid")
    few, dimension = min(moments.count, real.source.count), moments.dimension
    value = fid
    if bias_dominated(moments.count, real.source.count, dimension):
        warning = f"bias-dominated: {few} images for {dimension} feature dimensions (n < 5 d)"
        sheet.values["fid_warning"] = f"{warning}; compare at equal n only"
        sheet.refuse(f"{warning}; no interval is sound", *_CORRECTED)
    elif sheet.wants(*_CORRECTED):
        corrected = CorrectedFrechetDistance.from_activations(features, real)
        value = corrected.value
        sheet.add(lambda: _interval(corrected), *_CORRECTED)
    sheet.add(lambda: {"fid_infinity": frechet_distance_infinity(features, real)}, "fid_infinity")
    if not sheet.wants("fid"):
        return {}
    return {"fid": PairedScore(value, frechet_influence(features, real))}


def _interval(corrected: CorrectedFrechetDistance) -> Row:
    interval = corrected.interval()
    if interval is None:
        raise ValueError("too few images for an interval")
    return {
        "fid_corrected": corrected.value,
        "fid_corrected_se": corrected.standard_error,
        "fid_low": interval.low,
        "fid_high": interval.high,
    }


def _inception(score: Any, probabilities: Rows) -> Row:  # noqa: ANN401
    corrected = corrected_inception_score(probabilities)
    return {
        "inception_score": score.mean,
        "inception_score_se": score.mean * corrected.log_standard_error,
        "inception_score_std": score.std,
        "inception_score_corrected": corrected.score,
        "inception_score_corrected_se": corrected.standard_error,
    }


def _log_score(divergences: Rows) -> PairedScore:
    """The score of all images at once; its influence by the chain rule from that of its log."""
    score = math.exp(float(divergences.mean()))
    return PairedScore(score, score * (divergences - divergences.mean()))


def _reconstruction(parts: RowParts) -> Row:
    """Fréchet distance of reconstructions of the reference images from those images."""
    moments = parts.reduction("reconstructed").moments
    if moments is None:
        raise ValueError("the checkpoint has no reconstructions")
    real = reference_factor(parts.stores.reference, parts.units["reference"])
    if moments.count >= moments.dimension:
        return {"reconstruction_fid": frechet_distance(moments, real)}
    features = parts.columns("reconstructed", ["features"])["features"]
    return {"reconstruction_fid": frechet_distance(features, real)}


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
