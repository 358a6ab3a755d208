"""When tonight is a regression: the newest checkpoint is worse than what there was, beyond doubt.

A regression is declared for a metric of the spec's ``tolerance``, and for the newest checkpoint of
each folder only: training may well pass through worse ones. It is one where that checkpoint is
worse than the best before tonight (of its folder; of all where its folder is new tonight) by more
than the tolerance, and the paired interval leaves no doubt about it: the one-sided 95 % lower end
of the deterioration lies above the tolerance, too. A metric without influences, such as recall,
has no paired interval; there the plain difference decides, and the summary says so.

At a true deterioration of exactly the tolerance one night in twenty raises a false alarm, and
far fewer below it. Nothing is a regression by a metric without a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vae_batch.metrics.catalogue import METRICS
from vae_batch.nightly.comparisons import (
    Comparison,
    Entry,
    extractor_of,
    newest_of,
    once_each,
)
from vae_batch.plan import EvaluationSpec, InputError

Status = Literal["regressed", "tolerated", "not judged"]


@dataclass(frozen=True)
class Judgement:
    """What one tolerance says of the newest checkpoint of a folder.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for losses.
        checkpoint: The newest one.
        tolerance: In the metric's unit.
        status: ``regressed``, ``tolerated`` or ``not judged``.
        why: A sentence, where it was not judged.
        comparison: With the best before; None where there was none to compare with.
    """

    metric: str
    extractor: str | None
    checkpoint: str
    tolerance: float
    status: Status
    why: str | None = None
    comparison: Comparison | None = None


def require_tolerances(spec: EvaluationSpec) -> None:
    """Refuse a tolerance that could never be applied.

    Raises:
        InputError: A metric is not asked for, or its tolerance is not a finite number from 0; names
            those that can be compared.
    """
    known = comparable_metrics(spec)
    for name, value in spec.tolerance.items():
        group = METRICS[name].group
        if group not in spec.metrics:
            raise InputError(
                f"tolerance: {name} is of the group {group}, which metrics leaves out; add it, or "
                f"name one of {known}"
            )
        if not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"tolerance: {name} = {value}: expected how much worse it may be, a finite number "
                f"from 0 in {METRICS[name].unit or 'its own unit'}"
            )


def comparable_metrics(spec: EvaluationSpec) -> str:
    """Metrics that a tolerance may name under a spec."""
    return ", ".join(
        name
        for name, metric in METRICS.items()
        if metric.direction != "neither" and not metric.compared_as and metric.group in spec.metrics
    )


def newest_of_each(entries: Iterable[Entry]) -> list[Entry]:
    """The rows of the newest checkpoint of every folder, one an extractor."""
    folders: dict[str, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.fields["series"], []).append(entry)
    newest = {series: newest_of(rows).checkpoint for series, rows in folders.items()}
    return [
        entry
        for series, rows in folders.items()
        for entry in rows
        if entry.checkpoint == newest[series]
    ]


def judge(
    tolerance: Mapping[str, float],
    newest: Sequence[Entry],
    comparisons: Sequence[Comparison],
    reasons: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[Judgement]:
    """What every tolerance says of the newest checkpoints.

    Args:
        tolerance: Metric to how much worse it may be, in its unit.
        newest: Rows of the newest checkpoints.
        comparisons: Of tonight.
        reasons: Rows of the score table by key, which say why a number is undefined.
    """
    best = {(c.metric, c.extractor, c.checkpoint): c for c in comparisons if c.relation == "best"}
    found = []
    for column, allowed in tolerance.items():
        for entry in once_each(column, newest):
            extractor = extractor_of(column, entry)
            comparison = best.get((column, extractor, entry.checkpoint))
            why = None
            if entry.fields[column] is None:
                row = reasons.get((entry.checkpoint, entry.fields["extractor"]), {})
                why = f"it is undefined: {row.get(f'{column}_reason') or 'no reason is kept'}"
            elif comparison is None:
                why = "nothing was scored before it under the same conditions"
            status = _status(comparison, allowed)
            found.append(
                Judgement(column, extractor, entry.checkpoint, allowed, status, why, comparison)
            )
    return found


def _status(comparison: Comparison | None, allowed: float) -> Status:
    if comparison is None:
        return "not judged"
    lower_end = comparison.worse_by_at_least
    deterioration = comparison.worse_by if lower_end is None else lower_end
    return "regressed" if deterioration > allowed else "tolerated"
