"""A chart before it is drawn: axes, layers, labels, legend and hover texts, in units of the data.

``page.chart_svg`` draws it on the page and ``figures.chart_figures`` in the figure bundle. Both
draw all of it and decide nothing but sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from vae_batch.report.labels import number, significant


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing; series colours by Okabe and Ito, safe for colour-blind readers."""

    background: str
    text: str
    faint: str
    grid: str
    warning: str
    series: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    text="#1a1a1a",
    faint="#6b6b6b",
    grid="#e4e4e4",
    warning="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00", "#56b4e9", "#000000"),
)
DARK = Theme(
    background="#1b1e23",
    text="#e8e8e8",
    faint="#a0a4aa",
    grid="#343940",
    warning="#ff8a80",
    series=("#56b4e9", "#e69f00", "#2fc79a", "#e5a3c8", "#f0e442", "#8fa8ff", "#ffffff"),
)


Floats = NDArray[np.float64]

Colour = int | Literal["text", "faint", "best"] | str
"""Index of a series colour, a name of the theme, or ``#rrggbb``."""

COLOURS, DASHES, MARKERS = 7, 4, 4
_MOST_LOOKS = 14
_ROUND_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Look:
    """What distinguishes a line from the others of its chart.

    Attributes:
        colour: Of the line and its points.
        dash: Dash pattern, 0 (solid) to 3.
        marker: Shape of its points, 0 (circle) to 3; None for a line without points.
    """

    colour: Colour = 0
    dash: int = 0
    marker: int | None = None


