"""Charts as SVG inside the page: sharp at every size, coloured by the page's own theme.

Python places everything; a macro of the templates writes it down and escapes all words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from itertools import groupby

import numpy as np

from vae_batch.report.charts.chart import (
    Band,
    Bars,
    Box,
    Chart,
    Colour,
    Flags,
    Key,
    Layer,
    Line,
    Look,
    Points,
    Ring,
    Whiskers,
    label_boxes,
)

_LETTER, _LINE_HEIGHT = 6.6, 13.0  # of labels, in pixels
_BOLD = 1.15
_DOT, _SMALL_DOT, _RING = 3.6, 1.6, 9.0
_TITLE_ROOM = 20  # above axes whose title the page's caption does not say
_REACH = 10.0  # of a point's hover text, to each side

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Size of a drawing and the place of its axes in it, in pixels."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


CURVE = Frame(400, 236, left=50, right=388, top=12, bottom=196)
PLANE = Frame(580, 400, left=52, right=530, top=24, bottom=352)
WIDE = Frame(520, 200, left=52, right=508, top=20, bottom=160)
SMALL = Frame(124, 96, left=6, right=118, top=4, bottom=76)


@dataclass(frozen=True)
class Mark:
    """A path and the classes that style it."""

    d: str
    css: str


@dataclass(frozen=True)
class Words:
    """A text: the place of its anchor, and degrees that it is turned by."""

    x: float
    y: float
    text: str
    css: str
    turn: int = 0


@dataclass(frozen=True)
class Hit:
    """A rectangle that answers a pointer, a finger or the keyboard with ``text``."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass
class Drawing:
    """A chart as the template writes it."""

    chart: Chart
    frame: Frame
    marks: list[Mark] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)

    @property
    def width(self) -> int:
        """In pixels."""
        return self.frame.width

    @property
    def height(self) -> int:
        """In pixels; turned tick labels need more room."""
        return self.frame.height + 50 * self.chart.x.turned

    def x(self, value: float) -> float:
        """Pixel of an abscissa."""
        left, right = self.frame.left, self.frame.right
        return left + self.chart.x.fraction(value) * (right - left)

    def y(self, value: float) -> float:
        """Pixel of an ordinate."""
        top, bottom = self.frame.top, self.frame.bottom
        return bottom - self.chart.y.fraction(value) * (bottom - top)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> list[Point]:
        """Pixels of points."""
        return [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]

    def mark(self, d: str, css: str) -> None:
        """Draw a path, unless it is empty."""
        if d:
            self.marks.append(Mark(d, css))

    def say(self, x: float, y: float, text: str, css: str, turn: int = 0) -> None:
        """Write a text."""
        self.words.append(Words(round(x, 1), round(y, 1), text, css, turn))

    def hit(self, box: Box, text: str) -> None:
        """Let a rectangle answer with ``text``."""
        left, top = round(box.left, 1), round(box.top, 1)
        self.hits.append(Hit(left, top, round(box.width, 1), round(box.height, 1), text))


def draw_chart(chart: Chart, frame: Frame) -> Drawing:
    """``chart`` in ``frame``: axes, layers from back to front, labels, places to hover over."""
    drawing = Drawing(chart, frame)
    _draw_axes(drawing)
    for layer in chart.layers:
        _draw(layer, drawing)
    _draw_labels(drawing)
    for hover in chart.hovers:
        if hover.y is None:
            low, high = drawing.x(hover.low), drawing.x(hover.high)
            box = Box(low, frame.top, high - low, frame.bottom - frame.top)
        else:
            x, y = drawing.x(hover.low), drawing.y(hover.y)
            box = Box(x - _REACH, y - _REACH, 2 * _REACH, 2 * _REACH)
        drawing.hit(box, hover.text)
    return drawing


