"""Charts of curves, and the numbers that are written beside their figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.charts.chart import (
    Axis,
    Band,
    Chart,
    Flags,
    Hover,
    Key,
    Layer,
    Line,
    Look,
    Points,
    Whiskers,
    floats,
    json_numbers,
    look_of,
    round_ticks,
    tick_texts,
    value_axis,
)
from vae_batch.report.charts.curves import Z95, Curve, Places, Series, curve_names
from vae_batch.report.labels import decimals_of, elide, number, printable

BAND = "95 % interval"

_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}
_FEW_STEPS = 7
_APART = 0.12  # of an axis: ticks whose texts do not touch
_MOST_NAMES, _NAME = 12, 16
_MANY_POINTS = 25
_LONGEST_KEY = 60


@dataclass(frozen=True)
class CurveChart:
    """The chart of a curve, and the name of its figure's files."""

    curve: Curve
    name: str
    chart: Chart


def curve_charts(curves: Sequence[Curve]) -> list[CurveChart]:
    """Charts of all curves that have a line; a line's label looks the same in all of them."""
    named = zip(curves, curve_names(curves), strict=True)
    drawn = [(curve, name) for curve, name in named if curve.series]
    labels = dict.fromkeys(line.label for curve, _ in drawn for line in curve.series)
    looks = {label: look_of(index) for index, label in enumerate(labels)}
    return [CurveChart(curve, name, _chart(curve, looks)) for curve, name in drawn]


def _chart(curve: Curve, looks: Mapping[str, Look]) -> Chart:
    metric = curve.metric
    y_title = ", ".join(part for part in (metric.unit, _DIRECTIONS[metric.direction]) if part)
    y = value_axis(y_title, curve.drawn_values, logarithmic=curve.has_log_values)
    layers: list[Layer] = []
    for line in curve.series:
        layers += _layers(line, looks[line.label])
    if curve.failed:
        layers.append(Flags(floats(curve.failed), "failed"))
    if curve.undefined:
        layers.append(Flags(floats(curve.undefined), "undefined"))
    said = "; ".join(_goes(line) for line in curve.series)
    failed = f"; {len(curve.failed)} failed" if curve.failed else ""
    return Chart(
        title=metric.title,
        subtitle=curve.conditions,
        x=_step_axis(curve),
        y=y,
        layers=tuple(layers),
        alt=printable(f"{metric.title} against {curve.places.title}: {said}{failed}"),
        keys=tuple(_keys(curve, looks)),
        hovers=tuple(_hovers(curve)),
    )


def _goes(line: Series) -> str:
    values = line.y[np.isfinite(line.y)]
    return f"{line.label} goes from {values[0]:.4g} to {values[-1]:.4g}".strip()


