"""Charts as SVG inside the page: sharp at every size, coloured by the page's own theme.

Python places everything; the template `chart.html.j2` writes it down and escapes all words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from vae_batch.report.labels import number, significant

_ROUND = (1, 2, 2.5, 5, 10)
MARKERS = ("circle", "square", "diamond", "triangle")
SERIES = 7
"""Colours of lines; the eighth line has the first one's colour and another marker."""


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` laid out from `start` to `stop`, in pixels of the chart.

    Values of a logarithmic scale are above zero; others lie nowhere, at NaN.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where `value` lies."""
        low, high = self.low, self.high
        if self.logarithmic:
            if not value > 0:
                return math.nan
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, most: int = 5, *, whole: bool = False) -> list[float]:
        """At most about `most` round values between the ends."""
        if self.logarithmic:
            return self._decades(most)
        locator = MaxNLocator(most, steps=_ROUND, integer=whole, min_n_ticks=2)
        slack = 1e-9 * (self.high - self.low)
        values = (float(value) for value in locator.tick_values(self.low, self.high))
        return [v for v in values if self.low - slack <= v <= self.high + slack]

    def _decades(self, most: int) -> list[float]:
        """1, 2 and 5 times powers of ten, or fewer of them where those are many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1, 2, 5), (1, 3), (1,)):
            every = [step * 10.0**power for power in powers for step in steps]
            found = [value for value in every if self.low <= value <= self.high]
            if len(found) <= most + 2:
                break
        return found[:: -(-len(found) // (most + 2)) or 1]

    def labelled(self, most: int = 5, *, whole: bool = False) -> list[tuple[float, str]]:
        """The same with what is written beside them."""
        values = [
            0.0 if abs(v) < 1e-9 * (self.high - self.low) else v
            for v in self.ticks(most, whole=whole)
        ]
        texts = [tick_texts([v])[0] for v in values] if self.logarithmic else tick_texts(values)
        return list(zip(values, texts, strict=True))


def spanning(
    values: ArrayLike, start: float, stop: float, margin: float = 0.06, *, logarithmic: bool = False
) -> Scale:
    """A scale that holds all finite values with a margin; one value lies in its middle."""
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    if logarithmic:
        logs = np.log(finite[finite > 0])
        ends = spanning(logs, start, stop, margin)
        return Scale(math.exp(ends.low), math.exp(ends.high), start, stop, logarithmic=True)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = margin * (high - low) or abs(low) * 0.05 or 0.5
    return Scale(low - room, high + room, start, stop)


@dataclass(frozen=True)
class Mark:
    """A path and the classes that style it."""

    d: str
    css: str


@dataclass(frozen=True)
class Words:
    """A label: the place of its anchor, and degrees that it is turned by."""

    x: float
    y: float
    text: str
    css: str
    turn: int = 0


@dataclass(frozen=True)
class Hit:
    """A place that answers a pointer, a finger or the keyboard with `text`."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass
class Chart:
    """A drawing of `width` by `height` and what it says in words."""

    width: int
    height: int
    alt: str
    marks: list[Mark] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)

    def mark(self, d: str, css: str) -> None:
        """Draw a path, unless it is empty."""
        if d:
            self.marks.append(Mark(d, css))

    def say(self, x: float, y: float, text: str, css: str, turn: int = 0) -> None:
        """Write a label."""
        self.words.append(Words(round(x, 1), round(y, 1), text, css, turn))

    def hit(self, x: float, y: float, width: float, height: float, text: str) -> None:
        """Let a rectangle answer with `text`."""
        self.hits.append(Hit(round(x, 1), round(y, 1), round(width, 1), round(height, 1), text))

    def frame(
        self, x: Scale, y: Scale, *, whole: bool = False, title: str = "", unit: str = ""
    ) -> None:
        """Axes with ticks and horizontal grid lines; `title` below, `unit` above the y axis."""
        bottom, left, right = max(y.start, y.stop), min(x.start, x.stop), max(x.start, x.stop)
        self.values(y, left, right)
        self.places(x, bottom, whole=whole)
        self.base(left, right, bottom, title)
        if unit:
            self.say(left, min(y.start, y.stop) - 7, unit, "tick")

    def values(self, y: Scale, left: float, right: float, most: int = 5) -> None:
        """Grid lines with their values to the left."""
        for value, text in y.labelled(most):
            self.mark(f"M{px(left)} {px(y(value))}H{px(right)}", "gridline")
            self.say(left - 6, y(value) + 4, text, "tick end")

    def places(self, x: Scale, bottom: float, most: int = 5, *, whole: bool = False) -> None:
        """Values along the bottom."""
        for value, text in x.labelled(most, whole=whole):
            self.say(x(value), bottom + 15, text, "tick middle")

    def base(self, left: float, right: float, bottom: float, title: str = "") -> None:
        """The line at the bottom and what lies along it."""
        self.mark(f"M{px(left)} {px(bottom)}H{px(right)}", "axis")
        if title:
            self.say((left + right) / 2, bottom + 31, title, "tick middle")


def px(value: float) -> str:
    """A coordinate in tenths of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def tick_texts(values: Sequence[float]) -> list[str]:
    """Round values beside their axis: in equal decimals; large steps in thousands and millions."""
    largest = max((abs(value) for value in values), default=0.0)
    size, letter = next(((s, c) for s, c in ((1e6, "M"), (1e3, "k")) if largest >= 10 * s), (1, ""))
    exact = [f"{value / size:.6g}" for value in values]
    if any("e" in text for text in exact):
        return [significant(value / size, 3) + letter for value in values]
    places = max((len(text.partition(".")[2]) for text in exact), default=0)
    return [number(value / size, places) + letter * (value != 0) for value in values]


def line_path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """A line through the points, broken where a y is not finite."""
    return "".join(f"M{'L'.join(_points(run))}" for run in _runs(xs, ys) if len(run) > 1)


def band_path(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    """The area between two lines, broken where one of them is not finite."""
    whole = [low + high for low, high in zip(lows, highs, strict=True)]
    shapes = []
    tops = dict(zip(xs, highs, strict=True))
    bottoms = dict(zip(xs, lows, strict=True))
    for run in _runs(xs, whole):
        places = [x for x, _ in run]
        there = [(x, tops[x]) for x in places]
        back = [(x, bottoms[x]) for x in reversed(places)]
        if len(run) > 1:
            shapes.append(f"M{'L'.join(_points([*there, *back]))}Z")
    return "".join(shapes)


def _runs(xs: Sequence[float], ys: Sequence[float]) -> list[list[tuple[float, float]]]:
    points = zip(xs, ys, strict=True)
    runs = groupby(points, key=lambda point: math.isfinite(point[1]))
    return [list(run) for finite, run in runs if finite]


def _points(points: Iterable[tuple[float, float]]) -> list[str]:
    return [f"{px(x)} {px(y)}" for x, y in points]


def marker_path(shape: str, x: float, y: float, size: float) -> str:
    """A closed outline about (x, y) that reaches `size` to each side."""
    s, d = px(size), px(2 * size)
    if shape == "circle":
        return f"M{px(x - size)} {px(y)}a{s} {s} 0 1 0 {d} 0a{s} {s} 0 1 0 -{d} 0Z"
    if shape == "square":
        return f"M{px(x - size)} {px(y - size)}h{d}v{d}h-{d}Z"
    if shape == "diamond":
        return f"M{px(x)} {px(y - size)}l{s} {s}l-{s} {s}l-{s} -{s}Z"
    return f"M{px(x)} {px(y - size)}l{s} {d}h-{d}Z"


def cross_path(x: float, y: float, size: float) -> str:
    """A diagonal cross: a checkpoint that failed."""
    d, left = px(2 * size), px(x - size)
    return f"M{left} {px(y - size)}l{d} {d}M{left} {px(y + size)}l{d} -{d}"


def look(index: int) -> tuple[str, str]:
    """Class of the colour and shape of the marker of the line of this index."""
    return f"s{index % SERIES}", MARKERS[index % len(MARKERS)]
