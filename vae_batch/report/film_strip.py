"""The film strip: the same latents through training, the real images last."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from vae_batch.report.charts.curves import runs_of
from vae_batch.report.gallery import Gallery, same_frame
from vae_batch.report.image_grids import Grid
from vae_batch.report.labels import without_shared_folder
from vae_batch.storage.score_rows import ScoreRow

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
