"""Scores of a race: by the samples so far, with the influence of each sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from threadpoolctl import threadpool_limits

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.samples.frechet import FrechetReference
from vae_batch.metrics.samples.frechet_uncertainty import CorrectedFrechetDistance
from vae_batch.metrics.samples.kernel import KernelReference, kernel_influence
from vae_batch.plan import Unit
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.scoring.losses import importance_per_image, losses_per_image
from vae_batch.run.scoring.plug_ins import RowArrays, plug_in_score
from vae_batch.run.scoring.row import held_conditions, parts_of
from vae_batch.run.scoring.samples import Rows, declared_reference, reference_features
from vae_batch.run.scoring.stored import Damaged, RowParts
from vae_batch.storage import DamagedFileError, Store


@dataclass(frozen=True)
class Raced:
    """A score over the samples so far.

    Attributes:
        score: With the influence of each sample; None where the metric is undefined.
        is_biased: Whether bias dominates it at so few samples, or cannot be estimated, so that
            nobody may be dropped by it.
        conditions: What two rows must share before the metric compares them, as in comparisons.
    """

    score: PairedScore | None
    is_biased: bool = False
    conditions: Mapping[str, object] = field(default_factory=dict)


def race_score(plan: RunPlan, row: PlannedRow) -> Raced | Damaged:
    """The score of a row by the race's metric.

    Args:
        plan: Of the run, with ``race`` in its spec.
        row: With the units that the metric needs.

    Returns:
        The score, or the file that is damaged.

    Raises:
        OSError: A file could not be read.
        ValueError: The files give no number.
    """
    if plan.spec.race is None:
        raise ValueError("the spec has no race")
    metric = METRICS[plan.spec.race.metric]
    score = _SCORES.get(metric.column) or functools.partial(_plug_in_score, metric=metric)
    try:
        with threadpool_limits(1):
            parts = parts_of(plan, row)
            held = held_conditions(plan, row, parts, metric.conditions)
            return replace(score(parts), conditions=held)
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)


def _frechet_score(parts: RowParts) -> Raced:
    """The bias-corrected distance of the first samples."""
    features = parts.columns("generated", ["features"])["features"]
    reference = parts.units["reference"]
    if not features.shape[1]:
        return Raced(None)
    return raced_frechet(
        features, declared_reference(parts.stores.reference, reference, parts.spec.reference_is)
    )


def raced_frechet(features: Rows, real: FrechetReference) -> Raced:
    """The bias-corrected distance of (n, d) activations."""
    corrected = CorrectedFrechetDistance.from_activations(features, real)
    return Raced(corrected.score, is_biased=corrected.doubt is not None)


def _kernel_score(parts: RowParts) -> Raced:
    features = parts.columns("generated", ["features"])["features"]
    if not features.shape[1]:
        return Raced(None)
    real = _kernel_reference(parts.stores.reference, parts.units["reference"])
    return raced_kernel(features, real)


def raced_kernel(features: Rows, real: KernelReference) -> Raced:
    """The kernel distance of (n, d) activations."""
    found = kernel_influence(features, real)
    return Raced(found.score)


@functools.lru_cache(maxsize=1)
def _kernel_reference(store: Store, unit: Unit) -> KernelReference:
    """The reference's own sums, computed once per process; races need no subsets."""
    return KernelReference.from_activations(reference_features(store, unit))


def _loss_score(parts: RowParts, column: str) -> Raced:
    per_image = importance_per_image if column == "iwae" else losses_per_image
    values = per_image(parts, parts.description()).get(column)
    return Raced(None if values is None else PairedScore.from_values(values))


def _plug_in_score(parts: RowParts, metric: Metric) -> Raced:
    try:
        found = plug_in_score(metric, RowArrays(parts, parts.description()))
    except ValueError:  # undefined for these arrays
        return Raced(None)
    return Raced(found if isinstance(found, PairedScore) else None)


_SCORES: dict[str, Callable[[RowParts], Raced]] = {
    "fid_corrected": _frechet_score,
    "kid": _kernel_score,
    "elbo": functools.partial(_loss_score, column="elbo"),
    "iwae": functools.partial(_loss_score, column="iwae"),
}
