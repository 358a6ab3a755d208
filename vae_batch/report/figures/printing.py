"""How figures look in print, and how they become bytes that are equal whenever the drawing is.

No bytes hold a date, the machine's settings or its fonts.
"""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from vae_batch.report.charts.chart import LIGHT
from vae_batch.report.labels import printable

DPI = 300
SINGLE_COLUMN, DOUBLE_COLUMN = 3.5, 7.16
"""Inches: 89 and 182 mm, the columns of IEEE's, Nature's and most other journals."""

_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": [-7, 7],  # a power of ten would stand where titles do
    "axes.titley": 1.0,  # matplotlib would measure all labels to find a place
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.bottom": False,  # there is a grid
    "ytick.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": LIGHT.grid,
    "figure.facecolor": LIGHT.background,
    "axes.facecolor": LIGHT.background,
    "axes.edgecolor": LIGHT.faint,
    "text.color": LIGHT.text,
    "axes.labelcolor": LIGHT.text,
    "axes.titlecolor": LIGHT.text,
    "xtick.color": LIGHT.faint,
    "ytick.color": LIGHT.faint,
    "xtick.labelcolor": LIGHT.text,
    "ytick.labelcolor": LIGHT.text,
    "figure.dpi": DPI,
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's usual Type 3
    "svg.hashsalt": "vae_batch",
    "svg.fonttype": "path",
}


@contextmanager
def print_style() -> Iterator[None]:
    """Matplotlib's own defaults plus this report's style, whatever the machine's matplotlibrc says.

    The settings of the process come back on leaving; two threads must not draw at once.
    """
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    settings["font.family"] = [*print_fonts()]
    del settings["backend"]
    with matplotlib.rc_context(settings):
        yield


def plain(text: str) -> str:
    """``text`` as matplotlib must be given it to draw just that.

    Dollar signs start no formula, a leading underscore hides nothing from a legend, and
    characters that the font lacks become a box.
    """
    shown = "".join(c if ord(c) in letters() else "\N{WHITE SQUARE}" for c in printable(text))
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


@cache
def width_in_points(text: str, size: float) -> float:
    """Width of a label in points."""
    shown = plain(text).replace(r"\$", "$")
    font = font_manager.get_font(font_file(shown))
    font.set_size(size, 72)
    font.set_text(shown, 0.0)
    return float(font.get_width_height()[0] / 64)


def picture(figure: Figure) -> NDArray[np.uint8]:
    """``figure`` as RGBA pixels (H, W, 4)."""
    canvas: Any = FigureCanvasAgg(figure)  # whose methods have no types
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def svg(figure: Figure) -> bytes:
    """``figure`` as SVG without date or creator; letters are outlines, so no font is needed."""
    return _printed(figure, FigureCanvasSVG(figure).print_svg, ("Date", "Creator"))


def pdf(figure: Figure) -> bytes:
    """``figure`` as PDF without date, creator or producer; letters are text in an embedded font."""
    nothing = ("CreationDate", "Creator", "Producer")
    return _printed(figure, FigureCanvasPdf(figure).print_pdf, nothing)


def _printed(figure: Figure, method: Callable[..., object], nothing: Iterable[str]) -> bytes:
    """What a canvas writes; ``Figure.savefig`` would lay the figure out a second time before."""
    buffer, dpi = io.BytesIO(), figure.dpi
    try:
        method(buffer, metadata=dict.fromkeys(nothing))
    finally:
        figure.dpi = dpi  # which the canvases of vectors set to 72
    return buffer.getvalue()


def print_files(figure: Figure) -> dict[str, bytes]:
    """``figure`` as PNG, PDF and SVG by suffix. Call within ``print_style()``."""
    return {"png": print_png(picture(figure)), "pdf": pdf(figure), "svg": svg(figure)}


def print_png(pixels: NDArray[np.uint8], dpi: float = DPI, *, grey: bool = False) -> bytes:
    """Opaque pixels (H, W, 3 or 4) as PNG with their resolution; ``grey`` keeps one channel."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels[..., :3]))
    buffer = io.BytesIO()
    # Level 6, the usual one, makes 2 % less in one and a half times the time.
    image.save(buffer, format="PNG", compress_level=4, dpi=(dpi, dpi))
    return buffer.getvalue()


FONT = "DejaVu Sans"
"""Ships with matplotlib, so that glyphs are the same on every machine."""

#: Figures use a copy of DejaVu with the letters that most labels are made of, and DejaVu itself for
#: all others. Every PDF embeds the letters that it uses; picking them out of DejaVu's six thousand,
#: with their layout tables, takes a third of the time of drawing a figure.

_NAME = "DejaVu Sans for print"
_FAMILY_NAMES = (1, 16)
_UNUSED_TABLES = ["GSUB", "GPOS", "GDEF", "MATH", "FFTM"]
#: Of the copy: Latin-1, dashes, quotes, the ellipsis, raised digits, arrows and the minus.
_COPIED = {*range(0x20, 0x100), *range(0x2010, 0x2027), *range(0x2070, 0x207C)}
_COPIED |= {*range(0x2190, 0x2194), 0x2212, 0x25A1}


@cache
def letters() -> frozenset[int]:
    """Code points that figures can draw."""
    return frozenset(font_manager.get_font(_font_file()).get_charmap())


@cache
def print_fonts() -> tuple[str, str]:
    """Font families in order of preference: the copy, then DejaVu itself."""
    font_manager.fontManager.addfont(_copy())
    return _NAME, FONT


def font_file(text: str) -> str:
    """The file of the first font that has every letter of ``text``."""
    return _copy() if all(ord(letter) in _COPIED for letter in text) else _font_file()


@cache
def _copy() -> str:
    """The file of the copy, in a temporary folder that is deleted when the process ends."""
    folder = tempfile.mkdtemp(prefix="vae_batch-font-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = str(Path(folder) / "print.ttf")
    _write_copy(path)
    return path


def _font_file() -> str:
    return font_manager.findfont(FONT, fallback_to_default=False)


def _write_copy(path: str) -> None:
    from fontTools import subset  # comes with matplotlib

    options = subset.Options(
        layout_features=[], legacy_kern=True, name_IDs=["*"], notdef_outline=True
    )
    options.drop_tables += _UNUSED_TABLES
    with subset.load_font(_font_file(), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=_COPIED)
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in _FAMILY_NAMES:
                record.string = _NAME
        subset.save_font(font, path, options)


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