def _draw_axes(drawing: Drawing) -> None:
    chart, frame = drawing.chart, drawing.frame
    for value, text in chart.y.ticks:
        drawing.mark(f"M{frame.left} {px(drawing.y(value))}H{frame.right}", "gridline")
        drawing.say(frame.left - 6, drawing.y(value) + 4, text, "tick end")
    for value, text in chart.x.ticks:
        if chart.x.turned:
            drawing.say(drawing.x(value) + 4, frame.bottom + 13, text, "tick end", -40)
        else:
            drawing.say(drawing.x(value), frame.bottom + 15, text, "tick middle")
    drawing.mark(f"M{frame.left} {frame.bottom}H{frame.right}", "axis")
    if chart.y.title and frame.top >= _TITLE_ROOM:
        drawing.say(frame.left, frame.top - 9, chart.y.title, "tick")
    if chart.x.title:
        middle = (frame.left + frame.right) / 2
        drawing.say(middle, drawing.height - 9, chart.x.title, "tick middle")


@singledispatch
def _draw(layer: Layer, drawing: Drawing) -> None:
    raise TypeError(f"a layer of the type {type(layer).__name__} cannot be drawn")


@_draw.register
def _(layer: Line, drawing: Drawing) -> None:
    points = drawing.points(layer.x, layer.y)
    css = layer.style if layer.style == "level" else f"{layer.style} {_css(layer.look)}"
    drawing.mark(line_path(points), css)
    if layer.text:
        _say_level(drawing, points[0], points[-1], layer.text)


def _say_level(drawing: Drawing, first: Point, last: Point, text: str) -> None:
    """Name a level line where it leaves the chart: to the right, or else at the top."""
    if last[0] > drawing.frame.right - 1:
        drawing.say(last[0] + 5, last[1] + 4, text, "tick")
    elif first[1] < drawing.frame.top + 1:
        drawing.say(first[0], first[1] - 5, text, "tick middle")


@_draw.register
def _(layer: Points, drawing: Drawing) -> None:
    size = _SMALL_DOT if layer.many else _DOT
    points = drawing.points(layer.x, layer.y)
    if layer.look.marker is not None:
        paths = (marker_path(layer.look.marker, x, y, size) for x, y in points)
        drawing.mark("".join(paths), f"dot {_css(layer.look)}{' dense' if layer.many else ''}")


@_draw.register
def _(layer: Band, drawing: Drawing) -> None:
    lows, highs = drawing.points(layer.x, layer.low), drawing.points(layer.x, layer.high)
    both = [(low, high) for low, high in zip(lows, highs, strict=True)]
    runs = groupby(both, key=lambda ends: math.isfinite(ends[0][1] + ends[1][1]))
    shapes = [list(run) for finite, run in runs if finite]
    drawing.mark(
        "".join(
            f"M{_joined([*(high for _, high in run), *(low for low, _ in reversed(run))])}Z"
            for run in shapes
            if len(run) > 1
        ),
        f"band {_colour(layer.colour)}",
    )


@_draw.register
def _(layer: Whiskers, drawing: Drawing) -> None:
    ends = zip(layer.x, layer.low, layer.high, strict=True)
    paths = (
        f"M{px(drawing.x(x))} {px(drawing.y(low))}V{px(drawing.y(high))}"
        for x, low, high in ends
        if math.isfinite(drawing.y(low) + drawing.y(high))
    )
    drawing.mark("".join(paths), f"whisker {_colour(layer.colour)}")


@_draw.register
def _(layer: Bars, drawing: Drawing) -> None:
    bottom = drawing.frame.bottom
    paths = []
    for left, right, top in zip(layer.left, layer.right, layer.top, strict=True):
        if np.isfinite(top):
            height = min(drawing.y(top), bottom - 0.6)
            paths.append(
                f"M{px(drawing.x(left))} {bottom}V{px(height)}H{px(drawing.x(right))}V{bottom}Z"
            )
    drawing.mark("".join(paths), f"{'pale' if layer.pale else 'bar'} {_colour(layer.colour)}")


@_draw.register
def _(layer: Flags, drawing: Drawing) -> None:
    bottom = drawing.frame.bottom
    sign = cross_path if layer.kind == "failed" else dash_path
    drawing.mark("".join(sign(drawing.x(x), bottom, 4) for x in layer.x), layer.kind)


@_draw.register
def _(layer: Ring, drawing: Drawing) -> None:
    drawing.mark(marker_path(0, drawing.x(layer.x), drawing.y(layer.y), _RING), "ring")


