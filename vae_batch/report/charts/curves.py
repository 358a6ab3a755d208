"""Metrics against training steps: a chart for each metric and extractor, with a line for each run.

Values under two extractors share no scale, so that they never share a chart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.metrics.catalogue import METRICS, Metric, corrected_from
from vae_batch.report.charts.chart import Floats, floats
from vae_batch.report.comparable_rows import (
    Measured,
    finite_value,
    is_always_zero,
    measured_under,
    metrics_in,
    protocol_of,
    what_differs,
)
from vae_batch.report.labels import slugs, without_shared_folder
from vae_batch.storage.score_rows import ScoreRow

Z95 = 1.96
"""Standard errors on either side of a 95 % normal interval."""

_WIDE_STEPS, _EARLY = 16.0, 0.25
_WIDE_VALUES, _TOO_WIDE = math.log10(20.0), 12.0  # decades


@dataclass(frozen=True)
class Places:
    """Where checkpoints lie along x.

    Attributes:
        title: What x is.
        positions: Place of every checkpoint by its label.
        names: Names of places 0, 1, 2, ... where x is the order of rows; None where it is steps.
    """

    title: str
    positions: Mapping[str, float]
    names: tuple[str, ...] | None

    @property
    def distinct(self) -> list[float]:
        """All places in order."""
        return sorted({*self.positions.values()})


@dataclass(frozen=True)
class Series:
    """One line: x ascending, NaN where a checkpoint failed or the metric is undefined.

    Attributes:
        label: What distinguishes it from the other lines of its chart.
        run: Folder of its checkpoints, or "" where all checkpoints are of one run.
        checkpoints: Label of each point; None where one of its run failed.
        x: Places.
        y: Values.
        corrected: Bias-corrected values; NaN where none is recorded.
        low: Lower end of the 95 % interval, of ``corrected`` where that is recorded, else of ``y``.
        high: Its upper end.
    """

    label: str
    run: str
    checkpoints: tuple[str | None, ...]
    x: Floats
    y: Floats
    corrected: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Curve:
    """One metric under one extractor, drawn or, without ``series``, empty.

    Attributes:
        metric: Of the catalogue.
        extractor: That it depends on; None where it depends on none.
        conditions: What all lines share, in words.
        places: Where checkpoints lie along x.
        series: The lines.
        failed: Places of checkpoints that failed.
        undefined: Places of checkpoints that were scored without a value of this metric.
    """

    metric: Metric
    extractor: str | None
    conditions: str
    places: Places
    series: tuple[Series, ...]
    failed: tuple[float, ...]
    undefined: tuple[float, ...]

    @property
    def drawn_values(self) -> Floats:
        """Every finite number that is drawn: values, corrected ones and ends of intervals."""
        arrays = [a for s in self.series for a in (s.y, s.corrected, s.low, s.high)]
        drawn = np.concatenate([np.empty(0), *arrays])
        return floats(drawn[np.isfinite(drawn)])

    @property
    def has_log_steps(self) -> bool:
        """Whether steps are spaced like powers: 1, 2, 4, 8 and on, all above zero."""
        steps = self.places.distinct
        if self.places.names is not None or len(steps) < 4 or steps[0] <= 0:
            return False
        is_early = bool(np.median(steps) <= _EARLY * steps[-1])
        return steps[-1] >= _WIDE_STEPS * steps[0] and is_early

    @property
    def has_log_values(self) -> bool:
        """Whether a metric that is better lower, above zero throughout, spans a factor of 20.

        Its best values, which matter most, would lie on one another.
        """
        values = self.drawn_values
        if self.metric.direction != "lower" or not len(values) or values.min() <= 0:
            return False
        decades = math.log10(values.max()) - math.log10(values.min())
        return _WIDE_VALUES <= decades <= _TOO_WIDE


def read_curves(rows: Sequence[ScoreRow]) -> list[Curve]:
    """Curves of every headline metric and of every metric that checkpoints are compared by.

    Diagnostics that are zero everywhere have none, nor have spreads of other metrics, nor what
    other tools would print.
    """
    rows = [row for row in rows if row.conditions.tool is None]
    places = _places(rows)
    return [
        curve
        for metric in metrics_in(rows)
        if _has_curve(metric) and not is_always_zero(metric, rows)
        for curve in _curves(metric, rows, places)
    ]


def curve_names(curves: Sequence[Curve]) -> list[str]:
    """Names of the curves' files: ``curves-<metric>``, with ``-<extractor>`` where it needs one."""
    extractors = slugs(curve.extractor for curve in curves if curve.extractor)
    return [
        "-".join(
            ["curves", each.metric.column, *filter(None, [extractors.get(each.extractor or "")])]
        )
        for each in curves
    ]


def _has_curve(metric: Metric) -> bool:
    """Corrected values and spreads stand on the charts of their metrics, if anywhere."""
    if metric.spread_of or corrected_from(metric.column):
        return False
    return metric.headline or metric.compared is not None


def _places(rows: Sequence[ScoreRow]) -> Places:
    """Steps where every checkpoint has one; else the order of rows, so that none is left out."""
    steps = {row.checkpoint: row.step for row in rows}
    known = {checkpoint: float(step) for checkpoint, step in steps.items() if step is not None}
    if len(known) == len(steps):
        return Places("training step", known, None)
    positions = {checkpoint: float(place) for place, checkpoint in enumerate(steps)}
    names = tuple(without_shared_folder([*steps]))
    return Places("checkpoint, in table order", positions, names)


