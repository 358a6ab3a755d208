"""Plates: labelled grids of images for print, as PNG and PDF.

Letters are drawn by matplotlib; image pixels are then put in one to one, enlarged by a whole
factor, so that nothing resamples, rescales or blends them. A plate has no SVG: it would be the
PNG in a frame.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vae_batch.report.charts.chart import LIGHT, json_numbers
from vae_batch.report.figures.printing import (
    DOUBLE_COLUMN,
    DPI,
    Drawn,
    LeftOut,
    PlannedFigure,
    pdf,
    picture,
    plain,
    print_png,
    width_in_points,
)
from vae_batch.report.gallery import Gallery
from vae_batch.report.gallery_panels import PANEL_KINDS, PanelKind, film_strip, strip_rows
from vae_batch.report.image_grids import COLUMNS, Grid, padded, reduced, wrapped
from vae_batch.report.labels import elide
from vae_batch.storage.score_rows import ScoreRow

_MOST_PIXELS = 1_600_000  # of a plate's images
_STRIP_ROWS = 20  # about as tall as a page
_LARGE, _FEW_COLUMNS = 128, 4  # of samples, where their sides are larger


def checkpoint_panels(gallery: Gallery) -> dict[str, list[list[Panel]]]:
    """The rows of panels of each plate that ``gallery`` has pictures for, by the plate's kind."""
    panels = {"samples": _samples(gallery)} if "samples" in gallery else {}
    return panels | {
        kind.key: _panels(kind, gallery) for kind in PANEL_KINDS if kind.is_in(gallery)
    }


def _samples(gallery: Gallery) -> list[list[Panel]]:
    columns = _FEW_COLUMNS if max(gallery["samples"].shape[-3:-1]) > _LARGE else COLUMNS
    panels = [Panel("generated", wrapped(gallery["samples"], columns))]
    if "reference_samples" in gallery:
        panels.append(Panel("real", wrapped(gallery["reference_samples"], columns)))
    return [panels]


def _panels(kind: PanelKind, gallery: Gallery) -> list[list[Panel]]:
    """The grids below each other; the first one has the heading."""
    measure = kind.measured_by(gallery)
    heading = kind.heading.lower() + (f": {kind.columns}" if kind.columns else "")
    heading += f" ({measure})" if measure else ""
    return [[Panel("" if i else heading, grid)] for i, grid in enumerate(kind.grids(gallery))]


#: Title, arrays, numbers on it, and why it is missing, of each kind of plate.
_PLATES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {
    "samples": ("Generated images beside real ones", ("samples",), (), "none are stored"),
    **{kind.key: (kind.heading, kind.needs, kind.numbers, kind.missing) for kind in PANEL_KINDS},
}


def plate_figures(
    checkpoint: str, slug: str, gallery: Gallery
) -> Iterator[PlannedFigure | LeftOut]:
    """``<kind>-<slug>`` for every kind of plate."""
    panels = checkpoint_panels(gallery)
    for kind, (title, arrays, on_it, missing) in _PLATES.items():
        name = f"{kind}-{slug}"
        if kind not in panels:
            yield LeftOut(name, f"{title.lower()}: {missing}", checkpoint)
            continue
        values = {
            "kind": kind,
            "arrays": [*arrays],
            "levels": "0 is black, 255 is white",
            **{part: _plain(gallery[part]) for part in on_it if part in gallery},
        }
        draw = partial(_draw, panels[kind], checkpoint)
        yield PlannedFigure(name, title, values, draw, checkpoint)


