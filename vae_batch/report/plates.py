"""Plates: labelled grids of images as one picture for print.

Letters are drawn by matplotlib, then image pixels are written over the canvas one to one, so that
nothing resamples, rescales or blends them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image

from vae_batch.report.drawing import DPI, LIGHT, drawing_style, picture, plain
from vae_batch.report.image_grids import Grid, integer_upscale, pixels
from vae_batch.report.labels import elide

_TILE = 96  # target side of an image, in pixels of the plate
_GAP = 4
_MARGIN = 24
_LABEL_POINTS = 7.0
_LINE = round(_LABEL_POINTS * 1.9 * DPI / 72)
_MOST_CHARACTERS = 34


@dataclass(frozen=True)
class Panel:
    """One grid of a plate under a heading."""

    heading: str
    grid: Grid

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """The grid's pixels, enlarged by a whole factor."""
        return pixels(self.grid, integer_upscale(self.grid, _TILE), _GAP)

    @cached_property
    def left(self) -> int:
        """Pixels that row labels take."""
        labels = [elide(label, _MOST_CHARACTERS) for label in self.grid.row_labels]
        return max((_width(label) for label in labels), default=-12) + 12

    @property
    def top(self) -> int:
        """Pixels that the heading and column labels take."""
        return _LINE * (2 if self.grid.column_labels else 1)


def plate(panels: Sequence[Panel], caption: str) -> bytes:
    """`panels` side by side over a small `caption`, as PNG; the same bytes every time.

    Args:
        panels: at least one; grey stays grey, and 0..255 is drawn as 0..255.
        caption: one line that says which checkpoint the pictures come from.
    """
    width = sum(p.left + p.picture.shape[1] for p in panels) + _MARGIN * (len(panels) + 1)
    top = _MARGIN // 2 + max(panel.top for panel in panels)
    height = top + max(panel.picture.shape[0] for panel in panels) + _LINE + _MARGIN
    width = max(width, 2 * _MARGIN + _width(caption))
    with drawing_style(LIGHT):
        figure = Figure(figsize=((width + 0.01) / DPI, (height + 0.01) / DPI))
        _text(figure, _MARGIN, height - _LINE // 2 - 4, caption, colour=LIGHT.faint)
        corners = _label_panels(figure, panels, top)
        canvas = picture(figure)[..., :3]
        figure.clear()
    for panel, left in zip(panels, corners, strict=True):
        _paste(canvas, panel.picture, top, left)
    return _encode(canvas)


def message_plate(message: str) -> bytes:
    """A plate that says why there is nothing to see."""
    with drawing_style(LIGHT):
        figure = Figure(figsize=(4.8, 0.6))
        figure.text(0.5, 0.5, plain(message), ha="center", va="center", color=LIGHT.faint)
        return _encode(picture(figure)[..., :3])


def _label_panels(figure: Figure, panels: Sequence[Panel], top: int) -> list[int]:
    """Draw every panel's labels; the left edges of their images."""
    corners, edge = [], _MARGIN
    for panel in panels:
        corners.append(edge + panel.left)
        _label_panel(figure, panel, top, corners[-1])
        edge = corners[-1] + panel.picture.shape[1] + _MARGIN
    return corners


def _label_panel(figure: Figure, panel: Panel, top: int, left: int) -> None:
    rows, columns = panel.grid.images.shape[:2]
    tall, wide = ((size + _GAP) for size in panel.picture.shape[:2])
    _text(figure, left, top - panel.top + _LINE // 2 - 4, panel.heading, weight="bold")
    for row, label in enumerate(panel.grid.row_labels):
        middle = top + (row + 0.5) * tall / rows - _GAP / 2
        colour = LIGHT.faint if row in panel.grid.faint_rows else LIGHT.text
        _text(figure, left - 12, middle, label, colour=colour, align="right")
    for column, label in enumerate(panel.grid.column_labels):
        middle = left + (column + 0.5) * wide / columns - _GAP / 2
        _text(figure, middle, top - _LINE // 2 - 2, label, align="center")


def _text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    colour: str = LIGHT.text,
    align: str = "left",
    weight: str = "normal",
) -> None:
    """Draw `text` with its middle line at pixel row `y`, counted from the top."""
    width, height = figure.bbox.size
    figure.text(
        x / width,
        1.0 - y / height,
        plain(elide(text, 2 * _MOST_CHARACTERS if align == "left" else _MOST_CHARACTERS)),
        color=colour,
        ha=align,
        va="center_baseline",
        weight=weight,
        size=_LABEL_POINTS,
    )


def _width(text: str) -> int:
    """Width of a label in pixels of the plate."""
    if not text.strip():
        return 0
    outline = TextPath((0, 0), plain(text), size=_LABEL_POINTS, prop=FontProperties("DejaVu Sans"))
    return int(np.ceil(outline.get_extents().width * DPI / 72))


def _paste(canvas: NDArray[np.uint8], images: NDArray[np.uint8], top: int, left: int) -> None:
    height, width = images.shape[:2]
    window = canvas[top : top + height, left : left + width]
    shown = images[..., 3] == 255
    window[shown] = images[shown][:, :3]


def _encode(canvas: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(canvas))
    grey = (canvas[..., 0] == canvas[..., 1]).all() and (canvas[..., 1] == canvas[..., 2]).all()
    buffer = io.BytesIO()
    (image.convert("L") if grey else image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
