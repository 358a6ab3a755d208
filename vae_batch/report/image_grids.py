"""Grids of images as exact pixels: no resampling, no autoscaling, 0 is black and 255 is white."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_batch.report.gallery import Gallery, Images, absolute_difference, framed

COLUMNS = 8
COLLAPSED_KL = 0.01
"""Nats of mean KL below which a latent dimension counts as collapsed where nothing better says."""

_PLACES = np.array([1 << 16, 1 << 8, 1])  # of red, green and blue in one number for a colour


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns with what the axes mean.

    Attributes:
        images: (rows, columns, H, W, C) uint8.
        present: (rows, columns) bool; where False the cell is empty.
        row_labels: One for each row, or none at all.
        column_labels: One for each column, or none at all; may have two lines.
        faint_rows: Rows whose label is greyed, such as collapsed dimensions.
    """

    images: Images
    present: NDArray[np.bool_]
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    faint_rows: frozenset[int] = frozenset()

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of one image, in its own pixels."""
        return self.images.shape[2], self.images.shape[3]

    def rows(self, start: int, stop: int) -> Grid:
        """The grid cut to its rows from ``start`` to ``stop``, that excluded."""
        return Grid(
            self.images[start:stop],
            self.present[start:stop],
            self.row_labels[start:stop],
            self.column_labels,
            frozenset(row - start for row in self.faint_rows if start <= row < stop),
        )


def wrapped(images: Images, columns: int = COLUMNS) -> Grid:
    """(n, H, W, C) images in reading order, ``columns`` to a row; the last row may be short."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cells = np.full((rows * columns, *images.shape[1:]), 255, dtype=np.uint8)
    cells[: len(images)] = images
    present = np.arange(rows * columns) < len(images)
    return Grid(cells.reshape(rows, columns, *images.shape[1:]), present.reshape(rows, columns))


def reconstruction_grid(gallery: Gallery, columns: int = COLUMNS) -> Grid:
    """Bands of three rows: originals, their reconstructions, the absolute difference."""
    originals, reconstructions = gallery["originals"], gallery["reconstructions"]
    parts = (originals, reconstructions, absolute_difference(originals, reconstructions))
    return _banded(parts, ("original", "reconstruction", "|difference|"), columns)


def _banded(parts: Sequence[Images], labels: tuple[str, ...], columns: int) -> Grid:
    """Stacks of as many images under each other, wrapped together."""
    grids = [wrapped(part, columns) for part in parts]
    bands = len(grids[0].images)
    images = np.stack([grid.images for grid in grids], axis=1)
    present = np.stack([grid.present for grid in grids], axis=1)
    return Grid(
        images.reshape(len(parts) * bands, *images.shape[2:]),
        present.reshape(len(parts) * bands, -1),
        row_labels=labels * bands,
    )


def worst_grids(gallery: Gallery, columns: int = COLUMNS) -> list[Grid]:
    """The worst reconstructions as bands of original, reconstruction and difference.

    Columns are labelled by the image's index in the reference set and its mean squared error.
    """
    originals, reconstructions = gallery["worst_originals"], gallery["worst_reconstructions"]
    parts = (originals, reconstructions, absolute_difference(originals, reconstructions))
    labels = [
        f"#{index}\n{error:.3g}"
        for index, error in zip(gallery["worst_ids"], gallery["worst_errors"], strict=True)
    ]
    return _labelled_bands(parts, ("original", "reconstruction", "|difference|"), labels, columns)


def nearest_grids(gallery: Gallery, columns: int = COLUMNS) -> list[Grid]:
    """Generated samples above the training image nearest to each, with its index and distance."""
    parts = (gallery["nearest_generated"], gallery["nearest_training"])
    labels = [
        f"#{index}\n{distance:.3g}"
        for index, distance in zip(
            gallery["nearest_ids"], gallery["nearest_distances"], strict=True
        )
    ]
    return _labelled_bands(parts, ("generated", "nearest training"), labels, columns)


def duplicate_grids(gallery: Gallery, columns: int = COLUMNS) -> list[Grid]:
    """The most alike pairs of samples, with their indices and distance."""
    parts = (gallery["duplicate_first"], gallery["duplicate_second"])
    labels = [
        f"{first}, {second}\n{distance:.3g}"
        for (first, second), distance in zip(
            gallery["duplicate_ids"], gallery["duplicate_distances"], strict=True
        )
    ]
    return _labelled_bands(parts, ("sample", "its double"), labels, columns)


def _labelled_bands(
    parts: Sequence[Images], rows: tuple[str, ...], labels: Sequence[str], columns: int
) -> list[Grid]:
    """One grid for each ``columns`` images, since every one of them has a label of its own."""
    starts = range(0, len(labels), columns)
    return [
        replace(
            _banded([part[start : start + columns] for part in parts], rows, columns),
            column_labels=tuple(labels[start : start + columns]),
        )
        for start in starts
    ]


