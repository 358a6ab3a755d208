"""From stored activations and losses to one score row: pure numbers, one thread, float64.

Everything is summed in shard order with one BLAS thread, so that neither the number of workers
nor the machine's cores move a bit.
"""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.metrics import (
    FrechetReference,
    LabelDistribution,
    MeanLoss,
    Moments,
    bits_per_dim,
    elbo,
    frechet_distance,
    inception_score_of_splits,
    split_bounds,
)
from vae_batch.models.image_range import bounds_of
from vae_batch.plan import Shard, Unit
from vae_batch.run.plan import PlannedRow, RunPlan
from vae_batch.storage import (
    REDUCTION,
    DamagedFileError,
    Reduction,
    Store,
    decode_columns,
    decode_reduction,
    encode_reduction,
    read_receipt,
    read_verified,
    write_with_receipt,
)

#: Below this ratio of samples to feature dimensions FID's bias outweighs its noise. The field's
#: 10,000 images for Inception's 2,048 dimensions just pass.
SAMPLES_PER_DIMENSION = 10000 / 2048

#: Of an 8-bit image: what a density's bits per dimension refer to.
_GREY_LEVELS = 256


@dataclass(frozen=True)
class Damaged:
    """A file found damaged while reading; its shard or reduction must be redone."""

    unit: Unit
    name: str


def reduce_unit(store: Store, unit: Unit, splits: int) -> Damaged | None:
    """Stream a unit's activations in shard order into moments and label distributions.

    Args:
      store: Holds the unit.
      unit: Of activations, with all shards finished.
      splits: Inception Score splits, by global sample index.

    Returns:
      What is damaged, or None when the reduction has been written.
    """
    try:
        with threadpool_limits(1):
            moments, labels = _reduce(store, unit, splits)
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    content = encode_reduction(moments, labels)
    write_with_receipt(store, unit, REDUCTION, content, rows=unit.samples)
    return None


def score_row(plan: RunPlan, row: PlannedRow) -> dict[str, Any] | Damaged:
    """All numbers of one row, from reductions and stored losses.

    Returns:
      A row of the score table, or what is damaged.
    """
    try:
        with threadpool_limits(1):
            losses, sample_scores = _losses(plan, row), _sample_scores(plan, row)
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    return {**row_conditions(plan, row), "status": "scored", **losses, **sample_scores}


def failed_row(plan: RunPlan, row: PlannedRow, reason: str) -> dict[str, Any]:
    """The row of a checkpoint that could not be scored."""
    return {**row_conditions(plan, row), "status": "failed", "reason": reason}


