"""A figure before it is drawn: its name, the numbers in it, and how to draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from vae_batch.report.figures.printing import print_files


@dataclass(frozen=True)
class Drawn:
    """A figure's files by suffix, its width and height in print, and what drawing decided.

    Attributes:
        files: Content by suffix.
        inches: Width and height.
        values: What is known once it is drawn, such as how much images were enlarged.
    """

    files: Mapping[str, bytes]
    inches: tuple[float, float]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedFigure:
    """One figure of a report.

    Attributes:
        name: Of its files, without suffix.
        title: What it shows, in one line.
        values: The numbers in it, with units and the columns they come from; fit for JSON.
        draw: Makes its files; called within ``print_style()``.
        checkpoint: The one that it shows, or None where it shows several.
    """

    name: str
    title: str
    values: Mapping[str, Any]
    draw: Callable[[], Drawn]
    checkpoint: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A figure that is not drawn, and why."""

    name: str
    reason: str
    checkpoint: str | None = None


def vector(build: Callable[[], Figure]) -> Callable[[], Drawn]:
    """How a figure of lines and letters is drawn: ``build`` makes it."""

    def draw() -> Drawn:
        figure = build()
        width, height = figure.get_size_inches()
        files = print_files(figure)
        figure.clear()
        return Drawn(files, (round(float(width), 3), round(float(height), 3)), {})

    return draw
