"""Curves as figures: one to a metric, and all of them on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from vae_batch.report.colours import LIGHT
from vae_batch.report.curve_scales import logarithmic_steps, logarithmic_values
from vae_batch.report.curves import Curve, Series
from vae_batch.report.figures.layout import fit_axes
from vae_batch.report.figures.printing import DOUBLE_COLUMN, SINGLE_COLUMN, plain, tick_number
from vae_batch.report.labels import elide

_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}
_MARKERS = "osD^vPX"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
_MOST_LOOKS = 14
_MANY_POINTS = 30
_MOST_NAMES = 12
_FEW_STEPS = 7
_FEW_BESIDE = 3
_TITLE_WIDTH = 26
_WIDE, _NARROW = 44, 29  # characters under a title
_ROUND = (1, 2, 2.5, 5, 10)
_STEP_UNITS = ((1e6, "M"), (1e3, "k"))
_SPREAD = 0.2

BAND = "95 % interval"

Look = dict[str, Any]
"""How a line is drawn: colour, marker and dashes, as matplotlib's keywords."""


def line_looks(curves: Sequence[Curve]) -> dict[str, Look]:
    """A look for every line's label, the same in all figures of a report.

    Colour, marker and dashes change together, so that lines are told apart without colour. From
    the fifteenth on lines are thin and grey.
    """
    labels = dict.fromkeys(line.label for curve in curves for line in curve.series)
    return {label: look_of(index) for index, label in enumerate(labels)}


