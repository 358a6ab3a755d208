"""The page's pictures: curves for light and dark, the film strip, each checkpoint's panels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vae_batch.report.curve_figures import curve_figure, line_looks
from vae_batch.report.curves import Curve, Series, read_curves
from vae_batch.report.drawing import DARK, LIGHT, Theme, drawing_style, png
from vae_batch.report.film_strip import film_strip
from vae_batch.report.gallery import Gallery, Images
from vae_batch.report.image_grids import (
    Grid,
    interpolation_grid,
    reconstruction_grid,
    traversal_grid,
    wrapped,
)
from vae_batch.report.labels import printable
from vae_batch.report.score_rows import ScoreRow
from vae_batch.report.sprites import Sprite, data_uri, sprite

_PAGE_PIXELS = 5_000_000  # image pixels of all checkpoints together
_MOST_PIXELS = 250_000  # of one panel
_FILM_STRIP_PIXELS = 600_000
_CURVE_COLOURS = 128


@dataclass(frozen=True)
class CurvePicture:
    """One metric's curve in both themes."""

    light: str
    dark: str
    alt: str


@dataclass(frozen=True)
class PagePanel:
    """Sprites under a heading, with a line that says how to read them.

    `shared` is the key of a sprite that many checkpoints show, kept once in the page.
    """

    heading: str
    caption: str
    sprite: Sprite
    shared: str = ""


def curve_pictures(scores: pd.DataFrame) -> list[CurvePicture]:
    """The curves that have a value to draw."""
    curves = [curve for curve in read_curves(scores) if curve.series]
    drawn = {theme: _drawn(curves, theme) for theme in (LIGHT, DARK)}
    pictures = zip(curves, drawn[LIGHT], drawn[DARK], strict=True)
    return [CurvePicture(light, dark, _curve_alt(curve)) for curve, light, dark in pictures]


def _drawn(curves: Sequence[Curve], theme: Theme) -> list[str]:
    looks = line_looks(curves, theme)
    uris = []
    for curve in curves:
        with drawing_style(theme):
            figure = curve_figure(curve, looks, theme)
            uris.append(data_uri(png(figure, _CURVE_COLOURS)))
            figure.clear()
    return uris


def _curve_alt(curve: Curve) -> str:
    lines = "; ".join(_line_alt(line) for line in curve.series)
    failed = f"; {len(curve.failed)} failed" if curve.failed else ""
    return f"{curve.metric.title} against {curve.axis.title}: {printable(lines)}{failed}"


def _line_alt(line: Series) -> str:
    values = line.y[np.isfinite(line.y)]
    return f"{line.label} goes from {values[0]:.4g} to {values[-1]:.4g}"


def film_strip_sprite(rows: Sequence[ScoreRow], galleries: Mapping[str, Gallery]) -> Sprite | None:
    """The film strip, or None where no checkpoint has samples."""
    grid = film_strip(rows, galleries)
    if grid is None:
        return None
    alt = "Samples from the same latents, one row for each checkpoint, real images in the last row"
    return sprite(grid, alt, _FILM_STRIP_PIXELS, whole=True)


def panel_budget(checkpoints: int) -> int:
    """Image pixels for one panel of one checkpoint, so that many checkpoints fit one page."""
    return min(_MOST_PIXELS, _PAGE_PIXELS // (4 * max(1, checkpoints)))


def page_panels(
    checkpoint: str, gallery: Gallery, budget: int, real: dict[bytes, Sprite]
) -> list[PagePanel]:
    """What the page shows of one checkpoint's gallery, in reading order.

    `real` holds the reference sets' sprites drawn so far, by content, and gains new ones.
    """
    name = printable(checkpoint)
    panels = _sample_panels(name, gallery, budget)
    if "reference_samples" in gallery:
        panels.append(_real_panel(gallery["reference_samples"], budget, real))
    if "originals" in gallery and "reconstructions" in gallery:
        grid = reconstruction_grid(gallery)
        caption = "Test images, their reconstructions, and the absolute difference (0 is black)."
        panels.append(_panel("Reconstructions", caption, grid, name, budget, band=3))
    if "interpolation" in gallery:
        caption = "Between two latents of the prior, at the prior's own scale all the way."
        grid = interpolation_grid(gallery)
        panels.append(_panel("Interpolation", caption, grid, name, budget))
    if "traversal" in gallery:
        caption = "One latent dimension moved at a time, by decreasing KL; collapsed ones greyed."
        panels.append(_panel("Traversal", caption, traversal_grid(gallery), name, budget))
    return panels


def _sample_panels(name: str, gallery: Gallery, budget: int) -> list[PagePanel]:
    panels = []
    if "samples" in gallery:
        caption = "Decoder means at latents that all checkpoints share."
        panels.append(_panel("Samples", caption, wrapped(gallery["samples"]), name, budget))
    return panels


def _real_panel(images: Images, budget: int, real: dict[bytes, Sprite]) -> PagePanel:
    content = hashlib.sha256(repr(images.shape).encode() + images.tobytes()).digest()
    if content not in real:
        real[content] = sprite(wrapped(images), "Real images of the reference set", budget)
    shown = real[content]
    return PagePanel("Real", "Images of the reference set.", shown, shared=shown.uri)


def _panel(
    heading: str, caption: str, grid: Grid, name: str, budget: int, band: int = 1
) -> PagePanel:
    alt = f"{heading} of {name}: {caption}"
    return PagePanel(heading, caption, sprite(grid, alt, budget, band=band))