def _curves(metric: Metric, rows: Sequence[ScoreRow], places: Places) -> Iterator[Curve]:
    runs = runs_of(rows)
    lines: dict[_LineKey, list[ScoreRow]] = {}
    gaps: dict[str, set[float]] = {}
    for row in rows:
        run, has_value = runs[row.checkpoint], finite_value(row, metric.column) is not None
        if row.status == "scored" or has_value:
            # A number of perfect images belongs to the checkpoint, and breaks no line.
            held = measured_under(row, metric)._replace(perfect_reconstructions=None)
            key = _LineKey(held, row.conditions.family, run)
            lines.setdefault(key, []).append(row)
        else:
            gaps.setdefault(run, set()).add(places.positions[row.checkpoint])
    failed = set().union(*gaps.values())
    drawn = {
        key: line
        for key, line in lines.items()
        if any(finite_value(row, metric.column) is not None for row in line)
    }
    for extractor in dict.fromkeys(key.measured.extractor for key in drawn or lines):
        own = {k: v for k, v in (drawn or lines).items() if k.measured.extractor == extractor}
        shared, labels = _labels(metric, [*own])
        undefined = {
            places.positions[row.checkpoint]
            for line in own.values()
            for row in line
            if finite_value(row, metric.column) is None
        }
        series = [
            _series(label, key.run, metric, line, gaps.get(key.run, ()), places)
            for (key, line), label in zip(own.items(), labels, strict=True)
            if drawn
        ]
        yield Curve(
            metric,
            extractor,
            shared,
            places,
            tuple(series),
            tuple(sorted(failed)),
            tuple(sorted(undefined - failed)),
        )
    if not lines:
        yield Curve(metric, None, "", places, (), tuple(sorted(failed)), ())


@dataclass(frozen=True)
class _LineKey:
    """What the rows of one line share."""

    measured: Measured
    family: str
    run: str


def runs_of(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """The training run that each checkpoint belongs to: its folder, or "" where all are of one.

    Folders that differ in digits alone, such as ``epoch-1/`` and ``epoch-2/``, belong to one run,
    unless their checkpoints share steps.
    """
    folders = {row.checkpoint: row.checkpoint.rpartition("/")[0] for row in rows}
    scored = [row for row in rows if row.status == "scored" and row.step is not None]
    places = [(protocol_of(row), row.conditions.family, row.step) for row in scored]
    kinds = {re.sub(r"\d+", "#", folder) for folder in folders.values()}
    if len(kinds) == 1 and len(set(places)) == len(places):
        return dict.fromkeys(folders, "")
    return folders


def _labels(metric: Metric, keys: Sequence[_LineKey]) -> tuple[str, list[str]]:
    """What all lines share, and for each line how it differs from the others, in words.

    A line keeps its run's name even where it is the only one of its chart, so that a run looks
    the same in all charts.
    """
    parts = [_parts(metric, key, keys) for key in keys]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    runs = without_shared_folder([key.run for key in keys])
    own = [
        [*([run] if key.run else []), *(part for part in other if part not in shared)]
        for key, run, other in zip(keys, runs, parts, strict=True)
    ]
    return " · ".join(shared), [" · ".join(words) for words in own]


def _parts(metric: Metric, key: _LineKey, keys: Sequence[_LineKey]) -> list[str]:
    """The extractor and how many images, then whatever else differs."""
    held, count = key.measured, ""
    if metric.per_extractor and held.n_generated is not None:
        count = f"n = {held.n_generated:,}"
    elif {"encoder", "posterior"} & {*metric.needs} and held.n_reference is not None:
        count = f"{held.n_reference:,} test images"
    if held.left_race_at is not None:
        count = f"dropped from the race at {held.left_race_at:,}"
    parts = [held.extractor or "", count]
    if len({other.family for other in keys}) > 1:
        parts.append(key.family)
    parts += what_differs(held, [other.measured for other in keys])
    return [part for part in parts if part]


def _series(
    label: str,
    run: str,
    metric: Metric,
    rows: Sequence[ScoreRow],
    gaps: Collection[float],
    places: Places,
) -> Series:
    # Rows of several extractors repeat what does not depend on one.
    points: dict[tuple[float, str | None, tuple[float, ...]], None] = {}
    for row in rows:
        points[(places.positions[row.checkpoint], row.checkpoint, _numbers(row, metric))] = None
    for place in {*gaps} - {place for place, _, _ in points}:
        points[(place, None, (math.nan,) * 4)] = None
    ordered = sorted(points, key=lambda point: point[0])
    y, corrected, low, high = np.array([numbers for _, _, numbers in ordered]).T
    return Series(
        label=label,
        run=run,
        checkpoints=tuple(checkpoint for _, checkpoint, _ in ordered),
        x=floats([place for place, _, _ in ordered]),
        y=y,
        corrected=corrected,
        low=low,
        high=high,
    )


def own_interval(row: ScoreRow, metric: Metric) -> tuple[float, float]:
    """The ends of a score's own 95 % interval; NaN where there is none.

    They are the published ones where the metric has such columns, else 1.96 standard errors; what
    cannot be below a value is not said to be.
    """
    ends = [_number(row.value(end)) for end in metric.interval or ()]
    if ends and not math.isnan(sum(ends)):
        return ends[0], ends[1]
    score = row.score(metric.column)
    value, half = _number(score.value), Z95 * _number(score.standard_error)
    least = -math.inf if metric.least is None else metric.least
    return value - half, max(value + half, least)


def _numbers(row: ScoreRow, metric: Metric) -> tuple[float, ...]:
    """Value, bias-corrected value, and the ends of the 95 % interval."""
    value, better = _number(row.value(metric.column)), METRICS.get(metric.compared_as)
    corrected = _number(row.value(better.column)) if better else math.nan
    if better is None or math.isnan(value) or math.isnan(corrected):
        return value, math.nan, *own_interval(row, metric)
    return value, corrected, *own_interval(row, better)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan
