"""Metrics against training steps as charts of the page, with one legend for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.curve_scales import finite_values, logarithmic_steps, logarithmic_values
from vae_batch.report.curves import SHARED_LINE, Axis, Curve, Series, read_curves
from vae_batch.report.labels import decimals_of, elide, number, printable, without_shared_folder
from vae_batch.report.page.charts import (
    Chart,
    Scale,
    band_path,
    cross_path,
    line_path,
    look,
    marker_path,
    px,
    spanning,
)
from vae_batch.report.score_rows import parent

_WIDTH, _HEIGHT = 400, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 388, 12, 196
_MOST_NAMES = 4
_NAME = 11
_NEUTRAL = "s-text"
_DOT, _SMALL_DOT = 3.6, 1.6
_MANY = 25


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a line's class, its marker's shape, and what it stands for."""

    css: str
    marker: str
    text: str


@dataclass(frozen=True)
class CurveChart:
    """One metric's chart."""

    metric: Metric
    chart: Chart
    logarithmic: bool


@dataclass(frozen=True)
class CurveCharts:
    """All charts, what their lines are, and which other signs they use."""

    charts: tuple[CurveChart, ...]
    keys: tuple[Key, ...]
    signs: tuple[str, ...]


def curve_charts(scores: pd.DataFrame) -> CurveCharts:
    """The curves that have a value to draw; spreads of other metrics have none of their own."""
    curves = [c for c in read_curves(scores) if c.series and c.metric.column == parent(c.metric)]
    lines = _Lines.of([line for curve in curves for line in curve.series])
    charts = tuple(CurveChart(c.metric, _chart(c, lines), logarithmic_values(c)) for c in curves)
    signs = {
        "band": any(np.isfinite(s.low).any() for c in curves for s in c.series),
        "corrected": any(np.isfinite(s.corrected).any() for c in curves for s in c.series),
        "failed": any(curve.failed for curve in curves),
        "undefined": any({*curve.undefined} - {*curve.failed} for curve in curves),
    }
    return CurveCharts(charts, lines.keys(), tuple(name for name, used in signs.items() if used))


@dataclass(frozen=True)
class _Lines:
    """How lines are told apart: by colour for runs, by dashes and markers for what was measured.

    Where checkpoints are of one run, colours too stand for what was measured.
    """

    runs: dict[str, str]
    sources: dict[str, str]

    @classmethod
    def of(cls, series: Sequence[Series]) -> _Lines:
        runs = list(dict.fromkeys(line.run for line in series if line.run))
        shorts = [
            short.rstrip("/") or run.rpartition("/")[2]
            for run, short in zip(runs, without_shared_folder([f"{r}/" for r in runs]), strict=True)
        ]
        parts = {_source(line): _measured(line) for line in series}
        return cls(dict(zip(runs, shorts, strict=True)) if len(runs) > 1 else {}, _named(parts))

    def look(self, line: Series) -> tuple[str, str]:
        """Classes of a line and the shape of its marker."""
        return self._look(line.run, _source(line))

    def _look(self, run: str, source: str) -> tuple[str, str]:
        measured = [name for name in self.sources if name != SHARED_LINE]
        place = measured.index(source) if source in measured else 0
        if self.runs:
            index = list(self.runs).index(run)
            return f"{look(index)[0]} d{place % 4}", look(index + place)[1]
        if source == SHARED_LINE:
            return _NEUTRAL, "circle"
        return f"{look(place)[0]} d{place % 4}", look(place)[1]

    def name(self, line: Series) -> str:
        """What tells a line from the others of its chart."""
        parts = [self.runs.get(line.run, "")]
        if not self.runs or sum(source != SHARED_LINE for source in self.sources) > 1:
            parts.append(self.sources[_source(line)])
        return printable(" · ".join(part for part in parts if part))

    def keys(self) -> tuple[Key, ...]:
        """The legend: runs, then what was measured where that differs."""
        if not self.runs:
            keys = [Key(*self._look("", s), printable(name)) for s, name in self.sources.items()]
            return tuple(keys)
        keys = [Key(*self._look(run, ""), printable(name)) for run, name in self.runs.items()]
        measured = [source for source in self.sources if source != SHARED_LINE]
        if len(measured) > 1:
            looks = (f"{_NEUTRAL} d{place % 4}" for place in range(len(measured)))
            names = (printable(self.sources[source]) for source in measured)
            keys += [Key(css, "", name) for css, name in zip(looks, names, strict=True)]
        return tuple(keys)


def _measured(line: Series) -> tuple[str, ...]:
    """A line's parts without its run: the extractor, n, or that it needs neither."""
    return tuple(part for part in line.parts if part != line.run) or (SHARED_LINE,)


def _source(line: Series) -> str:
    return " · ".join(_measured(line))


