"""Charts as matplotlib figures: one chart as wide as a column, or several on one sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from vae_batch.report.charts.chart import (
    LIGHT,
    Band,
    Bars,
    Box,
    Chart,
    Colour,
    Flags,
    Key,
    Layer,
    Line,
    Points,
    Ring,
    Whiskers,
    label_boxes,
    legend_of,
)
from vae_batch.report.figures.printing import (
    DOUBLE_COLUMN,
    SINGLE_COLUMN,
    plain,
    width_in_points,
)
from vae_batch.report.labels import elide

_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
_MARKERS = "osD^"
_BESIDE = 3
_CHARACTERS = {SINGLE_COLUMN: 52, DOUBLE_COLUMN: 34}  # of a line under a title
_LABEL_POINTS, _RADIUS, _RING = 6.5, 3.6, 6.5
_LINE_STYLES: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 1.4},
    "thin": {"linewidth": 0.9},
    "dotted": {"linewidth": 0.7, "linestyle": ":"},
    "faded": {"linewidth": 0.7, "alpha": 0.4, "linestyle": "-"},
    "level": {"linewidth": 0.5, "linestyle": "--", "zorder": 1},
}


def chart_figure(chart: Chart, height: float = 2.6) -> Figure:
    """One chart, as wide as a column and ``height`` inches high. Call within ``print_style()``."""
    figure = Figure(figsize=(SINGLE_COLUMN, height), layout="constrained")
    axes = figure.add_subplot()
    draw_chart(axes, chart, _CHARACTERS[SINGLE_COLUMN])
    draw_legend(figure, chart.keys)
    lay_out(figure)
    _draw_labels(axes, chart)
    return figure


def sheet_figure(charts: Sequence[Chart], beside: int | None = None, height: float = 2.0) -> Figure:
    """Charts as small multiples with one legend, as wide as two columns; each ``height`` inches."""
    beside = beside or (_BESIDE if len(charts) <= 4 * _BESIDE else _BESIDE + 1)
    beside = min(beside, len(charts))
    rows = -(-len(charts) // beside)
    width = DOUBLE_COLUMN if beside > 1 else SINGLE_COLUMN
    figure = Figure(figsize=(width, height * rows + 0.5), layout="constrained")
    panels = [figure.add_subplot(rows, beside, 1 + place) for place in range(len(charts))]
    for axes, chart in zip(panels, charts, strict=True):
        draw_chart(axes, chart, _CHARACTERS[width])
    draw_legend(figure, legend_of(charts))
    lay_out(figure)
    return figure


def lay_out(figure: Figure) -> None:
    """Give axes their places once, and not again for every file that is written."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def draw_chart(axes: Axes, chart: Chart, characters: int) -> None:
    """Axes and layers; the line under the title has at most so many characters."""
    for axis, scale, limits in (
        (chart.x, axes.set_xscale, axes.set_xlim),
        (chart.y, axes.set_yscale, axes.set_ylim),
    ):
        scale("log" if axis.logarithmic else "linear")
        limits(axis.low, axis.high)
    for layer in chart.layers:
        _draw(layer, axes)
    axes.set_xlim(chart.x.low, chart.x.high)
    axes.set_ylim(chart.y.low, chart.y.high)
    turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if chart.x.turned else {}
    axes.set_xticks([x for x, _ in chart.x.ticks], [plain(t) for _, t in chart.x.ticks], **turned)
    axes.set_yticks([y for y, _ in chart.y.ticks], [plain(t) for _, t in chart.y.ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(plain(chart.x.title))
    axes.set_ylabel("\n".join(plain(part) for part in chart.y.title.split(", ")))
    draw_title(axes, chart.title, chart.subtitle, characters)


def draw_title(axes: Axes, title: str, subtitle: str, characters: int) -> None:
    """A title, and under it a faint line of at most so many characters."""
    axes.set_title(
        "\n".join(wrap(plain(title), round(0.85 * characters))), pad=14 if subtitle else None
    )
    if subtitle:
        axes.annotate(
            plain(elide(subtitle, characters)),
            (0, 1),
            (0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            color=LIGHT.faint,
            size="small",
            in_layout=False,
        )


@singledispatch
def _draw(layer: Layer, axes: Axes) -> None:
    raise TypeError(f"a layer of the type {type(layer).__name__} cannot be drawn")


@_draw.register
def _(layer: Line, axes: Axes) -> None:
    style = {"linestyle": _DASHES[layer.look.dash], **_LINE_STYLES[layer.style]}
    axes.plot(layer.x, layer.y, color=_colour(layer.look.colour), **style)
    if layer.text:
        _name_level(axes, layer)


def _name_level(axes: Axes, layer: Line) -> None:
    """Name a level line where it leaves the chart: to the right, or else at the top."""
    look: dict[str, Any] = {"textcoords": "offset points", "color": LIGHT.faint, "size": 6}
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    first, last = (layer.x[0], layer.y[0]), (layer.x[-1], layer.y[-1])
    if np.isclose(last[0], right):
        axes.annotate(layer.text, last, (2, 0), va="center", **look)
    elif np.isclose(first[1], top):
        axes.annotate(layer.text, first, (0, 2), ha="center", **look)


@_draw.register
def _(layer: Points, axes: Axes) -> None:
    if layer.look.marker is not None:
        size = 2.0 if layer.many else 3.6
        look: dict[str, Any] = {"color": _colour(layer.look.colour), "markersize": size}
        axes.plot(layer.x, layer.y, _MARKERS[layer.look.marker], **look)


@_draw.register
def _(layer: Band, axes: Axes) -> None:
    low = np.where(layer.low > 0, layer.low, np.nan) if axes.get_yscale() == "log" else layer.low
    axes.fill_between(layer.x, low, layer.high, color=_colour(layer.colour), alpha=0.2, lw=0)


@_draw.register
def _(layer: Whiskers, axes: Axes) -> None:
    axes.vlines(layer.x, layer.low, layer.high, color=_colour(layer.colour), lw=1.2)


@_draw.register
def _(layer: Bars, axes: Axes) -> None:
    bottom = axes.get_ylim()[0]
    corners = [
        [(left, bottom), (left, top), (right, top), (right, bottom)]
        for left, right, top in zip(layer.left, layer.right, layer.top, strict=True)
        if np.isfinite(top)
    ]
    look: dict[str, Any] = {"alpha": 0.15, "zorder": 0} if layer.pale else {}
    axes.add_collection(PolyCollection(corners, facecolor=_colour(layer.colour), lw=0, **look))


@_draw.register
def _(layer: Flags, axes: Axes) -> None:
    axes.plot(
        layer.x,
        np.zeros(len(layer.x)),
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
        **_FLAGS[layer.kind],
    )


@_draw.register
def _(layer: Ring, axes: Axes) -> None:
    axes.plot(layer.x, layer.y, "o", ms=9, mfc="none", mec=LIGHT.text, mew=0.9)


_FLAGS: dict[str, dict[str, Any]] = {
    "failed": {"ls": "", "marker": "x", "color": LIGHT.warning, "ms": 6, "mew": 1.8},
    "undefined": {"ls": "", "marker": "_", "color": LIGHT.faint, "ms": 6, "mew": 1.8},
}


def _draw_labels(axes: Axes, chart: Chart) -> None:
    """Names beside points; call once the layout is final."""
    point = axes.figure.dpi / 72
    places = axes.transData.transform([(label.x, label.y) for label in chart.labels] or [(0, 0)])
    frame = axes.bbox
    # In points and downwards, as every file format places an offset in points alike.
    centres = [(x / point, -y / point) for x, y in places][: len(chart.labels)]
    sizes = [(width_in_points(b.text, _LABEL_POINTS), _LABEL_POINTS) for b in chart.labels]
    room = Box(frame.x0 / point, -frame.y1 / point, frame.width / point, frame.height / point)
    radii = [_RING if label.strong else _RADIUS for label in chart.labels]
    boxes = label_boxes(centres, sizes, radii, room)
    for label, (x, y), box in zip(chart.labels, centres, boxes, strict=True):
        if box is not None and label.text:
            offset = (box.left + box.width / 2 - x, y - box.top - box.height / 2)
            axes.annotate(
                plain(label.text),
                (label.x, label.y),
                offset,
                textcoords="offset points",
                size=_LABEL_POINTS,
                color=LIGHT.text,
                ha="center",
                va="center",
            )


def draw_legend(figure: Figure, keys: Iterable[Key]) -> None:
    """Names of lines and meanings of signs, under the axes."""
    entries = {plain(key.text): _key_artist(key) for key in keys}
    if entries:
        longest = max(map(len, entries))
        columns = 3 if longest < 18 else 2 if longest < 28 else 1
        figure.legend([*entries.values()], [*entries], loc="outside lower left", ncols=columns)


def _key_artist(key: Key) -> Artist:
    colour = _colour(key.look.colour)
    if key.kind in _FLAGS:
        return Line2D([], [], **_FLAGS[key.kind])
    if key.kind in _OPACITY:
        return Patch(facecolor=colour, alpha=_OPACITY[key.kind], lw=0)
    if key.kind == "ring":
        return Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=LIGHT.text)
    style = {"linestyle": _DASHES[key.look.dash], **_LINE_STYLES[key.kind]}
    marker = "" if key.look.marker is None else _MARKERS[key.look.marker]
    return Line2D([], [], color=colour, marker=marker, markersize=3.6, **style)


_OPACITY = {"band": 0.3, "pale": 0.2, "bar": 1.0}


def _colour(colour: Colour) -> str:
    if isinstance(colour, int):
        return LIGHT.series[colour]
    named = {"text": LIGHT.text, "faint": LIGHT.faint, "best": LIGHT.series[2]}
    return named.get(colour, colour)