def _plain(array: np.ndarray) -> Any:  # noqa: ANN401
    """An array of numbers or one word as JSON has it."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return json_numbers(array.tolist())
    return array.tolist()


def film_strip_figure(
    rows: Sequence[ScoreRow], galleries: Mapping[str, Gallery], keep: Collection[str]
) -> PlannedFigure | LeftOut:
    """``film-strip``: the same latents through training, ``keep`` among the checkpoints shown."""
    grid = film_strip(rows, galleries, _STRIP_ROWS, keep)
    if grid is None:
        return LeftOut("film-strip", "no checkpoint has samples")
    shown = strip_rows(rows, _STRIP_ROWS, keep)
    values = {
        "kind": "film-strip",
        "levels": "0 is black, 255 is white",
        "arrays": ["samples", "reference_samples"],
        "checkpoints": [*shown],
        "not_drawn": len({row.checkpoint for row in rows}) - len(shown),
    }
    panels = [[Panel("the same latents through training", grid)]]
    sizes = {row.value("latent_dimensions") for row in rows if row.checkpoint in shown} - {None}
    among = " among checkpoints with as many latent dimensions" if len(sizes) > 1 else ""
    draw = partial(_draw, panels, f"columns share a latent{among}")
    return PlannedFigure("film-strip", "The same latents through training", values, draw)


def _draw(rows: Sequence[Sequence[Panel]], caption: str) -> Drawn:
    fitted = _within_budget(rows)
    drawn = plate(fitted, caption)
    pairs = zip(chain(*rows), chain(*fitted), strict=True)
    values = {
        "enlarged": drawn.enlarged,
        "panels": [_panel_values(panel, after) for panel, after in pairs],
    }
    return Drawn(drawn.files, drawn.inches, values)


def _within_budget(rows: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """Panels with few enough pixels for a plate.

    Where rows are only more of a kind, the last are left out; where they mean something, all
    images are reduced by one factor.
    """
    grids = [panel.grid for panel in chain(*rows)]
    if not any(grid.row_labels or grid.column_labels for grid in grids):
        share = _MOST_PIXELS // len(grids)
        return [[Panel(p.heading, _first_rows(p.grid, share)) for p in row] for row in rows]
    spent = sum(grid.present.size * math.prod(grid.tile_shape) for grid in grids)
    factor = 1
    while spent > _MOST_PIXELS * factor**2:
        factor += 1
    return [[Panel(p.heading, reduced(p.grid, factor)) for p in row] for row in rows]


def _first_rows(grid: Grid, budget: int) -> Grid:
    _, columns, height, width, _ = grid.images.shape
    return grid.rows(0, max(2, budget // (columns * height * width)))


def _panel_values(panel: Panel, drawn: Panel) -> dict[str, Any]:
    grid, after = panel.grid, drawn.grid
    height, width = grid.tile_shape
    return {
        "heading": panel.heading,
        "rows": [*after.row_labels],
        "columns": [*after.column_labels],
        "greyed_rows": sorted(after.faint_rows),
        "images": int(after.present.sum()),
        "images_left_out": int(grid.present.sum() - after.present.sum()),
        "image_height": height,
        "image_width": width,
        "channels": grid.images.shape[-1],
        "reduced": -(-max(height, width) // max(after.tile_shape)),
    }


_TILE = 128  # most pixels that a side is enlarged to: 0.43 inches
_GAP = 3  # pixels between images
_FRAME = 200  # level of the line around an image, so that a white one has an edge
_POINTS = 7.0
_SMALL = 6.0  # columns are narrow
_LINE = 1.5  # line height over the size of letters
_MARGIN, _BESIDE, _ABOVE = 4.0, 10.0, 6.0  # points around the plate, and between its panels
_TO_LABEL = 4.0  # points from a row's label to its images
_MOST_CHARACTERS = 34


@dataclass(frozen=True)
class Panel:
    """One grid of a plate under a heading."""

    heading: str
    grid: Grid

    @property
    def label_points(self) -> float:
        """Width that row labels take, in points."""
        labels = [elide(label, _MOST_CHARACTERS) for label in self.grid.row_labels]
        return (
            max((width_in_points(label, _POINTS) for label in labels), default=-_TO_LABEL)
            + _TO_LABEL
        )

    @property
    def top_points(self) -> float:
        """Height that the heading and column labels take, in points."""
        lines = max((label.count("\n") + 1 for label in self.grid.column_labels), default=0)
        heading = _POINTS * _LINE if self.heading else 0.0
        return heading + lines * _SMALL * _LINE + 1.0

    def size(self, enlarged: int) -> tuple[int, int]:
        """Height and width of its images in pixels."""
        rows, columns, height, width, _ = self.grid.images.shape
        return rows * (height * enlarged + _GAP) - _GAP, columns * (width * enlarged + _GAP) - _GAP


@dataclass(frozen=True)
class _Placed:
    """A panel with the top left corner of its images, in pixels of the plate."""

    panel: Panel
    top: int
    left: int


@dataclass(frozen=True)
class PlateFiles:
    """A plate as files.

    Attributes:
        files: Content by suffix.
        enlarged: Pixels of the plate along one pixel of an image.
        inches: Width and height in print.
    """

    files: dict[str, bytes]
    enlarged: int
    inches: tuple[float, float]


def plate(rows: Sequence[Sequence[Panel]], caption: str) -> PlateFiles:
    """Panels in rows over a small caption; the same bytes every time.

    Call within ``print_style()``.

    All panels have one scale. The plate is at most as wide as a page's two columns: where images
    do not fit at 300 dpi, there are more dots to an inch.

    Args:
        rows: Panels beside each other, and rows of them under each other; at least one panel.
        caption: One line that says which checkpoint the pictures come from.
    """
    rows = [[Panel(panel.heading, padded(panel.grid)) for panel in row] for row in rows]
    enlarged, dpi = _scale(rows)
    point = dpi / 72
    placed, width, height = _placed(rows, enlarged, point)
    width = max(width, round((width_in_points(elide(caption, 90), _POINTS) + 2 * _MARGIN) * point))
    height = round(height + (_POINTS * _LINE + _MARGIN) * point)
    # A hundredth of a pixel more, so that rounding never takes one away.
    figure = Figure(figsize=((width + 0.01) / dpi, (height + 0.01) / dpi), dpi=dpi)
    middle = height - (_MARGIN + _POINTS * _LINE / 2) * point
    _text(figure, (_MARGIN * point, middle), elide(caption, 90), colour=LIGHT.faint)
    for place in placed:
        _label(figure, place, enlarged, point)
    canvas = picture(figure)[..., :3]
    for place in placed:
        _paste(figure, canvas, place, enlarged)
    grey = all(place.panel.grid.images.shape[-1] == 1 for place in placed)
    files = {"png": print_png(canvas, dpi, grey=grey), "pdf": pdf(figure)}
    figure.clear()
    return PlateFiles(files, enlarged, (round(width / dpi, 3), round(height / dpi, 3)))


def _scale(rows: Sequence[Sequence[Panel]]) -> tuple[int, float]:
    """How much images are enlarged, and dots to an inch."""
    side = max(max(panel.grid.tile_shape) for panel in chain(*rows))
    beside = max(map(_points_beside, rows))
    room = (DOUBLE_COLUMN - beside / 72) * DPI
    for enlarged in range(max(1, _TILE // side), 0, -1):
        widest = max(sum(panel.size(enlarged)[1] for panel in row) for row in rows)
        if widest <= room:
            return enlarged, DPI
    return 1, float(np.ceil(widest / (DOUBLE_COLUMN - beside / 72)))


def _points_beside(row: Sequence[Panel]) -> float:
    """Points that a row of panels takes beside its images."""
    return sum(panel.label_points for panel in row) + 2 * _MARGIN + _BESIDE * (len(row) - 1)


def _placed(
    rows: Sequence[Sequence[Panel]], enlarged: int, point: float
) -> tuple[list[_Placed], int, float]:
    """Panels with their corners; width and height of all of them with margins but no caption."""
    placed, top, right = [], _MARGIN * point, 0.0
    for row in rows:
        top += max(panel.top_points for panel in row) * point
        left = _MARGIN * point
        for panel in row:
            left += panel.label_points * point
            placed.append(_Placed(panel, round(top), round(left)))
            heading = width_in_points(panel.heading, _POINTS) * point
            left += max(panel.size(enlarged)[1], heading) + _BESIDE * point
        right = max(right, left - _BESIDE * point)
        top += max(panel.size(enlarged)[0] for panel in row) + _ABOVE * point
    return placed, round(right + _MARGIN * point), top


def _label(figure: Figure, place: _Placed, enlarged: int, point: float) -> None:
    """Draw a panel's heading and the labels of its rows and columns."""
    grid, (height, width) = place.panel.grid, place.panel.size(enlarged)
    rows, columns = grid.images.shape[:2]
    heading = place.top - (place.panel.top_points - _POINTS * _LINE / 2) * point
    _text(figure, (place.left, heading), place.panel.heading)
    for row, label in enumerate(grid.row_labels):
        middle = place.top + (row + 0.5) * (height + _GAP) / rows - _GAP / 2
        colour = LIGHT.faint if row in grid.faint_rows else LIGHT.text
        at = (place.left - _TO_LABEL * point, middle)
        _text(figure, at, elide(label, _MOST_CHARACTERS), colour=colour, align="right")
    for column, label in enumerate(grid.column_labels):
        middle = place.left + (column + 0.5) * (width + _GAP) / columns - _GAP / 2
        for line, text in enumerate(reversed(label.split("\n"))):
            at = (middle, place.top - ((line + 0.5) * _SMALL * _LINE + 1.0) * point)
            _text(figure, at, text, align="center", size=_SMALL)


