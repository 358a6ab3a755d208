"""Every figure of a report as files: plates of images as PNG, curves as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from vae_batch.report.curve_figures import curve_figure, curves_figure, line_looks
from vae_batch.report.curves import read_curves
from vae_batch.report.drawing import LIGHT, drawing_style, png, svg
from vae_batch.report.film_strip import film_strip
from vae_batch.report.gallery import Gallery, check_gallery
from vae_batch.report.image_grids import (
    Grid,
    interpolation_grid,
    reconstruction_grid,
    traversal_grid,
    wrapped,
)
from vae_batch.report.labels import slugs
from vae_batch.report.plates import Panel, message_plate, plate
from vae_batch.report.score_rows import read_rows

Write = Callable[[str, bytes], None]


def write_figures(
    scores: pd.DataFrame, galleries: Mapping[str, Gallery], write: Write
) -> list[str]:
    """Draw every figure and hand each to `write(name, content)`.

    Curves and the film strip are always written, if only to say that there is nothing to draw.
    Each checkpoint with a gallery adds `samples-`, `reconstructions-`, `interpolation-` and
    `traversal-<slug>.png` for what its gallery holds. Equal input gives equal bytes.

    Args:
        scores: the score table.
        galleries: pictures by checkpoint label; a checkpoint may have none.
        write: called once for each file, with a file-safe name.

    Returns:
        The names written, in order.

    Raises:
        ValueError: the score table or a gallery is not as documented.
    """
    for checkpoint, gallery in galleries.items():
        check_gallery(checkpoint, gallery)
    names = []
    for name, content in _figures(scores, galleries):
        write(name, content)
        names.append(name)
    return names


def _figures(scores: pd.DataFrame, galleries: Mapping[str, Gallery]) -> Iterator[tuple[str, bytes]]:
    yield from _curve_files(scores)
    rows = read_rows(scores)
    yield "film-strip.png", _film_strip_plate(film_strip(rows, galleries))
    names = slugs([*(row.checkpoint for row in rows), *galleries])
    for checkpoint, gallery in galleries.items():
        for kind, panels in checkpoint_panels(gallery).items():
            yield f"{kind}-{names[checkpoint]}.png", plate(panels, checkpoint)


def _curve_files(scores: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    curves = read_curves(scores)
    looks = line_looks(curves, LIGHT)
    drawings: dict[str, Callable[[], Figure]] = {
        f"curves-{curve.metric.column}": partial(curve_figure, curve, looks, LIGHT)
        for curve in curves
    }
    drawings["curves"] = partial(curves_figure, curves, looks, LIGHT)
    for name, draw in drawings.items():
        for suffix, encode in (("png", png), ("svg", svg)):
            with drawing_style(LIGHT):
                figure = draw()
                content = encode(figure)
                figure.clear()
            yield f"{name}.{suffix}", content


def _film_strip_plate(grid: Grid | None) -> bytes:
    if grid is None:
        return message_plate("no checkpoint has pictures")
    return plate([Panel("the same latents through training", grid)], "columns share a latent")


def checkpoint_panels(gallery: Gallery) -> dict[str, list[Panel]]:
    """The panels of each plate that `gallery` has pictures for, by the plate's kind."""
    panels: dict[str, list[Panel]] = {}
    if "samples" in gallery:
        panels["samples"] = [Panel("generated", wrapped(gallery["samples"]))]
        if "reference_samples" in gallery:
            panels["samples"].append(Panel("real", wrapped(gallery["reference_samples"])))
    if "originals" in gallery and "reconstructions" in gallery:
        panels["reconstructions"] = [Panel("reconstructions", reconstruction_grid(gallery))]
    if "interpolation" in gallery:
        panels["interpolation"] = [Panel("interpolation", interpolation_grid(gallery))]
    if "traversal" in gallery:
        panels["traversal"] = [Panel("traversal by KL", traversal_grid(gallery))]
    return panels
