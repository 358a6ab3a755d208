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
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vae_batch.report.curves import SHARED_LINE, Z95, Curve, Series
from vae_batch.report.drawing import Theme, plain
from vae_batch.report.labels import elide

_DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}
_MARKERS = "osD^vPX"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
_MOST_NAMES = 12
_SHEET_COLUMNS = 3
_TITLE_WIDTH = 26
_ROUND = (1, 2, 2.5, 5, 10)
_STEP_UNITS = ((1e6, "M"), (1e3, "k"))


Look = dict[str, Any]
"""How a line is drawn: colour, marker and dashes, as matplotlib's keywords."""


def line_looks(curves: Sequence[Curve], theme: Theme) -> dict[str, Look]:
    """A look for every line's label, the same in all figures of a report."""
    labels = dict.fromkeys(line.label for curve in curves for line in curve.series)
    looks = {SHARED_LINE: _look(theme.text, "o", "-")}
    for index, label in enumerate(label for label in labels if label != SHARED_LINE):
        colour = theme.series[index % len(theme.series)]
        marker, dashes = _MARKERS[index % len(_MARKERS)], _DASHES[index % len(_DASHES)]
        looks[label] = _look(colour, marker, dashes)
    return looks


def _look(colour: str, marker: str, dashes: object) -> Look:
    return {
        "color": colour,
        "marker": marker,
        "linestyle": dashes,
        "linewidth": 1.4,
        "markersize": 3.6,
    }


def curve_figure(curve: Curve, looks: Mapping[str, Look], theme: Theme) -> Figure:
    """One metric, 4.8 by 3.2 inches. Call within `drawing_style(theme)`."""
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    _draw(figure.add_subplot(), curve, looks, theme)
    _legend(figure, [curve], looks, theme)
    return figure


def curves_figure(curves: Sequence[Curve], looks: Mapping[str, Look], theme: Theme) -> Figure:
    """All metrics as small multiples, three to a row, with one legend. Call as `curve_figure`."""
    rows = max(1, -(-len(curves) // _SHEET_COLUMNS))
    columns = max(1, min(_SHEET_COLUMNS, len(curves)))
    figure = Figure(figsize=(2.6 * max(columns, 2), 2.2 * rows + 0.5), layout="constrained")
    if not curves:
        figure.text(0.5, 0.5, "the score table has no metric", ha="center", color=theme.faint)
        return figure
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, curve in zip(panels, curves, strict=False):
        _draw(panel, curve, looks, theme)
    for panel in panels[len(curves) :]:
        panel.set_axis_off()
    _legend(figure, curves, looks, theme)
    return figure


def _draw(axes: Axes, curve: Curve, looks: Mapping[str, Look], theme: Theme) -> None:
    for line in curve.series:
        _draw_series(axes, line, looks[line.label])
    _mark(axes, curve.failed, "x", theme.warning)
    _mark(axes, sorted({*curve.undefined} - {*curve.failed}), "_", theme.faint)
    if not curve.series:
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=theme.faint)
        axes.set_yticks([])
    axes.set_title("\n".join(wrap(plain(curve.metric.title), _TITLE_WIDTH)))
    direction = _DIRECTIONS[curve.metric.direction]
    axes.set_ylabel("\n".join(plain(part) for part in (curve.metric.unit, direction) if part))
    axes.set_xlabel(curve.axis.title)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
    axes.margins(y=0.12)
    _label_x(axes, curve)


def _draw_series(axes: Axes, series: Series, look: Look) -> None:
    axes.plot(series.x, series.y, **look)
    if np.isfinite(series.standard_error).any():
        half = Z95 * series.standard_error
        axes.fill_between(
            series.x, series.y - half, series.y + half, color=look["color"], alpha=0.2, lw=0
        )


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
    if curve.axis.names is None:
        size, letter = _step_unit(max(places, default=0.0))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=_ROUND))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / size:g}{letter}"))
    else:
        stride = -(-len(places) // _MOST_NAMES) or 1
        names = [plain(elide(name, 16)) for name in curve.axis.names]
        axes.set_xticks(places[::stride], names[::stride], rotation=40, ha="right")
    if places:
        margin = 0.05 * (places[-1] - places[0]) or 0.5
        axes.set_xlim(places[0] - margin, places[-1] + margin)


def _step_unit(largest: float) -> tuple[float, str]:
    """Size and letter of the unit in which steps up to `largest` are written."""
    return next((unit for unit in _STEP_UNITS if largest >= 10 * unit[0]), (1.0, ""))


def _legend(
    figure: Figure, curves: Sequence[Curve], looks: Mapping[str, Look], theme: Theme
) -> None:
    lines = dict.fromkeys(line.label for curve in curves for line in curve.series)
    entries: dict[str, Artist] = {
        plain(elide(label, 60)): Line2D([], [], **looks[label]) for label in lines
    }
    bands = any(np.isfinite(s.standard_error).any() for c in curves for s in c.series)
    notes = {
        "band: ±1.96 standard errors": (bands, "s", theme.faint),
        "failed": (any(c.failed for c in curves), "x", theme.warning),
        "undefined": (any({*c.undefined} - {*c.failed} for c in curves), "_", theme.faint),
    }
    for name, (wanted, marker, colour) in notes.items():
        if wanted:
            entries[name] = _legend_mark(marker, colour)
    if entries:
        columns = 2 if max(map(len, entries)) < 40 else 1
        figure.legend([*entries.values()], [*entries], loc="outside lower left", ncols=columns)


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
