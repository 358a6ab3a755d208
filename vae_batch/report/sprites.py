"""Grids of images as the page carries them: one small PNG for each grid, inside the page."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vae_batch.report.image_grids import Grid, encode_png, integer_upscale, padded, pixels, reduced

TILE = 64  # target side of an image on the page, in CSS pixels
_FEWEST_ROWS = 2
_FEWEST_PIXELS = 8  # of an image's longer side


@dataclass(frozen=True)
class Sprite:
    """A picture of a grid and how the page lays it out.

    Attributes:
        uri: ``data:image/png;base64,...``.
        width: Width to show it at, in CSS pixels: a whole multiple of the PNG's own.
        height: Height to show it at.
        alt: What it shows, for those who do not see it.
        row_labels: As in ``Grid``; pairs of label and whether it is greyed.
        column_labels: As in ``Grid``.
        remark: What was left out or reduced to keep the page small, or "".
    """

    uri: str
    width: int
    height: int
    alt: str
    row_labels: tuple[tuple[str, bool], ...]
    column_labels: tuple[str, ...]
    remark: str


def data_uri(png: bytes) -> str:
    """PNG bytes as a URI that needs no file beside the page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def sprite(grid: Grid, alt: str, budget: int, *, tile: int = TILE, band: int = 1) -> Sprite:
    """``grid`` as a sprite of about ``budget`` image pixels, never more than twice that.

    Rows are left out from the end first, since sharpness is what the pictures are judged by; then
    all images are reduced by a whole factor. Small images are enlarged by the page, not here.

    Args:
        grid: What to show.
        alt: What it shows, in words.
        budget: Image pixels to spend.
        tile: Target side of an image, in CSS pixels.
        band: Rows that belong together and are kept or left out together.
    """
    kept = grid.rows(0, _affordable_rows(grid, budget, band))
    factor = _reduction(kept, budget)
    return _drawn(reduced(kept, factor), alt, tile, _remark(grid, kept, factor))


def whole_sprites(
    grid: Grid,
    alt: str,
    budget: int,
    *,
    tile: int = TILE,
    height: int | None = None,
    starts: Collection[int] = (),
) -> tuple[Sprite, ...]:
    """``grid`` with every row, reduced where the budget asks for it.

    Args:
        grid: What to show.
        alt: What it shows, in words.
        budget: Image pixels to spend.
        tile: Target side of an image, in CSS pixels.
        height: Of each sprite at most, in CSS pixels; rows go on in the next one. None for one
            sprite.
        starts: Rows that a sprite begins with rather than with others.
    """
    factor = _reduction(grid, budget)
    drawn, remark, total = reduced(grid, factor), _remark(grid, grid, factor), len(grid.images)
    rows = total if height is None else max(1, height // _shown_side(drawn, tile))
    cuts = [0]
    while total - cuts[-1] > rows:
        end = cuts[-1] + rows
        cuts.append(max((s for s in starts if end - rows // 2 < s <= end), default=end))
    parts = [drawn.rows(start, stop) for start, stop in pairwise([*cuts, total])]
    return tuple(_drawn(part, alt, tile, remark) for part in parts)


def _reduction(grid: Grid, budget: int) -> int:
    factor = 1
    while grid.present.size * np.prod(grid.tile_shape) > 2 * budget * factor**2:
        factor += 1
    return factor


def _shown_side(grid: Grid, tile: int) -> int:
    """Height of an image with its gap, as it is shown."""
    return grid.tile_shape[0] * integer_upscale(grid, tile) + 1


def _drawn(grid: Grid, alt: str, tile: int, remark: str) -> Sprite:
    drawn = padded(grid)
    # Gaps are a pixel wide, so that images of a few pixels are enlarged before they are laid out.
    upscale = -(-_FEWEST_PIXELS // max(drawn.tile_shape))
    picture = pixels(drawn, upscale)
    scale = max(1, integer_upscale(drawn, tile) // upscale)
    faint = [row in grid.faint_rows for row in range(len(grid.row_labels))]
    return Sprite(
        uri=data_uri(encode_png(picture)),
        width=picture.shape[1] * scale,
        height=picture.shape[0] * scale,
        alt=alt,
        row_labels=tuple(zip(grid.row_labels, faint, strict=True)),
        column_labels=grid.column_labels,
        remark=remark,
    )


def _affordable_rows(grid: Grid, budget: int, band: int) -> int:
    rows, columns, height, width, _ = grid.images.shape
    rows_paid = int(budget // (columns * height * width) // band * band)
    return min(int(rows), max(rows_paid, band, _FEWEST_ROWS))


def _remark(grid: Grid, kept: Grid, factor: int) -> str:
    remarks = []
    if len(kept.images) < len(grid.images):
        remarks.append(f"first {len(kept.images)} of {len(grid.images)} rows")
    if factor > 1:
        remarks.append(f"reduced to 1/{factor} of its size")
    return "; ".join(remarks)
