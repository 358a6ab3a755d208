"""Which panels of images a gallery makes: on the page, and as plates of the figure bundle."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.report.charts.curves import runs_of
from vae_batch.report.gallery import Gallery, same_frame
from vae_batch.report.image_grids import (
    Grid,
    duplicate_grids,
    interpolation_grid,
    nearest_grids,
    reconstruction_grid,
    traversal_grid,
    worst_grids,
)
from vae_batch.report.labels import printable, without_shared_folder
from vae_batch.storage.score_rows import ScoreRow


@dataclass(frozen=True)
class PanelKind:
    """One kind of panel beside the samples.

    Attributes:
        key: Names it in the page and in names of files.
        heading: What it shows, in a few words.
        caption: How to read it.
        needs: Entries of a gallery without which there is no such panel.
        grids: Its grids, made of a gallery.
        columns: What the labels of its columns are, or "".
        band: Rows that belong together.
        measure: Entry that names what distances are between, or "".
        numbers: Entries of a gallery that its labels are made of.
        missing: Why it is missing, where it is.
    """

    key: str
    heading: str
    caption: str
    needs: tuple[str, ...]
    grids: Callable[[Gallery], Sequence[Grid]]
    columns: str = ""
    band: int = 1
    measure: str = ""
    numbers: tuple[str, ...] = ()
    missing: str = "none are stored"

    def is_in(self, gallery: Gallery) -> bool:
        """Whether ``gallery`` has all that the panel needs."""
        return all(name in gallery for name in self.needs)

    def measured_by(self, gallery: Gallery) -> str:
        """What distances are between, or ""."""
        return printable(gallery[self.measure]) if self.measure in gallery else ""


#: In reading order.
PANEL_KINDS = (
    PanelKind(
        "reconstructions",
        "Reconstructions",
        "Test images, their reconstructions, and the absolute difference (0 is black).",
        ("originals", "reconstructions"),
        lambda gallery: [reconstruction_grid(gallery)],
        band=3,
    ),
    PanelKind(
        "worst-reconstructions",
        "Worst reconstructions",
        "Of all test images, worst first, with their index and mean squared error.",
        ("worst_originals", "worst_reconstructions", "worst_ids", "worst_errors"),
        worst_grids,
        columns="index, mean squared error",
        band=3,
        numbers=("worst_ids", "worst_errors"),
    ),
    PanelKind(
        "nearest-training",
        "Nearest training images",
        "Samples above the training image nearest to each, with its index and distance.",
        ("nearest_generated", "nearest_training", "nearest_ids", "nearest_distances"),
        nearest_grids,
        columns="index, distance",
        band=2,
        measure="nearest_extractor",
        numbers=("nearest_ids", "nearest_distances", "nearest_extractor"),
        missing="no training images were given",
    ),
    PanelKind(
        "duplicates",
        "Most similar samples",
        "Pairs of different samples that are nearest to each other, with their indices and "
        "distance.",
        ("duplicate_first", "duplicate_second", "duplicate_ids", "duplicate_distances"),
        duplicate_grids,
        columns="indices, distance",
        band=2,
        measure="duplicate_measure",
        numbers=("duplicate_ids", "duplicate_distances", "duplicate_measure"),
    ),
    PanelKind(
        "interpolation",
        "Interpolation",
        "Between two latents of the prior, at the prior's own scale all the way.",
        ("interpolation",),
        lambda gallery: [interpolation_grid(gallery)],
    ),
    PanelKind(
        "traversal",
        "Traversal",
        "One latent dimension is varied per row, by decreasing KL; collapsed ones are grey.",
        ("traversal",),
        lambda gallery: [traversal_grid(gallery)],
        numbers=("traversal_dimensions", "traversal_kl", "traversal_collapsed", "traversal_values"),
    ),
)


_COLUMNS = 10
MOST_ROWS = 50
"""Checkpoints of a film strip, if it is not told otherwise."""


def film_strip(
    rows: Sequence[ScoreRow],
    galleries: Mapping[str, Gallery],
    most_rows: int = MOST_ROWS,
    keep: Collection[str] = (),
) -> Grid | None:
    """A row of samples for each checkpoint, by step; the same latents in each column.

    A checkpoint without samples keeps an empty, greyed row, so that a gap in training is seen.

    Args:
        rows: Of the score table.
        galleries: Pictures by checkpoint label.
        most_rows: Of more checkpoints, evenly spaced ones are shown, with the first and the last.
        keep: Checkpoints that are shown in any case.

    Returns:
        The grid, or None where no checkpoint that is shown has samples.
    """
    names = strip_rows(rows, most_rows, keep)
    shown = {checkpoint: galleries[checkpoint] for checkpoint in names if checkpoint in galleries}
    samples = {c: gallery["samples"] for c, gallery in shown.items() if "samples" in gallery}
    if not samples:
        return None
    real = [g["reference_samples"] for g in shown.values() if "reference_samples" in g][:1]
    stacks = same_frame([stack[:_COLUMNS] for stack in [*samples.values(), *real]])
    drawn = dict(zip(samples, stacks, strict=False))
    labels = [
        f"{name} {_why(c, rows)}".strip() if c not in drawn else name for c, name in names.items()
    ]
    cells = [drawn.get(c) for c in names] + ([stacks[-1]] if real else [])
    absent = frozenset(i for i, cell in enumerate(cells) if cell is None)
    return stacked(cells, (*labels, *(["real"] if real else [])), absent)


def strip_rows(
    rows: Sequence[ScoreRow], most_rows: int = MOST_ROWS, keep: Collection[str] = ()
) -> dict[str, str]:
    """Checkpoints of a film strip of ``most_rows`` rows, in its order, with their names."""
    names = _row_names(rows)
    if len(names) <= most_rows:
        return names
    must = [place for place, checkpoint in enumerate(names) if checkpoint in keep][:most_rows]
    even = np.linspace(0, len(names) - 1, most_rows - len(must)).round().astype(int)
    entries = list(names.items())
    return dict(entries[place] for place in sorted({*must, *even.tolist()}))


def _row_names(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """Names of the checkpoints' rows, by run and step: the steps alone where there is one run."""
    steps = {row.checkpoint: row.step for row in rows}
    runs = runs_of(rows)
    places = {run: place for place, run in enumerate(dict.fromkeys(runs.values()))}
    order = sorted(steps, key=lambda c: (places[runs[c]], _place(steps[c])))
    if len(places) == 1 and len({*steps.values()} - {None}) == len(steps):
        return {c: f"step {steps[c]:,}" for c in order}
    return dict(zip(order, without_shared_folder(order), strict=True))


def _place(step: int | None) -> float:
    return math.inf if step is None else step


def _why(checkpoint: str, rows: Sequence[ScoreRow]) -> str:
    failed = any(row.status == "failed" for row in rows if row.checkpoint == checkpoint)
    return "(failed)" if failed else "(no pictures)"


def stacked(
    cells: Sequence[np.ndarray | None], labels: tuple[str, ...], absent: frozenset[int]
) -> Grid:
    """Stacks of images of one shape as rows with labels; ``absent`` ones are empty and greyed."""
    shapes = {cell.shape[1:] for cell in cells if cell is not None}
    columns = max(len(cell) for cell in cells if cell is not None)
    (shape,) = shapes
    images = np.full((len(cells), columns, *shape), 255, dtype=np.uint8)
    present = np.zeros((len(cells), columns), dtype=bool)
    for row, cell in enumerate(cells):
        if cell is not None:
            images[row, : len(cell)] = cell
            present[row, : len(cell)] = True
    return Grid(images, present, labels, (), absent)