def _step_axis(curve: Curve) -> Axis:
    places, title = curve.places, curve.places.title
    axis = value_axis(title, places.distinct, 0.04, logarithmic=curve.has_log_steps)
    if places.names is not None:
        stride = -(-len(places.names) // _MOST_NAMES)
        names = [printable(elide(name, _NAME)) for name in places.names]
        ticks = tuple((float(place), name) for place, name in enumerate(names))[::stride]
        return Axis(title, axis.low, axis.high, ticks, turned=sum(map(len, names[::stride])) > 40)
    if curve.has_log_steps:
        shown: list[float] = []
        for step in places.distinct:
            if not shown or axis.fraction(step) - axis.fraction(shown[-1]) >= _APART:
                shown.append(step)
        ticks = tuple((step, tick_texts([step])[0]) for step in shown)
        return Axis(title, axis.low, axis.high, ticks, logarithmic=True)
    steps = places.distinct
    apart = np.diff(steps).min(initial=1) >= _APART * (steps[-1] - steps[0])
    if len(steps) <= _FEW_STEPS and apart:
        ticks = tuple(zip(steps, tick_texts(steps), strict=True))
    else:
        ticks = round_ticks(axis.low, axis.high, whole=True)
    return Axis(title, axis.low, axis.high, ticks)


def _layers(line: Series, look: Look) -> Iterator[Layer]:
    known = np.isfinite(line.low) & np.isfinite(line.high)
    if known.any():
        yield Band(line.x, line.low, line.high, look.colour)
    alone = known & ~(np.append(False, known[:-1]) | np.append(known[1:], False))
    if alone.any():
        yield Whiskers(line.x[alone], line.low[alone], line.high[alone], look.colour)
    if np.isfinite(line.corrected).any():
        yield Line(line.x, line.corrected, look, "dotted")
    there = np.isfinite(line.y)
    if 1 < there.sum() < len(there):
        yield Line(line.x[there], line.y[there], look, "faded")
    yield Line(line.x, line.y, look)
    yield Points(line.x[there], line.y[there], look, many=len(line.x) > _MANY_POINTS)


def _keys(curve: Curve, looks: Mapping[str, Look]) -> Iterator[Key]:
    others = sum(look.marker is None for look in looks.values())
    for line in curve.series:
        look = looks[line.label]
        if look.marker is None:
            yield Key(f"{others} others", "line", look)
        elif line.label:
            yield Key(printable(elide(line.label, _LONGEST_KEY)), "line", look)
    if any(np.isfinite(line.corrected).any() for line in curve.series):
        yield Key("bias-corrected", "dotted", Look("faint"))
    if any(np.isfinite(line.low).any() for line in curve.series):
        yield Key(BAND, "band", Look("faint"))
    if curve.failed:
        yield Key("failed", "failed")
    if curve.undefined:
        yield Key("undefined", "undefined")


def _hovers(curve: Curve) -> Iterator[Hover]:
    """A strip around every step, with the values there."""
    places = curve.places.distinct
    middles = [
        math.sqrt(a * b) if curve.has_log_steps else (a + b) / 2 for a, b in pairwise(places)
    ]
    axis = _step_axis(curve)
    edges = [axis.low, *middles, axis.high]
    decimals = decimals_of(v for s in curve.series for v in s.y if np.isfinite(v))
    for place, low, high in zip(places, edges, edges[1:], strict=False):
        text = "\n".join([_place_name(curve.places, place), *_said(curve, place, decimals)])
        yield Hover(low, high, text)


def _place_name(places: Places, place: float) -> str:
    return f"step {place:,.0f}" if places.names is None else printable(places.names[int(place)])


def _said(curve: Curve, place: float, decimals: int) -> list[str]:
    said = []
    for line in curve.series:
        name = line.label if len(curve.series) > 1 else curve.metric.title
        for index in np.flatnonzero((line.x == place) & np.isfinite(line.y)):
            said.append(printable(f"{name}: {_value_said(line, int(index), decimals)}"))
    if place in curve.failed:
        said.append("another checkpoint here failed" if said else "failed")
    return said or ["undefined"]


def _value_said(line: Series, index: int, decimals: int) -> str:
    """A value, its bias-corrected value and the 95 % interval, where there are such."""
    words = [number(line.y[index], decimals)]
    if np.isfinite(line.corrected[index]):
        words.append(f"bias-corrected {number(line.corrected[index], decimals)}")
    if np.isfinite(line.low[index]) and np.isfinite(line.high[index]):
        low, high = number(line.low[index], decimals), number(line.high[index], decimals)
        words.append(f"{BAND} [{low}, {high}]")
    return ", ".join(words)


def curve_values(curve: Curve) -> dict[str, Any]:
    """The numbers of a curve for the JSON file beside its figure."""
    metric = curve.metric
    return {
        "metric": metric.column,
        "definition": metric.definition,
        "direction": metric.direction,
        "conditions": curve.conditions,
        "x": {
            "label": curve.places.title,
            "scale": "log" if curve.has_log_steps else "linear",
            "names": curve.places.names,
        },
        "y": {
            "label": metric.title,
            "unit": metric.unit,
            "scale": "log" if curve.has_log_values else "linear",
        },
        "columns": _columns(curve),
        "series": [_series_values(curve, line) for line in curve.series],
        "failed": [*curve.failed],
        "undefined": [*curve.undefined],
    }


def _columns(curve: Curve) -> dict[str, str]:
    """Which columns of ``scores.parquet`` the numbers come from, and what the band is."""
    name = curve.metric.column
    columns = {"x": "step" if curve.places.names is None else "order of rows", "y": name}
    if any(np.isfinite(line.corrected).any() for line in curve.series):
        better = METRICS[curve.metric.compared_as]
        ends = " to ".join(better.interval or ()) or f"± {Z95} {better.column}_se"
        columns["corrected"] = better.column
        columns["band"] = f"{BAND} of {better.column}: {ends}"
    elif any(np.isfinite(line.low).any() for line in curve.series):
        columns["band"] = f"{BAND} of {name}: ± {Z95} {name}_se"
    return columns


def _series_values(curve: Curve, line: Series) -> dict[str, Any]:
    arrays = {name: getattr(line, name) for name in ("x", "y", "corrected", "low", "high")}
    known = {name: array for name, array in arrays.items() if np.isfinite(array).any()}
    return {
        "label": line.label,
        "run": line.run,
        "extractor": curve.extractor,
        "checkpoints": [*line.checkpoints],
        **{name: json_numbers(array) for name, array in known.items()},
    }