def _named(sources: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Sources by name, those without an extractor first; what all others share is not said."""
    others = [set(parts) for parts in sources.values() if SHARED_LINE not in parts]
    shared = set.intersection(*others) if len(others) > 1 else set()
    ordered = sorted(sources.items(), key=lambda entry: SHARED_LINE not in entry[1])
    return {
        source: " · ".join(part for part in parts if part not in shared) or source
        for source, parts in ordered
    }


def _chart(curve: Curve, lines: _Lines) -> Chart:
    places = sorted({*curve.axis.positions.values()})
    x = spanning(places, _LEFT, _RIGHT, 0.04, logarithmic=logarithmic_steps(curve.axis))
    values = finite_values(curve)
    y = spanning(values, _BOTTOM, _TOP, logarithmic=logarithmic_values(curve))
    chart = Chart(_WIDTH, _HEIGHT, _alt(curve, lines))
    chart.values(y, _LEFT, _RIGHT)
    chart.base(_LEFT, _RIGHT, _BOTTOM, curve.axis.title)
    _label_x(chart, curve.axis, x, places)
    for line in curve.series:
        _draw(chart, line, x, y, lines)
    for place in curve.failed:
        chart.mark(cross_path(x(place), _BOTTOM, 4), "failed")
    for place in {*curve.undefined} - {*curve.failed}:
        chart.mark(f"M{px(x(place) - 4)} {_BOTTOM}h8", "undefined")
    _answer(chart, curve, lines, x, places)
    return chart


def _label_x(chart: Chart, axis: Axis, x: Scale, places: Sequence[float]) -> None:
    if axis.names is None:
        chart.places(x, _BOTTOM, whole=True)
        return
    stride = -(-len(places) // _MOST_NAMES)
    for place, name in list(zip(places, axis.names, strict=True))[::stride]:
        chart.say(x(place), _BOTTOM + 15, printable(elide(name, _NAME)), "tick middle")


def _draw(chart: Chart, line: Series, x: Scale, y: Scale, lines: _Lines) -> None:
    css, shape = lines.look(line)
    xs, ys = [x(v) for v in line.x], [y(v) for v in line.y]
    lows, highs = [y(v) for v in line.low], [y(v) for v in line.high]
    chart.mark(band_path(xs, lows, highs), f"band {css}")
    chart.mark(_whiskers(xs, lows, highs), f"whisker {css}")
    chart.mark(line_path(xs, [y(v) for v in line.corrected]), f"corrected {css}")
    known = [(a, b) for a, b in zip(xs, ys, strict=True) if np.isfinite(b)]
    if 1 < len(known) < len(xs):
        chart.mark(line_path(*zip(*known, strict=True)), f"bridge {css}")
    chart.mark(line_path(xs, ys), f"line {css}")
    many = len(xs) > _MANY
    size = _SMALL_DOT if many else _DOT
    dots = (marker_path(shape, a, b, size) for a, b in zip(xs, ys, strict=True) if np.isfinite(b))
    chart.mark("".join(dots), f"dot {css} dense" if many else f"dot {css}")


def _whiskers(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    """Intervals of points that have no neighbour to make a band with."""
    known = [np.isfinite(low) and np.isfinite(high) for low, high in zip(lows, highs, strict=True)]
    beside = [any(known[max(0, i - 1) : i] + known[i + 1 : i + 2]) for i in range(len(known))]
    return "".join(
        f"M{px(x)} {px(low)}V{px(high)}"
        for x, low, high, there, near in zip(xs, lows, highs, known, beside, strict=True)
        if there and not near
    )


def _answer(chart: Chart, curve: Curve, lines: _Lines, x: Scale, places: Sequence[float]) -> None:
    """A strip about every place that names what lies there."""
    edges = [_LEFT, *((x(a) + x(b)) / 2 for a, b in pairwise(places)), _RIGHT]
    decimals = decimals_of(v for s in curve.series for v in s.y if np.isfinite(v))
    for index, place in enumerate(places):
        text = "\n".join([_place(curve.axis, place), *_values(curve, lines, place, decimals)])
        left, right = edges[index], edges[index + 1]
        chart.hit(left, _TOP, right - left, _BOTTOM - _TOP, text)


def _place(axis: Axis, place: float) -> str:
    if axis.names is None:
        return f"step {place:,.0f}"
    return printable(axis.names[int(place)])


def _values(curve: Curve, lines: _Lines, place: float, decimals: int) -> list[str]:
    said = []
    for line in curve.series:
        name = lines.name(line) if len(curve.series) > 1 else curve.metric.title
        for index in np.flatnonzero((line.x == place) & np.isfinite(line.y)):
            said.append(f"{name}: {_value(line, int(index), decimals)}")
    if place in curve.failed:
        said.append("another checkpoint here failed" if said else "failed")
    elif not said:
        said.append("undefined")
    return said


def _value(line: Series, index: int, decimals: int) -> str:
    """A value, the one freed of its bias, and the 95 % interval, where there are such."""
    value, corrected = line.y[index], line.corrected[index]
    words = [number(value, decimals)]
    if np.isfinite(corrected):
        words.append(f"bias-corrected {number(corrected, decimals)}")
    if np.isfinite(line.low[index]) and np.isfinite(line.high[index]):
        low, high = number(line.low[index], decimals), number(line.high[index], decimals)
        words.append(f"95 % [{low}, {high}]")
    return ", ".join(words)


def _alt(curve: Curve, lines: _Lines) -> str:
    said = "; ".join(_goes(line, lines) for line in curve.series)
    failed = f"; {len(curve.failed)} failed" if curve.failed else ""
    return f"{curve.metric.title} against {curve.axis.title}: {said}{failed}"


def _goes(line: Series, lines: _Lines) -> str:
    values = line.y[np.isfinite(line.y)]
    return f"{lines.name(line)} goes from {values[0]:.4g} to {values[-1]:.4g}".strip()
