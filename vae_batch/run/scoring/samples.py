"""Scores of the sample side, from stored activations and their reductions."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from vae_batch.metrics import (
    FrechetReference,
    Moments,
    frechet_distance,
    inception_score_of_splits,
)
from vae_batch.plan import Unit
from vae_batch.run.plan import PlannedRow, RunPlan
from vae_batch.run.scoring.stored import read_all, read_reduction
from vae_batch.storage import Store, read_receipt

#: Below this ratio of samples to feature dimensions FID's bias outweighs its noise. The field's
#: 10,000 images for Inception's 2,048 dimensions just pass.
SAMPLES_PER_DIMENSION = 10000 / 2048


def sample_scores(plan: RunPlan, row: PlannedRow, undefined: Collection[str]) -> dict[str, Any]:
    """FID and Inception Score, but for the undefined ones."""
    store, unit = plan.stores.out, row.units["generated"]
    reduction = read_reduction(store, unit)
    if reduction.moments is None:
        return {}
    dimension = reduction.moments.dimension
    receipt = read_receipt(store, unit, unit.shards()[0].name)
    scores: dict[str, Any] = {
        "feature_dim": dimension,
        "fid": _fid(plan, row, reduction.moments),
        "device": receipt.device if receipt else None,
    }
    few = min(plan.spec.samples, plan.reference.count)
    if few < SAMPLES_PER_DIMENSION * dimension:
        scores["fid_warning"] = (
            f"bias-dominated: {few} images for {dimension} feature dimensions (n < 5 d); compare "
            "at equal n only"
        )
    if "inception_score" in undefined:
        return scores
    if not reduction.labels:
        reason = "the extractor gives no class probabilities"
        return {**scores, "inception_score_reason": reason, "inception_score_std_reason": reason}
    score = inception_score_of_splits(list(reduction.labels))
    return {**scores, "inception_score": score.mean, "inception_score_std": score.std}


def _fid(plan: RunPlan, row: PlannedRow, generated: Moments) -> float:
    """From moments, or from the activations themselves where there are fewer than dimensions."""
    real = _reference_factor(plan.stores.reference, row.units["reference"])
    if generated.count >= generated.dimension:
        return frechet_distance(generated, real)
    activations = read_all(plan.stores.out, row.units["generated"], ["features"])["features"]
    return frechet_distance(activations, real)


@functools.lru_cache(maxsize=4)
def _reference_factor(store: Store, unit: Unit) -> FrechetReference:
    """The reference's factor, computed once a process and extractor."""
    moments = read_reduction(store, unit).moments
    if moments is None:
        raise ValueError(f"reference unit {unit.path} has no activations")
    if moments.count >= moments.dimension:
        return FrechetReference.from_moments(moments)
    return FrechetReference.from_activations(read_all(store, unit, ["features"])["features"])