def _text(
    figure: Figure,
    at: tuple[float, float],
    text: str,
    *,
    colour: str = LIGHT.text,
    align: str = "left",
    size: float = _POINTS,
) -> None:
    """Draw ``text`` with its middle line at pixel ``at``, counted from the top left."""
    width, height = figure.bbox.size
    x, y = at[0] / width, 1.0 - at[1] / height
    figure.text(
        x, y, plain(elide(text, 90)), color=colour, ha=align, va="center_baseline", size=size
    )


def _paste(figure: Figure, canvas: NDArray[np.uint8], place: _Placed, enlarged: int) -> None:
    """Put a panel's images over the canvas, and into what else ``figure`` is saved as."""
    grid, (height, width) = place.panel.grid, place.panel.size(enlarged)
    tall, wide = (side * enlarged for side in grid.tile_shape)
    for row, column in np.argwhere(grid.present):
        y, x = place.top + row * (tall + _GAP), place.left + column * (wide + _GAP)
        tile = grid.images[row, column].repeat(enlarged, axis=0).repeat(enlarged, axis=1)
        canvas[y - 1 : y + tall + 1, x - 1 : x + wide + 1] = _FRAME
        canvas[y : y + tall, x : x + wide] = tile
    top, bottom = place.top - 1, place.top + height + 1
    window = canvas[top:bottom, place.left - 1 : place.left + width + 1]
    figure.add_artist(_Pixels(window, place.left - 1, len(canvas) - bottom))


class _Pixels(Artist):
    """Opaque pixels at a place of the figure, for backends that keep pixels as they are."""

    def __init__(self, colours: NDArray[np.uint8], left: int, bottom: int) -> None:
        super().__init__()
        opaque = np.full((*colours.shape[:2], 1), 255, dtype=np.uint8)
        self._pixels = np.concatenate([colours, opaque], axis=-1)
        self._corner = left, bottom

    def draw(self, renderer: RendererBase) -> None:
        """Give the pixels to the backend; its unit is the point, whatever the figure's dpi."""
        # Backends of vectors know what resolution their images are meant for.
        dpi: float = getattr(renderer, "image_dpi", DPI)
        left, bottom = (length / dpi * 72 for length in self._corner)
        context = renderer.new_gc()
        renderer.draw_image(context, left, bottom, self._pixels[::-1])
        context.restore()
