"""Metrics against training steps: one line for each set of comparable rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """One line: x ascending, NaN where a checkpoint failed or the metric is undefined."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    standard_error: NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Everything that one metric's panel shows."""

    metric: Metric
    axis: Axis
    series: tuple[Series, ...]
    failed: tuple[float, ...]
    undefined: tuple[float, ...]


def read_curves(scores: pd.DataFrame) -> list[Curve]:
    """One curve for each headline metric that `scores` has, drawn or empty.

    A diagnostic that is zero everywhere has none.

    Raises:
        ValueError: the table lacks an identifying column or has an unknown status.
    """
    rows = read_rows(scores)
    axis = _axis(rows)
    metrics = [metric for metric in headlines_in(scores) if not is_always_zero(metric, rows)]
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
    lines = _lines(scored, axis)
    drawn = {key: line for key, line in lines.items() if _any(line, metric)}
    null = {
        axis.positions[row.checkpoint]
        for line in (drawn or lines).values()
        for row in line
        if _finite(row, metric) is None
    }
    labels = _line_labels(list(drawn))
    series = {
        key: _series(labels[key], metric, line, sorted(failed), axis) for key, line in drawn.items()
    }
    shown = _merged(series) if not metric.per_extractor else tuple(series.values())
    return Curve(metric, axis, shown, tuple(sorted(failed)), tuple(sorted(null)))


def _finite(row: ScoreRow, metric: Metric) -> float | None:
    value = row.value(metric.column)
    return value if value is not None and math.isfinite(value) else None


def _any(rows: Sequence[ScoreRow], metric: Metric) -> bool:
    return any(_finite(row, metric) is not None for row in rows)


_LineKey = tuple[Conditions, object, str]


def _lines(rows: Sequence[ScoreRow], axis: Axis) -> dict[_LineKey, list[ScoreRow]]:
    """Rows by conditions and likelihood; by training run too where runs share steps."""
    places = [
        (row.conditions, row.fields.get("likelihood"), axis.positions[row.checkpoint])
        for row in rows
    ]
    by_run = len(set(places)) < len(places)
    lines: dict[_LineKey, list[ScoreRow]] = {}
    for row in rows:
        run = row.checkpoint.rpartition("/")[0] if by_run else ""
        lines.setdefault((row.conditions, row.fields.get("likelihood"), run), []).append(row)
    return lines


def _line_labels(keys: Sequence[_LineKey]) -> dict[_LineKey, str]:
    """The extractor and n, then whatever else tells the lines apart."""
    return {key: " · ".join(_label_parts(key, keys)) for key in keys}


def _label_parts(key: _LineKey, keys: Sequence[_LineKey]) -> list[str]:
    conditions, likelihood, run = key
    counts = "" if conditions.n_generated is None else f"n = {conditions.n_generated:,}"
    parts = [run, conditions.extractor or "", counts]
    if len({other[1] for other in keys}) > 1:
        parts.append(str(likelihood))
    twins = [other[0] for other in keys if other[0].extractor == conditions.extractor]
    for name in ("protocol", "n_reference", "seed", "reference_sha256", "weights_sha256"):
        if len({getattr(twin, name) for twin in twins}) > 1:
            parts.append(f"{name.removesuffix('_sha256')} {str(getattr(conditions, name))[:24]}")
    return [part for part in parts if part]


def _series(
    label: str, metric: Metric, rows: Sequence[ScoreRow], failed: Sequence[float], axis: Axis
) -> Series:
    nan = (math.nan, math.nan)
    points = {x: nan for x in failed}
    for row in rows:
        value, error = _finite(row, metric), row.standard_error(metric)
        y = math.nan if value is None else value
        points[axis.positions[row.checkpoint]] = (y, math.nan if error is None else error)
    x = sorted(points)
    y, errors = zip(*(points[place] for place in x), strict=True)
    return Series(label, np.array(x), np.array(y), np.array(errors))


def _merged(series: Mapping[_LineKey, Series]) -> tuple[Series, ...]:
    """One line for each run and likelihood where every extractor's is the same; else all lines."""
    groups: dict[tuple[object, str], list[Series]] = {}
    for (_, likelihood, run), line in series.items():
        groups.setdefault((likelihood, run), []).append(line)
    if not all(_same(a, b) for lines in groups.values() for a, b in pairwise(lines)):
        return tuple(series.values())
    several = len({likelihood for likelihood, _ in groups}) > 1
    return tuple(
        replace(
            lines[0],
            label=" · ".join([SHARED_LINE, *([run] if run else []), *([str(family)] * several)]),
        )
        for (family, run), lines in groups.items()
    )


def _same(a: Series, b: Series) -> bool:
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y, equal_nan=True)
