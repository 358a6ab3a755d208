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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.commands.exit_codes import REGRESSED, SCORED, SOME_FAILED
from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS
from vae_batch.nightly.comparisons import (
    Comparison,
    Entry,
    Subject,
    extractor_of,
    newest_of,
    once_each,
)
from vae_batch.nightly.history import HistoryRow
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.storage import ScoreRow

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

    @property
    def subject(self) -> Subject:
        """What it is of."""
        return self.metric, self.extractor, self.checkpoint


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


def newest_of_each(entries: Sequence[Entry]) -> list[Entry]:
    """The rows of the newest checkpoint of every folder, one per extractor."""
    folders: dict[str, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.night.series, []).append(entry)
    newest = {newest_of(rows).checkpoint for rows in folders.values()}
    return [entry for rows in folders.values() for entry in rows if entry.checkpoint in newest]


def judge(
    tolerance: Mapping[str, float],
    newest: Sequence[Entry],
    comparisons: Sequence[Comparison],
    table: Mapping[tuple[str, str], ScoreRow],
) -> list[Judgement]:
    """What every tolerance says of the newest checkpoints.

    Args:
        tolerance: Metric to how much worse it may be, in its unit.
        newest: Rows of the newest checkpoints.
        comparisons: Of tonight.
        table: The score table by (checkpoint, extractor), which says why a number is undefined.
    """
    best = {c.subject: c for c in comparisons if c.relation == "best"}
    found = []
    for column, allowed in tolerance.items():
        for entry in once_each(column, newest):
            metric, extractor, checkpoint = subject = entry.subject(column)
            comparison, why = best.get(subject), None
            if entry.value(column) is None:
                row = table.get(entry.night.row.key)
                reason = row.score(column).reason if row else None
                why = f"it is undefined: {reason.text if reason else 'no reason is kept'}"
            elif comparison is None:
                why = "nothing was scored before it under the same conditions"
            status = _status(comparison, allowed)
            made = Judgement(metric, extractor, checkpoint, allowed, status, why, comparison)
            found.append(made)
    return found


def _status(comparison: Comparison | None, allowed: float) -> Status:
    if comparison is None:
        return "not judged"
    lower_end = comparison.worse_by_at_least
    deterioration = comparison.worse_by if lower_end is None else lower_end
    return "regressed" if deterioration > allowed else "tolerated"


def judged_by(selection: Selection | None, rows: Sequence[HistoryRow]) -> str:
    """Column of the night's verdicts: that of the selection, or the first that has a value."""
    wanted = [*([selection.metric] if selection else []), *DEFAULT_CHOICE]
    valued = (name for name in wanted if any(row.row.value(name) is not None for row in rows))
    return next(valued, wanted[0])


def exit_code_of(rows: Sequence[HistoryRow], judgements: Sequence[Judgement]) -> int:
    """4 for a regression, else 3 where a checkpoint failed, else 0."""
    if any(judgement.status == "regressed" for judgement in judgements):
        return REGRESSED
    return SCORED if all(row.is_scored for row in rows) else SOME_FAILED


def with_verdicts(
    rows: Sequence[HistoryRow],
    column: str,
    newest: Sequence[Entry],
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
) -> list[HistoryRow]:
    """The night's rows with what was found about each.

    The verdict of a row is ``failed``, ``first`` (nothing comparable before it), ``regressed``,
    or that of its comparison with the best before by ``column``.
    """
    latest = {entry.checkpoint for entry in newest}
    made = {(*found.subject, found.relation): found for found in comparisons}
    judged = []
    for row in rows:
        subject = (column, extractor_of(column, row), row.row.checkpoint)
        best = made.get((*subject, "best")) if row.is_scored else None
        regressions = tuple(
            judgement.metric
            for judgement in judgements
            if judgement.status == "regressed"
            and judgement.subject
            == (judgement.metric, extractor_of(judgement.metric, row), row.row.checkpoint)
        )
        judged.append(
            replace(
                row,
                is_newest=row.row.checkpoint in latest,
                judged_by=column,
                verdict=_verdict(row, best, regressions),
                regressions=regressions,
                best_before=best,
                latest_before=made.get((*subject, "latest")) if row.is_scored else None,
            )
        )
    return judged


def _verdict(row: HistoryRow, best: Comparison | None, regressions: Sequence[str]) -> str:
    if regressions:
        return "regressed"
    if not row.is_scored:
        return "failed"
    return best.verdict if best else "first"
