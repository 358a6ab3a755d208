"""Score rows as plain typed values, and which of them may be compared.

A score means nothing without its conditions: two rows are compared only where every one of
`Conditions` agrees, and likelihood-based metrics only within one family of likelihoods as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from vae_batch.metrics.catalogue import METRICS, Metric

_REQUIRED = ("checkpoint", "status")
_WHOLE = ("step", "n_generated", "n_reference", "seed", "left_race_at")
_NO_REASON = "no reason was recorded"


class Conditions(NamedTuple):
    """Everything that two rows must share before one may be called better than the other."""

    extractor: str | None
    weights_sha256: str | None
    protocol: str | None
    n_generated: int | None
    n_reference: int | None
    reference_sha256: str | None
    seed: int | None
    left_race_at: int | None


@dataclass(frozen=True)
class ScoreRow:
    """One checkpoint under one extractor.

    Attributes:
        index: position of the row in the table that was given.
        checkpoint: the checkpoint's label, as given.
        step: training step, or None.
        failure: why the checkpoint failed, or None where it was scored.
        conditions: what its scores depend on beside the checkpoint.
        fields: every column of the row; nulls of any kind are None.
    """

    index: int
    checkpoint: str
    step: int | None
    failure: str | None
    conditions: Conditions
    fields: Mapping[str, object]

    def value(self, column: str) -> float | None:
        """The number in `column`, or None where it is null."""
        value = self.fields.get(column)
        return float(value) if isinstance(value, int | float) else None

    def text(self, column: str) -> str | None:
        """The words in `column`, or None where it is null or empty."""
        value = self.fields.get(column)
        return str(value) if value is not None and str(value) else None

    def standard_error(self, metric: Metric) -> float | None:
        """The standard error recorded for `metric`, in the metric's own unit."""
        return self.value(f"{metric.column}_se")

    def why_null(self, metric: Metric) -> str:
        """The reason recorded for a null `metric`: its own, its parent's, or else the row's."""
        names = (f"{metric.column}_reason", f"{parent(metric)}_reason", "reason")
        return next((reason for name in names if (reason := self.text(name))), _NO_REASON)


def parent(metric: Metric) -> str:
    """The column that `metric` describes the spread of, or its own."""
    return metric.column.removesuffix("_std")


def metrics_in(scores: pd.DataFrame) -> list[Metric]:
    """The catalogue's metrics that `scores` has a column for, in the catalogue's order."""
    return [metric for metric in METRICS.values() if metric.column in scores.columns]


def headlines_in(scores: pd.DataFrame) -> list[Metric]:
    """Of those, the ones that stand in narrow tables and have a curve."""
    return [metric for metric in metrics_in(scores) if metric.headline]


def details_in(scores: pd.DataFrame) -> list[Metric]:
    """The others, where some row has a value."""
    return [
        metric
        for metric in metrics_in(scores)
        if not metric.headline and scores[metric.column].notna().any()
    ]


def is_always_zero(metric: Metric, rows: Sequence[ScoreRow]) -> bool:
    """Whether a diagnostic, such as clipped pixels, found nothing in any scored row."""
    values = [row.value(metric.column) for row in rows if row.failure is None]
    return bool(values) and all(value == 0 for value in values)


def read_rows(scores: pd.DataFrame) -> list[ScoreRow]:
    """The rows of `scores`, in order.

    Raises:
        ValueError: a column that identifies rows is missing, or a status is unknown.
    """
    missing = [name for name in _REQUIRED if name not in scores.columns]
    if missing:
        raise ValueError(
            f"score table: expected columns {list(_REQUIRED)}, found none named {missing}; "
            "pass the table that a scoring run wrote"
        )
    records = scores.to_dict(orient="records")
    return [_row(index, record) for index, record in enumerate(records)]