def row_conditions(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    """What every number of a row depends on."""
    spec = plan.spec
    return {
        "checkpoint": row.checkpoint.label,
        "step": row.checkpoint.step,
        "extractor": row.extractor.name,
        "weights_sha256": row.extractor.weights_sha256,
        "protocol": row.extractor.protocol,
        "n_generated": spec.samples,
        "n_reference": plan.reference.count,
        "reference": plan.reference.name,
        "reference_split": plan.reference.split,
        "reference_sha256": plan.reference.sha256,
        "checkpoint_sha256": row.checkpoint.sha256,
        "seed": spec.seed,
        "likelihood": spec.likelihood,
        "sigma": spec.sigma,
        "beta": spec.beta,
        "fingerprint": row.fingerprint,
        "scored_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
    }


def _reduce(store: Store, unit: Unit, splits: int) -> tuple[Moments, list[LabelDistribution]]:
    moments: Moments | None = None
    labels: list[LabelDistribution] = []
    for shard in unit.shards():
        columns = _read(store, unit, shard.name, ["features", "probabilities"])
        part = Moments.from_activations(columns["features"])
        moments = moments.merge(part) if moments else part
        labels = _merge_labels(labels, columns["probabilities"], shard, unit.samples, splits)
    if moments is None:
        raise ValueError(f"unit {unit.path} has no shards")
    return moments, labels


def _merge_labels(
    labels: list[LabelDistribution],
    probabilities: npt.NDArray[np.generic],
    shard: Shard,
    samples: int,
    splits: int,
) -> list[LabelDistribution]:
    """Add a shard's probabilities to the splits that its sample indices belong to."""
    classes = probabilities.shape[1]
    if not classes:
        return []
    merged = labels or [LabelDistribution.empty(classes) for _ in range(splits)]
    for split, (start, stop) in enumerate(split_bounds(samples, splits)):
        low, high = max(start, shard.start), min(stop, shard.stop)
        if low < high:
            rows = probabilities[low - shard.start : high - shard.start]
            merged[split] = merged[split].merge(LabelDistribution.from_probabilities(rows))
    return merged


def _losses(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    names = ["reconstruction_nll", "kl", "clipped_pixels"]
    columns = _read_all(plan.stores.out, row.losses, names)
    nll, kl = columns["reconstruction_nll"], columns["kl"]
    bounds = elbo(nll, kl)
    means = {
        "reconstruction_nll": MeanLoss.from_values(nll),
        "kl": MeanLoss.from_values(kl),
        "elbo": MeanLoss.from_values(bounds),
    }
    likelihood = plan.spec.likelihood or "bernoulli"  # the only one that is ever inferred
    low, high = bounds_of(plan.spec.model_range)
    bin_width = (high - low) / _GREY_LEVELS if likelihood == "gaussian" else None
    pixels = int(np.prod(plan.reference.shape))
    return {
        **{name: loss.mean for name, loss in means.items()},
        **{f"{name}_se": loss.standard_error for name, loss in means.items()},
        "bits_per_dim": float(bits_per_dim(-means["elbo"].mean, pixels, bin_width)),
        "clipped_pixels": float(columns["clipped_pixels"].mean()),
        "likelihood": likelihood,
    }


def _sample_scores(plan: RunPlan, row: PlannedRow) -> dict[str, Any]:
    store = plan.stores.out
    reduction = _reduction(store, row.generated)
    dimension = reduction.moments.dimension
    few = min(plan.spec.samples, plan.reference.count)
    receipt = read_receipt(store, row.generated, row.generated.shards()[0].name)
    scores: dict[str, Any] = {
        "feature_dim": dimension,
        "fid": _fid(plan, row, reduction.moments),
        "device": receipt.device if receipt else None,
    }
    if few < SAMPLES_PER_DIMENSION * dimension:
        scores["fid_warning"] = (
            f"bias-dominated: {few} images for {dimension} feature dimensions (n < 5 d); compare "
            "at equal n only"
        )
    reason = row.extractor.inception_score_reason
    if reason is None and reduction.labels:
        score = inception_score_of_splits(list(reduction.labels))
        return {**scores, "inception_score": score.mean, "inception_score_std": score.std}
    reason = reason or "the extractor gives no class probabilities"
    return {**scores, "inception_score_reason": reason}


def _fid(plan: RunPlan, row: PlannedRow, generated: Moments) -> float:
    """From moments, or from the activations themselves where there are fewer than dimensions."""
    real = _reference_factor(plan.stores.reference, row.reference)
    if generated.count >= generated.dimension:
        return frechet_distance(generated, real)
    activations = _read_all(plan.stores.out, row.generated, ["features"])["features"]
    return frechet_distance(activations, real)


@functools.lru_cache(maxsize=4)
def _reference_factor(store: Store, unit: Unit) -> FrechetReference:
    """The reference's factor, computed once a process and extractor."""
    moments = _reduction(store, unit).moments
    if moments.count >= moments.dimension:
        return FrechetReference.from_moments(moments)
    return FrechetReference.from_activations(_read_all(store, unit, ["features"])["features"])


def _reduction(store: Store, unit: Unit) -> Reduction:
    return decode_reduction(read_verified(store, unit, REDUCTION))


def _read_all(store: Store, unit: Unit, names: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of all shards, joined in shard order."""
    parts = [_read(store, unit, shard.name, names) for shard in unit.shards()]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _read(
    store: Store, unit: Unit, name: str, columns: list[str]
) -> dict[str, npt.NDArray[np.generic]]:
    return decode_columns(read_verified(store, unit, name), columns)
