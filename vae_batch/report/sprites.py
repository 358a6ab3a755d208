"""Grids of images as the page carries them: one small PNG for each grid, inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

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


def sprite(grid: Grid, alt: str, budget: int, *, whole: bool = False, band: int = 1) -> Sprite:
    """``grid`` as a sprite of about ``budget`` image pixels, never more than twice that.

    Rows are left out from the end first, since sharpness is what the pictures are judged by; then
    all images are reduced by a whole factor. Small images are enlarged by the page, not here.

    Args:
        grid: What to show.
        alt: What it shows, in words.
        budget: Image pixels to spend.
        whole: Keep every row, and reduce only.
        band: Rows that belong together and are kept or left out together.
    """
    kept = grid if whole else grid.first_rows(_affordable_rows(grid, budget, band))
    factor = 1
    while kept.present.size * np.prod(kept.tile_shape) > 2 * budget * factor**2:
        factor += 1
    drawn = padded(reduced(kept, factor))
    # Gaps are a pixel wide, so that images of a few pixels are enlarged before they are laid out.
    upscale = -(-_FEWEST_PIXELS // max(drawn.tile_shape))
    picture = pixels(drawn, upscale)
    scale = max(1, integer_upscale(drawn, TILE) // upscale)
    faint = [row in kept.faint_rows for row in range(len(kept.row_labels))]
    return Sprite(
        uri=data_uri(encode_png(picture)),
        width=picture.shape[1] * scale,
        height=picture.shape[0] * scale,
        alt=alt,
        row_labels=tuple(zip(kept.row_labels, faint, strict=True)),
        column_labels=kept.column_labels,
        remark=_remark(grid, kept, factor),
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
