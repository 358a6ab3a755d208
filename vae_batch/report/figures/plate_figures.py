"""Plates of images: one checkpoint's samples, reconstructions and latent space, and the film strip.

Levels are drawn as they are stored: 0 is black and 255 is white on every plate.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from vae_batch.report.charts.chart import json_numbers
from vae_batch.report.figures.plates import Panel, plate
from vae_batch.report.figures.printing import Drawn, LeftOut, PlannedFigure
from vae_batch.report.film_strip import film_strip, strip_rows
from vae_batch.report.gallery import Gallery
from vae_batch.report.gallery_panels import PANEL_KINDS, PanelKind
from vae_batch.report.image_grids import COLUMNS, Grid, reduced, wrapped
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
