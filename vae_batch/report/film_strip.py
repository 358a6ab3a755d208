"""The film strip: the same latents through training, the real images last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vae_batch.report.gallery import Gallery, same_frame
from vae_batch.report.image_grids import Grid
from vae_batch.report.labels import without_shared_folder
from vae_batch.report.score_rows import ScoreRow

_COLUMNS = 10
_MOST_ROWS = 50


def film_strip(rows: Sequence[ScoreRow], galleries: Mapping[str, Gallery]) -> Grid | None:
    """A row of samples for each checkpoint, by step; the same latents in each column.

    A checkpoint without samples keeps an empty, greyed row, so that a gap in training is seen.
    Of more than 50 checkpoints, evenly spaced ones are shown, with the first and the last.

    Returns:
        The grid, or None where no checkpoint has samples.
    """
    if not any("samples" in gallery for gallery in galleries.values()):
        return None
    names = _thinned(_row_names(rows))
    samples = {c: galleries[c]["samples"] for c in names if "samples" in galleries.get(c, {})}
    real = [g["reference_samples"] for g in galleries.values() if "reference_samples" in g][:1]
    stacks = same_frame([stack[:_COLUMNS] for stack in [*samples.values(), *real]])
    drawn = dict(zip(samples, stacks, strict=False))
    labels = [
        f"{name} {_why(c, rows)}".strip() if c not in drawn else name for c, name in names.items()
    ]
    cells = [drawn.get(c) for c in names] + ([stacks[-1]] if real else [])
    absent = frozenset(i for i, cell in enumerate(cells) if cell is None)
    return _stacked(cells, (*labels, *(["real"] if real else [])), absent)


def _row_names(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """Names of the checkpoints' rows, by step: the steps themselves where they differ."""
    steps = {row.checkpoint: row.step for row in rows}
    known = {step for step in steps.values() if step is not None}
    order = sorted(steps, key=lambda c: math.inf if (step := steps[c]) is None else step)
    if len(known) == len(steps):
        return {c: f"step {steps[c]:,}" for c in order}
    return dict(zip(order, without_shared_folder(order), strict=True))


def _thinned(names: dict[str, str]) -> dict[str, str]:
    if len(names) <= _MOST_ROWS:
        return names
    kept = np.unique(np.linspace(0, len(names) - 1, _MOST_ROWS).round().astype(int))
    entries = list(names.items())
    return dict(entries[i] for i in kept)


def _why(checkpoint: str, rows: Sequence[ScoreRow]) -> str:
    failed = any(row.failure is not None for row in rows if row.checkpoint == checkpoint)
    return "(failed)" if failed else "(no pictures)"


def _stacked(
    cells: Sequence[np.ndarray | None], labels: tuple[str, ...], absent: frozenset[int]
) -> Grid:
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