def look_of(index: int) -> Look:
    """The look of the line of an index, counted from 0."""
    look: Look = {
        "color": LIGHT.series[index % len(LIGHT.series)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "linewidth": 1.4,
        "markersize": 3.6,
    }
    late = {"color": LIGHT.faint, "marker": "", "linewidth": 0.6}
    return look | late if index >= _MOST_LOOKS else look


def curve_figure(
    curve: Curve,
    looks: Mapping[str, Look],
) -> Figure:
    """One metric, as wide as a column. Call within `print_style()`."""
    figure = Figure(figsize=(SINGLE_COLUMN, 2.6))
    axes = figure.add_subplot()
    _draw(axes, curve, looks, _WIDE)
    _legend(figure, [curve], looks)
    fit_axes(figure, [[axes]])
    return figure


def curves_figure(curves: Sequence[Curve], looks: Mapping[str, Look]) -> Figure:
    """All metrics as small multiples with one legend, as wide as two columns."""
    columns = _FEW_BESIDE if len(curves) <= _FEW_BESIDE * 4 else _FEW_BESIDE + 1
    rows = -(-len(curves) // columns)
    width = DOUBLE_COLUMN if len(curves) > 1 else SINGLE_COLUMN
    columns = min(columns, len(curves))
    figure = Figure(figsize=(width, 2.0 * rows + 0.5))
    panels = [figure.add_subplot(rows, columns, 1 + place) for place in range(len(curves))]
    for panel, curve in zip(panels, curves, strict=True):
        _draw(panel, curve, looks, _NARROW)
    _legend(figure, curves, looks)
    fit_axes(figure, [panels[start : start + columns] for start in range(0, len(panels), columns)])
    return figure


def _draw(axes: Axes, curve: Curve, looks: Mapping[str, Look], characters: int) -> None:
    """One panel; the line under its title has at most as many characters."""
    if logarithmic_values(curve):
        axes.set_yscale("log")
        _few_decades(axes)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
    for line in curve.series:
        _draw_series(axes, line, looks[line.label])
    _mark(axes, curve.failed, "x", LIGHT.warning)
    _mark(axes, sorted({*curve.undefined} - {*curve.failed}), "_", LIGHT.faint)
    _title(axes, curve, characters)
    direction = _DIRECTIONS[curve.metric.direction]
    axes.set_ylabel("\n".join(plain(part) for part in (curve.metric.unit, direction) if part))
    axes.set_xlabel(curve.axis.title)
    axes.margins(y=0.12)
    _label_x(axes, curve)


def _few_decades(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, in plain numbers."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
    axes.yaxis.set_major_formatter(tick_number)
    axes.yaxis.set_minor_locator(NullLocator())


def _title(axes: Axes, curve: Curve, width: int) -> None:
    title = "\n".join(wrap(plain(curve.metric.title), _TITLE_WIDTH))
    axes.set_title(title, pad=14 if curve.conditions else None)
    if curve.conditions:
        axes.annotate(
            plain(elide(curve.conditions, width)),
            (0, 1),
            (0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            color=LIGHT.faint,
            size="small",
            in_layout=False,
        )


def _draw_series(axes: Axes, series: Series, look: Look) -> None:
    crowded = {"markersize": 2.0} if len(series.x) > _MANY_POINTS else {}
    axes.plot(series.x, series.y, **{**look, **crowded})
    if np.isfinite(series.corrected).any():
        thin = {**look, "marker": "", "linewidth": 0.7, "linestyle": ":"}
        axes.plot(series.x, series.corrected, **thin)
    _draw_band(axes, series.x, series.low, series.high, look["color"])


def _draw_band(
    axes: Axes,
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    colour: str,
) -> None:
    """The interval as a band, and as a whisker at a point that has no neighbour to band with."""
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return
    if axes.get_yscale() == "log":
        low = np.where(low > 0, low, np.nan)
    axes.fill_between(x, low, high, color=colour, alpha=_SPREAD, lw=0)
    beside = np.append(False, known[:-1]) | np.append(known[1:], False)
    alone = known & ~beside
    if alone.any():
        axes.vlines(x[alone], low[alone], high[alone], color=colour, lw=1.2)


def _mark(axes: Axes, places: Sequence[float], marker: str, colour: str) -> None:
    """Marks on the x axis itself, where no value can be."""
    if not places:  # an empty line has no extent, which the layout cannot place
        return
    axes.plot(
        places,
        [0.0] * len(places),
        transform=axes.get_xaxis_transform(),
        linestyle="none",
        marker=marker,
        color=colour,
        markersize=6,
        markeredgewidth=1.8,
        clip_on=False,
        zorder=5,
    )


def _label_x(axes: Axes, curve: Curve) -> None:
    places = sorted({*curve.axis.positions.values()})
    if logarithmic_steps(curve.axis):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
        axes.xaxis.set_major_formatter(lambda x, _: _short_step(x))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(places[0] / 1.2, places[-1] * 1.2)
        return
    if curve.axis.names is None:
        size, letter = _step_unit(max(places, default=0.0))
        few = len(places) <= _FEW_STEPS and np.diff(places).min(initial=1) >= 0.12 * np.ptp(places)
        rounded = MaxNLocator(5, integer=True, steps=_ROUND)
        axes.xaxis.set_major_locator(FixedLocator(places) if few else rounded)
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: f"{x / size:g}{letter if x else ''}")
        )
    else:
        stride = -(-len(places) // _MOST_NAMES) or 1
        names = [plain(elide(name, 16)) for name in curve.axis.names]
        axes.set_xticks(places[::stride], names[::stride], rotation=40, ha="right")
    if places:
        margin = 0.05 * (places[-1] - places[0]) or 0.5
        axes.set_xlim(places[0] - margin, places[-1] + margin)


def _short_step(step: float) -> str:
    size, letter = _step_unit(step)
    return f"{step / size:.4g}{letter}"


def _step_unit(largest: float) -> tuple[float, str]:
    """Size and letter of the unit in which steps up to `largest` are written."""
    return next((unit for unit in _STEP_UNITS if largest >= 10 * unit[0]), (1.0, ""))


def _legend(
    figure: Figure,
    curves: Sequence[Curve],
    looks: Mapping[str, Look],
) -> None:
    """Names of lines and meanings of marks, under the axes; a lone unnamed line has none."""
    lines = [*dict.fromkeys(line.label for curve in curves for line in curve.series if line.label)]
    named = [label for label in lines if looks[label]["color"] != LIGHT.faint]
    entries: dict[str, Artist] = {
        plain(elide(label, 60)): Line2D([], [], **looks[label]) for label in named
    }
    if len(named) < len(lines):
        others = next(label for label in lines if label not in named)
        entries[f"{len(lines) - len(named)} others"] = Line2D([], [], **looks[others])
    entries |= _notes(curves)
    if entries:
        longest = max(map(len, entries))
        columns = 3 if longest < 15 else 2 if longest < 26 else 1
        figure.legend([*entries.values()], [*entries], loc="lower left", ncols=columns)


def _notes(curves: Sequence[Curve]) -> dict[str, Artist]:
    series = [line for curve in curves for line in curve.series]
    corrected = any(np.isfinite(line.corrected).any() for line in series)
    notes: dict[str, Artist] = {}
    if corrected:
        notes["bias-corrected"] = Line2D([], [], color=LIGHT.faint, lw=0.9, ls=":")
    if any(np.isfinite(line.low).any() for line in series):
        notes[BAND] = _legend_mark("s", LIGHT.faint)
    if any(curve.failed for curve in curves):
        notes["failed"] = _legend_mark("x", LIGHT.warning)
    if any({*curve.undefined} - {*curve.failed} for curve in curves):
        notes["undefined"] = _legend_mark("_", LIGHT.faint)
    return notes


def _legend_mark(marker: str, colour: str) -> Line2D:
    square = marker == "s"
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        color=colour,
        alpha=0.4 if square else 1.0,
        markersize=7 if square else 5.5,
        markeredgewidth=0.0 if square else 1.8,
    )
