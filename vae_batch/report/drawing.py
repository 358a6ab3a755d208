"""How figures look, and how they become bytes that are equal whenever the drawing is equal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from vae_batch.report.labels import printable

DPI = 200
_FONT = "DejaVu Sans"  # ships with matplotlib, so that glyphs are the same on every machine


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing; series colours are Okabe and Ito's, told apart by colour-blind eyes."""

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


@contextmanager
def drawing_style(theme: Theme) -> Iterator[None]:
    """Matplotlib's own defaults plus this report's style, whatever the machine's matplotlibrc says.

    The settings of the process come back on leaving; two threads must not draw at once.
    """
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    with matplotlib.rc_context({**defaults, **_settings(theme)}):
        yield


def _settings(theme: Theme) -> dict[str, object]:
    return {
        "font.family": [_FONT],
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "grid.color": theme.grid,
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.faint,
        "text.color": theme.text,
        "axes.labelcolor": theme.text,
        "axes.titlecolor": theme.text,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "svg.hashsalt": "vae_batch",
        "svg.fonttype": "path",
    }


def plain(text: str) -> str:
    """`text` as matplotlib must be given it to draw just that.

    Dollar signs start no formula, a leading underscore hides nothing from a legend, and
    characters that the font lacks become a box.
    """
    shown = "".join(c if ord(c) in _glyphs() else "\N{WHITE SQUARE}" for c in printable(text))
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont(_FONT, fallback_to_default=False)
    return frozenset(font_manager.get_font(path).get_charmap())


def picture(figure: Figure) -> NDArray[np.uint8]:
    """`figure` as RGBA pixels (H, W, 4)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def png(figure: Figure, colours: int | None = None) -> bytes:
    """`figure` as PNG without metadata; with at most `colours` colours where that is given."""
    image = Image.fromarray(picture(figure)).convert("RGB")
    if colours is not None:
        image = image.quantize(colours, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """`figure` as SVG without date or creator; letters are outlines, so no font is needed."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