def look_of(index: int) -> Look:
    """The look of line ``index``, counted from 0; those beyond the fourteenth are thin and grey.

    Colour, dashes and marker change together, so that lines are told apart without colour.
    """
    if index >= _MOST_LOOKS:
        return Look("faint")
    return Look(index % COLOURS, index % DASHES, index % MARKERS)


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` with labelled ticks; a logarithmic one is above zero."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...] = ()
    logarithmic: bool = False
    turned: bool = False
    """Whether tick labels are long and have to be turned."""

    def fraction(self, value: float) -> float:
        """Relative position of ``value``: 0 at the low end, 1 at the high end, or NaN."""
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        if not value > 0:
            return math.nan
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class Line:
    """A line through points; NaN interrupts it.

    Attributes:
        x: Abscissas.
        y: Ordinates.
        look: Its colour, dashes and marker.
        style: "line"; "thin" and "dotted" for what belongs to another line; "faded" across a gap;
            "level" for a line of constant value.
        text: Written at its last point, where the line leaves the chart.
    """

    x: Floats
    y: Floats
    look: Look
    style: Literal["line", "thin", "dotted", "faded", "level"] = "line"
    text: str = ""


@dataclass(frozen=True)
class Points:
    """Markers; ``many`` makes them small."""

    x: Floats
    y: Floats
    look: Look
    many: bool = False


@dataclass(frozen=True)
class Band:
    """The area between two lines; NaN interrupts it."""

    x: Floats
    low: Floats
    high: Floats
    colour: Colour


@dataclass(frozen=True)
class Whiskers:
    """Vertical intervals of points that have no neighbour to make a band with."""

    x: Floats
    low: Floats
    high: Floats
    colour: Colour


@dataclass(frozen=True)
class Bars:
    """Bars from the bottom of the chart to ``top``; ``pale`` ones lie behind all else."""

    left: Floats
    right: Floats
    top: Floats
    colour: Colour
    pale: bool = False


@dataclass(frozen=True)
class Flags:
    """Marks on the x axis, where no value can be: checkpoints that failed or have no value."""

    x: Floats
    kind: Literal["failed", "undefined"]


@dataclass(frozen=True)
class Ring:
    """A ring about the best point."""

    x: float
    y: float


Layer = Line | Points | Band | Whiskers | Bars | Flags | Ring


@dataclass(frozen=True)
class Label:
    """A name beside a point, where there is room, the first ones first; "" keeps others off it."""

    x: float
    y: float
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Hover:
    """A text for the strip of the chart from ``low`` to ``high``, or for the point (low, y)."""

    low: float
    high: float
    text: str
    y: float | None = None


@dataclass(frozen=True)
class Key:
    """An entry of the legend."""

    text: str
    kind: Literal["line", "dotted", "level", "band", "bar", "pale", "ring", "failed", "undefined"]
    look: Look = Look()


@dataclass(frozen=True)
class Chart:
    """All that a chart shows, the layers from back to front.

    Attributes:
        title: What it shows.
        subtitle: The conditions that everything in it shares, or "".
        x: Horizontal axis.
        y: Vertical axis.
        layers: What is drawn.
        alt: What it shows, for those who do not see it.
        keys: The legend.
        labels: Names beside points, most important first.
        hovers: Texts for the pointer, in reading order.
    """

    title: str
    subtitle: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    alt: str
    keys: tuple[Key, ...] = ()
    labels: tuple[Label, ...] = ()
    hovers: tuple[Hover, ...] = ()


def legend_of(charts: Iterable[Chart]) -> tuple[Key, ...]:
    """The entries of several charts' legends, each once, lines first."""
    keys = dict.fromkeys(key for chart in charts for key in chart.keys)
    return tuple(sorted(keys, key=lambda key: key.kind != "line"))


def floats(values: ArrayLike) -> Floats:
    """``values`` as a float64 array."""
    return np.asarray(values, dtype=np.float64)


def json_numbers(values: Iterable[float | None]) -> list[float | None]:
    """Numbers as JSON has them: whatever is not finite is null."""
    return [float(v) if v is not None and math.isfinite(v) else None for v in values]


def value_axis(
    title: str, values: ArrayLike, margin: float = 0.06, *, logarithmic: bool = False
) -> Axis:
    """An axis that holds all finite values with a margin; a lone value is in its middle."""
    finite = floats(values)
    finite = finite[np.isfinite(finite)]
    if logarithmic:
        low, high = _ends(np.log(finite[finite > 0]), margin)
        low, high = math.exp(low), math.exp(high)
        return Axis(title, low, high, log_ticks(low, high), logarithmic=True)
    low, high = _ends(finite, margin)
    return Axis(title, low, high, round_ticks(low, high))


def _ends(finite: Floats, margin: float) -> tuple[float, float]:
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = margin * (high - low) or abs(low) * 0.05 or 0.5
    return low - room, high + room


def round_ticks(
    low: float, high: float, most: int = 5, *, whole: bool = False
) -> tuple[tuple[float, str], ...]:
    """About ``most`` round values from ``low`` to ``high``, with what is written beside them."""
    locator = MaxNLocator(most, steps=_ROUND_STEPS, integer=whole, min_n_ticks=2)
    slack = 1e-9 * (high - low)
    found = (float(value) for value in locator.tick_values(low, high))
    values = [0.0 if abs(v) < slack else v for v in found if low - slack <= v <= high + slack]
    return tuple(zip(values, tick_texts(values), strict=True))


def log_ticks(low: float, high: float, most: int = 7) -> tuple[tuple[float, str], ...]:
    """1, 2 and 5 times powers of ten, or fewer of them where those are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        every = [step * 10.0**power for power in powers for step in steps]
        found = [value for value in every if low <= value <= high]
        if len(found) <= most:
            break
    stride = -(-len(found) // most) or 1
    return tuple((value, tick_texts([value])[0]) for value in found[::stride])


def tick_texts(values: Sequence[float]) -> list[str]:
    """Round values in equal decimals; large ones in thousands (k) or millions (M)."""
    largest = max((abs(value) for value in values), default=0.0)
    size, letter = next(((s, c) for s, c in ((1e6, "M"), (1e3, "k")) if largest >= 10 * s), (1, ""))
    exact = [f"{value / size:.6g}" for value in values]
    if any("e" in text for text in exact):
        return [significant(value / size, 3) + letter for value in values]
    places = max((len(text.partition(".")[2]) for text in exact), default=0)
    return [number(value / size, places) + letter * (value != 0) for value in values]


@dataclass(frozen=True)
class Box:
    """A rectangle of a drawing."""

    left: float
    top: float
    width: float
    height: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def is_free(self, occupied: Floats) -> bool:
        """Whether it overlaps none of (n, 4) corners."""
        left, top, right, bottom = self.corners
        across = (left < occupied[:, 2]) & (occupied[:, 0] < right)
        return not (across & (top < occupied[:, 3]) & (occupied[:, 1] < bottom)).any()

    def lies_in(self, other: Box) -> bool:
        """Whether it is inside ``other``."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.left + self.width <= other.left + other.width
            and self.top + self.height <= other.top + other.height
        )


#: Where a label's corner or side touches its point, best place first.
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_REACHES = (1.0, 2.2)


def label_boxes(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    radii: Sequence[float],
    frame: Box,
) -> list[Box | None]:
    """A place beside each point for its label, over no other label or point.

    Args:
        points: In units of the drawing, y downwards; the most important first.
        sizes: Width and height of each label.
        radii: Of the points' markers.
        frame: Where labels may lie.

    Returns:
        Boxes; None for labels that find no room.
    """
    around = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
    occupied = np.array(around).reshape(-1, 4)
    placed: list[Box | None] = []
    for (x, y), (width, height), radius in zip(points, sizes, radii, strict=True):
        candidates = (
            Box(
                x + across * (width / 2 + reach * radius) - width / 2,
                y + down * (height / 2 + reach * radius) - height / 2,
                width,
                height,
            )
            for reach in _REACHES
            for across, down in _SIDES
        )
        box = next((b for b in candidates if b.lies_in(frame) and b.is_free(occupied)), None)
        placed.append(box)
        if box is not None:
            occupied = np.vstack([occupied, box.corners])
    return placed