def _row(index: int, record: Mapping[object, object]) -> ScoreRow:
    fields = {str(name): _plain(value) for name, value in record.items()}
    status = fields["status"]
    if status not in ("scored", "failed"):
        raise ValueError(
            f"score table: row {index} ({fields['checkpoint']!r}) has status {status!r}, "
            "expected 'scored' or 'failed'"
        )
    for name in _WHOLE:
        fields[name] = _whole(fields.get(name))
    return ScoreRow(
        index=index,
        checkpoint=str(fields["checkpoint"]),
        step=_whole(fields["step"]),
        failure=str(fields.get("reason") or _NO_REASON) if status == "failed" else None,
        conditions=Conditions(*(fields.get(name) for name in Conditions._fields)),
        fields=fields,
    )


def _plain(value: object) -> object:
    """A Python scalar for a cell; None for every kind of null."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _whole(value: object) -> int | None:
    """A whole number that pandas may have widened to float beside a null."""
    return int(value) if isinstance(value, int | float) else None


def comparable(rows: Sequence[ScoreRow]) -> dict[Conditions, list[ScoreRow]]:
    """Scored rows by their conditions, in order of first appearance."""
    groups: dict[Conditions, list[ScoreRow]] = {}
    for row in rows:
        if row.failure is None:
            groups.setdefault(row.conditions, []).append(row)
    return groups


def best_marks(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> set[tuple[int, str]]:
    """(row index, column) of every best point estimate, ties included; none that left a race.

    A metric whose direction is "neither" has no best, nor has a value that stands alone, nor has
    one that more than half of the compared rows share.
    """
    marks: set[tuple[int, str]] = set()
    for metric in metrics:
        if metric.direction != "neither":
            marks |= {(row.index, metric.column) for row in _winners(rows, metric)}
    return marks


def _winners(rows: Sequence[ScoreRow], metric: Metric) -> list[ScoreRow]:
    contests: dict[object, list[tuple[float, ScoreRow]]] = {}
    for row in rows:
        value = row.value(metric.column)
        is_out = row.failure is not None or row.conditions.left_race_at is not None
        if not is_out and value is not None and math.isfinite(value):
            contests.setdefault(_contest(row, metric), []).append((value, row))
    choose = min if metric.direction == "lower" else max
    winners = []
    for entries in contests.values():
        best = choose(value for value, _ in entries)
        won = [row for value, row in entries if value == best]
        if 2 * _checkpoints(won) <= _checkpoints(row for _, row in entries):
            winners += won
    return winners


def _checkpoints(rows: Iterable[ScoreRow]) -> int:
    return len({row.checkpoint for row in rows})


def family(row: ScoreRow) -> str:
    """The likelihood and its sigma: losses under different ones are not comparable.

    A sigma that is optimal for each checkpoint is one setting, not many.
    """
    likelihood = row.text("likelihood") or "likelihood unknown"
    sigma = row.value("sigma")
    if sigma is None:
        return likelihood
    is_declared = row.text("sigma_source") in (None, "declared")
    return f"{likelihood}, sigma {f'{sigma:g}' if is_declared else row.text('sigma_source')}"


def what_differs(own: Conditions, others: Iterable[Conditions]) -> list[str]:
    """``name value`` of each condition that differs among ``others`` of the same extractor."""
    twins = [other for other in others if other.extractor == own.extractor]
    names = ("protocol", "n_reference", "seed", "reference_sha256", "weights_sha256")
    return [
        f"{name.removesuffix('_sha256').replace('_', ' ')} {str(getattr(own, name))[:24]}"
        for name in names
        if len({getattr(twin, name) for twin in twins}) > 1
    ]


def measured_under(row: ScoreRow, metric: Metric) -> Conditions:
    """The conditions that `metric` depends on: those of the extractor only where it needs one."""
    if metric.per_extractor:
        return row.conditions
    return row.conditions._replace(extractor=None, weights_sha256=None, protocol=None)


def _contest(row: ScoreRow, metric: Metric) -> tuple[object, ...]:
    return (measured_under(row, metric), family(row) if metric.within_likelihood else None)