def interpolation_grid(gallery: Gallery) -> Grid:
    """One row for each pair of latents; columns by the fraction of the way between them."""
    images = gallery["interpolation"]
    steps = images.shape[1]
    return Grid(
        images,
        np.ones(images.shape[:2], dtype=bool),
        column_labels=("0", *(f"{step}/{steps - 1}" for step in range(1, steps - 1)), "1")[:steps],
    )


def traversal_grid(gallery: Gallery) -> Grid:
    """One row for each latent dimension, by decreasing KL; columns by the value it is set to."""
    images = gallery["traversal"]
    kl = np.asarray(gallery["traversal_kl"], dtype=np.float64)
    dimensions = np.asarray(gallery["traversal_dimensions"])
    labels = (f"z[{d}]  {nats:.2f} nats" for d, nats in zip(dimensions, kl, strict=True))
    return Grid(
        images,
        np.ones(images.shape[:2], dtype=bool),
        row_labels=tuple(labels),
        column_labels=tuple(_signed(value) for value in gallery["traversal_values"]),
        faint_rows=frozenset(int(row) for row in np.flatnonzero(_collapsed(gallery, kl))),
    )


def _collapsed(gallery: Gallery, kl: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(dimensions,) whether each is collapsed; by its mean KL in galleries of older runs."""
    return np.asarray(gallery.get("traversal_collapsed", kl < COLLAPSED_KL), dtype=bool)


def padded(grid: Grid) -> Grid:
    """The grid with white around images so long that their labels would not fit beside them.

    A label of a row needs a quarter of a tile's width, that of a column 0.7 of its height.
    """
    height, width = grid.tile_shape
    tall, wide = max(height, -(-width // 4)), max(width, -(-7 * height // 10))
    if (tall, wide) == (height, width):
        return grid
    return replace(grid, images=framed(grid.images, tall, wide, grid.images.shape[-1]))


def reduced(grid: Grid, factor: int) -> Grid:
    """The grid with every image averaged over blocks of ``factor`` by ``factor`` pixels."""
    if factor == 1:
        return grid
    rows, columns, height, width, channels = grid.images.shape
    flat = grid.images.reshape(rows * columns, height, width, channels)
    tiles = np.stack([_reduced_image(image, factor) for image in flat])
    return replace(grid, images=tiles.reshape(rows, columns, *tiles.shape[1:]))


def _reduced_image(image: Images, factor: int) -> Images:
    small = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).reduce(factor)
    return np.asarray(small).reshape(small.height, small.width, image.shape[-1])


def _signed(value: float) -> str:
    text = f"{value:+.2f}".rstrip("0").rstrip(".").replace("-", "\N{MINUS SIGN}")
    return "0" if text[1:] == "0" else text


def pixels(grid: Grid, upscale: int = 1, gap: int = 1) -> NDArray[np.uint8]:
    """The grid as one RGBA picture; each image pixel becomes ``upscale`` squared equal pixels.

    Returns:
        uint8 (rows * H * upscale + gaps, columns * W * upscale + gaps, 4); gaps of ``gap`` pixels
        and empty cells are transparent, images keep their values exactly.
    """
    rows, columns, height, width, _ = grid.images.shape
    tall, wide = height * upscale, width * upscale
    canvas = np.zeros((rows * (tall + gap) - gap, columns * (wide + gap) - gap, 4), np.uint8)
    for row, column in np.argwhere(grid.present):
        top, left = row * (tall + gap), column * (wide + gap)
        tile = grid.images[row, column].repeat(upscale, axis=0).repeat(upscale, axis=1)
        canvas[top : top + tall, left : left + wide, :3] = tile
        canvas[top : top + tall, left : left + wide, 3] = 255
    return canvas


def integer_upscale(grid: Grid, target: int) -> int:
    """The largest whole factor that keeps an image's longer side within ``target`` pixels."""
    return max(1, target // max(grid.tile_shape))


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """An RGBA picture (H, W, 4), alpha 0 or 255, as a plain PNG: grey where it is, no metadata.

    A colour that the picture does not use stands for transparent, which spares an alpha channel:
    a sixth of the file. A grey picture that uses all 256 levels is written as RGB.
    """
    shown = picture[..., 3] == 255
    colours = picture[..., :3].copy()
    drawn = colours[shown]
    grey = bool((drawn == drawn[:, :1]).all())
    free = _smallest_unused(drawn[:, 0], 256) if grey else None
    grey = free is not None
    if free is None:
        free = _smallest_unused(drawn @ _PLACES, len(drawn) + 1) or 0
    key: Any = (free, free, free) if grey else tuple(free // int(place) % 256 for place in _PLACES)
    colours[~shown] = key
    image = Image.fromarray(colours)
    if grey:
        image, key = image.convert("L"), free
    buffer = io.BytesIO()
    transparency = {} if shown.all() else {"transparency": key}
    image.save(buffer, format="PNG", compress_level=6, **transparency)
    return buffer.getvalue()


def _smallest_unused(codes: NDArray[Any], candidates: int) -> int | None:
    """The smallest whole number below ``candidates`` that is not among ``codes``."""
    free = np.flatnonzero(np.bincount(codes[codes < candidates], minlength=candidates) == 0)
    return int(free[0]) if len(free) else None
