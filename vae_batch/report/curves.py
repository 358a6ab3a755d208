"""Metrics against training steps: one line for each set of comparable rows."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import without_shared_folder
from vae_batch.report.score_rows import (
    Conditions,
    ScoreRow,
    headlines_in,
    is_always_zero,
    metrics_in,
    read_rows,
)

Z95 = 1.96
"""Standard errors on either side of a 95 % normal interval."""

SHARED_LINE = "test images"
"""What a line is of where its metric does not depend on the extractor."""


@dataclass(frozen=True)
class Axis:
    """Where checkpoints lie along x.

    Attributes:
        title: what x is.
        positions: x of every checkpoint.
        names: tick label of every position where x is the order of rows; None where it is steps.
    """

    title: str
    positions: dict[str, float]
    names: list[str] | None


@dataclass(frozen=True)
class Series:
    """One line: x ascending, NaN where a checkpoint failed or the metric is undefined.

    Attributes:
        label: what it is a line of: `parts`, joined.
        x: positions along the axis.
        y: values.
        standard_error: of `y`; NaN where none is recorded.
        run: the folder of its checkpoints where lines are told apart by it, else "".
        extractor: that its metric depends on; None where it depends on none.
        parts: run, extractor, counts and whatever else tells lines apart.
        checkpoints: label of each point; None where one of its run failed.
        corrected: values freed of their bias; NaN where none is recorded.
        low: lower end of the 95 % interval, of `corrected` where that is recorded, else of `y`.
        high: its upper end.
    """

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    run: str = ""
    extractor: str | None = None
    parts: tuple[str, ...] = ()
    checkpoints: tuple[str | None, ...] = ()
    corrected: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    low: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Curve:
    """Everything that one metric's panel shows.

    `conditions` are those that all its lines share, where their labels do not say them.
    """

    metric: Metric
    axis: Axis
    series: tuple[Series, ...]
    failed: tuple[float, ...]
    undefined: tuple[float, ...]
    conditions: str = ""


def read_curves(scores: pd.DataFrame, also: Collection[str] = ()) -> list[Curve]:
    """One curve for each headline metric that `scores` has, drawn or empty.

    A diagnostic that is zero everywhere has none.

    Args:
        scores: the score table.
        also: columns of further metrics to have curves of.

    Raises:
        ValueError: the table lacks an identifying column or has an unknown status.
    """
    rows = read_rows(scores)
    axis = _axis(rows)
    shown = {metric.column for metric in headlines_in(scores)} | {*also}
    metrics = [m for m in metrics_in(scores) if m.column in shown and not is_always_zero(m, rows)]
    return [_curve(metric, rows, axis) for metric in metrics]


def _axis(rows: Sequence[ScoreRow]) -> Axis:
    """Steps where every checkpoint has one; else the order of rows, so that none is left out."""
    steps = {row.checkpoint: row.step for row in rows}
    if all(step is not None for step in steps.values()):
        return Axis("training step", {k: float(v) for k, v in steps.items() if v is not None}, None)
    positions = {checkpoint: float(i) for i, checkpoint in enumerate(steps)}
    return Axis("checkpoint, in table order", positions, without_shared_folder([*steps]))


def _curve(metric: Metric, rows: Sequence[ScoreRow], axis: Axis) -> Curve:
    scored = [row for row in rows if row.failure is None]
    failed = {axis.positions[row.checkpoint] for row in rows if row.failure is not None}
    runs = runs_of(rows)
    lines = _lines(scored, runs)
    drawn = {key: line for key, line in lines.items() if _any(line, metric)}
    null = {
        axis.positions[row.checkpoint]
        for line in (drawn or lines).values()
        for row in line
        if _finite(row, metric) is None
    }
    failures = _failed_places(rows, runs, axis)
    series = {
        key: _series(_label_parts(key, list(drawn)), metric, line, failures.get(key[2], ()), axis)
        for key, line in drawn.items()
    }
    series = {
        (conditions, likelihood, run): replace(
            line, run=run, extractor=conditions.extractor if metric.per_extractor else None
        )
        for (conditions, likelihood, run), line in series.items()
    }
    shown = _merged(series) if not metric.per_extractor else tuple(series.values())
    return Curve(metric, axis, shown, tuple(sorted(failed)), tuple(sorted(null)))


def _finite(row: ScoreRow, metric: Metric) -> float | None:
    value = row.value(metric.column)
    return value if value is not None and math.isfinite(value) else None


def _any(rows: Sequence[ScoreRow], metric: Metric) -> bool:
    return any(_finite(row, metric) is not None for row in rows)


_LineKey = tuple[Conditions, object, str]


def _lines(rows: Sequence[ScoreRow], runs: Mapping[str, str]) -> dict[_LineKey, list[ScoreRow]]:
    """Rows by conditions, likelihood and training run."""
    lines: dict[_LineKey, list[ScoreRow]] = {}
    for row in rows:
        key = (row.conditions, row.fields.get("likelihood"), runs[row.checkpoint])
        lines.setdefault(key, []).append(row)
    return lines


def runs_of(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """The training run that each checkpoint belongs to: its folder, or "" where all are of one.

    Folders that differ in digits alone, such as `epoch-1/` and `epoch-2/`, are one run's, unless
    checkpoints of theirs share steps.
    """
    folders = {row.checkpoint: row.checkpoint.rpartition("/")[0] for row in rows}
    scored = [row for row in rows if row.failure is None and row.step is not None]
    places = [(row.conditions, row.fields.get("likelihood"), row.step) for row in scored]
    kinds = {re.sub(r"\d+", "#", folder) for folder in folders.values()}
    if len(kinds) == 1 and len(set(places)) == len(places):
        return dict.fromkeys(folders, "")
    return folders


def _failed_places(
    rows: Sequence[ScoreRow], runs: Mapping[str, str], axis: Axis
) -> dict[str, set[float]]:
    """Places of failed checkpoints by their run."""
    places: dict[str, set[float]] = {}
    for row in rows:
        if row.failure is not None:
            places.setdefault(runs[row.checkpoint], set()).add(axis.positions[row.checkpoint])
    return places


def _label_parts(key: _LineKey, keys: Sequence[_LineKey]) -> tuple[str, ...]:
    """The run, the extractor and n, then whatever else tells the lines apart."""
    conditions, likelihood, run = key
    counts = "" if conditions.n_generated is None else f"n = {conditions.n_generated:,}"
    if conditions.left_race_at is not None:
        counts = f"left the race at {conditions.left_race_at:,}"
    parts = [run, conditions.extractor or "", counts]
    if len({other[1] for other in keys}) > 1:
        parts.append(str(likelihood))
    twins = [other[0] for other in keys if other[0].extractor == conditions.extractor]
    for name in ("protocol", "n_reference", "seed", "reference_sha256", "weights_sha256"):
        if len({getattr(twin, name) for twin in twins}) > 1:
            parts.append(f"{name.removesuffix('_sha256')} {str(getattr(conditions, name))[:24]}")
    return tuple(part for part in parts if part)


def _series(
    parts: tuple[str, ...],
    metric: Metric,
    rows: Sequence[ScoreRow],
    failed: Collection[float],
    axis: Axis,
) -> Series:
    points: list[tuple[float, str | None, tuple[float, ...]]] = [
        (axis.positions[row.checkpoint], row.checkpoint, _numbers(row, metric)) for row in rows
    ]
    gaps = {*failed} - {place for place, _, _ in points}
    points += [(place, None, (math.nan,) * 5) for place in gaps]
    points.sort(key=lambda point: point[0])
    y, errors, corrected, low, high = np.array([numbers for _, _, numbers in points]).T
    return Series(
        label=" · ".join(parts),
        x=np.array([place for place, _, _ in points]),
        y=y,
        standard_error=errors,
        parts=parts,
        checkpoints=tuple(checkpoint for _, checkpoint, _ in points),
        corrected=corrected,
        low=low,
        high=high,
    )


def _numbers(row: ScoreRow, metric: Metric) -> tuple[float, ...]:
    """Value, its standard error, the value freed of its bias, ends of the 95 % interval."""
    value, error = _number(_finite(row, metric)), _number(row.standard_error(metric))
    corrected = _number(row.value(f"{metric.column}_corrected"))
    if math.isnan(value) or math.isnan(corrected):
        return value, error, math.nan, value - Z95 * error, value + Z95 * error
    half = Z95 * _number(row.value(f"{metric.column}_corrected_se"))
    low, high = (_number(row.value(f"{metric.column}_{end}")) for end in ("low", "high"))
    if math.isnan(low) or math.isnan(high):
        low, high = corrected - half, corrected + half
    return value, error, corrected, low, high


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _merged(series: Mapping[_LineKey, Series]) -> tuple[Series, ...]:
    """One line for each run and likelihood where every extractor's is the same; else all lines."""
    groups: dict[tuple[object, str], list[Series]] = {}
    for (_, likelihood, run), line in series.items():
        groups.setdefault((likelihood, run), []).append(line)
    if not all(_same(a, b) for lines in groups.values() for a, b in pairwise(lines)):
        return tuple(series.values())
    several = len({likelihood for likelihood, _ in groups}) > 1
    return tuple(
        _named(lines[0], (SHARED_LINE, *([run] if run else []), *([str(family)] * several)))
        for (family, run), lines in groups.items()
    )


def _named(line: Series, parts: tuple[str, ...]) -> Series:
    return replace(line, label=" · ".join(parts), parts=parts)


def _same(a: Series, b: Series) -> bool:
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y, equal_nan=True)