def _draw_labels(drawing: Drawing) -> None:
    labels, frame = drawing.chart.labels, drawing.frame
    points = [(drawing.x(label.x), drawing.y(label.y)) for label in labels]
    sizes = [(_LETTER * len(b.text) * (_BOLD if b.strong else 1), _LINE_HEIGHT) for b in labels]
    room = Box(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top)
    radii = [_RING + 2 if label.strong else _DOT + 3 for label in labels]
    boxes = label_boxes(points, sizes, radii, room)
    for label, box in zip(labels, boxes, strict=True):
        if box is not None and label.text:
            css = "label best" if label.strong else "label"
            drawing.say(box.left, box.top + 10.5, label.text, css)


def _colour(colour: Colour) -> str:
    """Class of a colour; those that the theme does not know are neutral."""
    if isinstance(colour, int):
        return f"s{colour}"
    return f"s-{colour}" if colour in ("text", "faint", "best") else "s-text"


def _css(look: Look) -> str:
    return _colour(look.colour) + (f" d{look.dash}" if look.dash else "")


@dataclass(frozen=True)
class DrawnKey:
    """An entry of a legend: its text, and the paths of its sign in a box of 28 by 12."""

    text: str
    marks: tuple[Mark, ...]


def draw_key(key: Key) -> DrawnKey:
    """An entry of a legend."""
    css, colour = _css(key.look), _colour(key.look.colour)
    signs: dict[str, Callable[[], Sequence[Mark]]] = {
        "line": lambda: [
            Mark("M1 6H27", f"line {css}"),
            *([Mark(marker_path(key.look.marker, 14, 6, _DOT), f"dot {css}")]
              if key.look.marker is not None else []),
        ],
        "dotted": lambda: [Mark("M1 6H27", f"dotted {colour}")],
        "level": lambda: [Mark("M1 6H27", "level")],
        "band": lambda: [Mark("M1 1h26v10h-26Z", f"band {colour}")],
        "pale": lambda: [Mark("M1 1h26v10h-26Z", f"pale {colour}")],
        "bar": lambda: [Mark("M9 1h10v10h-10Z", f"bar {colour}")],
        "ring": lambda: [Mark(marker_path(0, 14, 6, 5), "ring")],
        "failed": lambda: [Mark(cross_path(14, 6, 4), "failed")],
        "undefined": lambda: [Mark(dash_path(14, 6, 4), "undefined")],
    }  # fmt: skip
    return DrawnKey(key.text, tuple(signs[key.kind]()))


def px(value: float) -> str:
    """A coordinate in tenths of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def line_path(points: Iterable[Point]) -> str:
    """A line through the points, interrupted where one is not finite."""
    runs = groupby(points, key=lambda point: math.isfinite(point[1]))
    found = [list(run) for finite, run in runs if finite]
    return "".join(f"M{_joined(run)}" for run in found if len(run) > 1)


def _joined(points: Iterable[Point]) -> str:
    return "L".join(f"{px(x)} {px(y)}" for x, y in points)


def marker_path(shape: int, x: float, y: float, size: float) -> str:
    """A closed outline about (x, y): 0 a circle, 1 a square, 2 a diamond, 3 a triangle."""
    s, d = px(size), px(2 * size)
    if shape == 0:
        return f"M{px(x - size)} {px(y)}a{s} {s} 0 1 0 {d} 0a{s} {s} 0 1 0 -{d} 0Z"
    if shape == 1:
        return f"M{px(x - size)} {px(y - size)}h{d}v{d}h-{d}Z"
    if shape == 2:
        return f"M{px(x)} {px(y - size)}l{s} {s}l-{s} {s}l-{s} -{s}Z"
    return f"M{px(x)} {px(y - size)}l{s} {d}h-{d}Z"


def cross_path(x: float, y: float, size: float) -> str:
    """A diagonal cross."""
    d, left = px(2 * size), px(x - size)
    return f"M{left} {px(y - size)}l{d} {d}M{left} {px(y + size)}l{d} -{d}"


def dash_path(x: float, y: float, size: float) -> str:
    """A short horizontal line."""
    return f"M{px(x - size)} {px(y)}h{px(2 * size)}"
