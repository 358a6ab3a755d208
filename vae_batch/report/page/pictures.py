"""What the page shows of each checkpoint: its pictures and charts, within a budget of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.report.charts.chart import Chart, legend_of
from vae_batch.report.charts.curves import runs_of
from vae_batch.report.charts.gallery_charts import aggregate_charts, kl_chart, spectrum_chart
from vae_batch.report.gallery import Gallery, Images, same_frame
from vae_batch.report.gallery_panels import PANEL_KINDS, PanelKind, film_strip, stacked, strip_rows
from vae_batch.report.image_grids import COLUMNS, wrapped
from vae_batch.report.labels import printable
from vae_batch.report.page.chart_svg import (
    SMALL,
    WIDE,
    Drawing,
    DrawnKey,
    draw_chart,
    draw_key,
)
from vae_batch.report.sprites import TILE, Sprite, sprite, whole_sprites
from vae_batch.storage.score_rows import ScoreRow

_MOST_BYTES = 10_500_000  # of all checkpoints' sprites, as they stand in the page
_START_PIXELS = 12_000_000  # image pixels of all checkpoints that sprites are first tried with
_PANELS = 8
_MOST_PIXELS = 250_000  # of one panel
_FEWEST_PIXELS = 500
_FILM_STRIP_PIXELS = 600_000
_FEW_ROWS = 14  # of a film strip with images of full size
_PART_HEIGHT = 920  # of a film strip, in CSS pixels: what a printed page holds
_VERDICT_PIXELS = 60_000
_MOST_TIED = 4  # checkpoints in the verdict's picture


@dataclass(frozen=True)
class Picture:
    """A sprite and what it shows; ``shared`` is its key where many checkpoints show it."""

    sprite: Sprite
    title: str = ""
    shared: str = ""


@dataclass(frozen=True)
class Panel:
    """Pictures or charts under a heading, with a line that says how to read them.

    ``key`` is the same for the same kind of panel of every checkpoint, and begins the names of
    its figure's files.
    """

    key: str
    heading: str
    caption: str
    pictures: tuple[Picture, ...] = ()
    charts: tuple[Drawing, ...] = ()
    keys: tuple[DrawnKey, ...] = ()

    @property
    def remark(self) -> str:
        """What was left out or reduced to keep the page small, or ""."""
        remarks = dict.fromkeys(p.sprite.remark for p in self.pictures if p.sprite.remark)
        return "; ".join(remarks)


Panels = dict[str, tuple[Panel, ...]]
"""Panels of each checkpoint, by label."""


def film_strip_sprites(
    rows: Sequence[ScoreRow], galleries: Mapping[str, Gallery], keep: Collection[str] = ()
) -> tuple[Sprite, ...]:
    """The film strip in parts of a page's height; none where no checkpoint has samples.

    ``keep`` are shown in any case.
    """
    grid = film_strip(rows, galleries, keep=keep)
    if grid is None:
        return ()
    alt = "Samples from the same latents, one row for each checkpoint, real images in the last row"
    runs = runs_of(rows)
    own = [runs[checkpoint] for checkpoint in strip_rows(rows, keep=keep)]
    starts = [place for place in range(1, len(own)) if own[place] != own[place - 1]]
    tile = TILE if len(grid.images) <= _FEW_ROWS else TILE // 2
    return whole_sprites(
        grid, alt, _FILM_STRIP_PIXELS, tile=tile, height=_PART_HEIGHT, starts=starts
    )


def verdict_sprite(chosen: Mapping[str, str], galleries: Mapping[str, Gallery]) -> Sprite | None:
    """Samples of the best checkpoint, or of those that are tied, above real images.

    Args:
        chosen: Labels with short names.
        galleries: Pictures by label.
    """
    found = {name: galleries[label] for label, name in chosen.items() if label in galleries}
    shown = {name: own for name, own in found.items() if "samples" in own}
    if not shown:
        return None
    names = [*shown][:_MOST_TIED]
    rows = [(printable(name), shown[name]["samples"][:COLUMNS]) for name in names]
    if len(names) == 1:  # two rows of one checkpoint, whose name stands above
        more = shown[names[0]]["samples"][COLUMNS : 2 * COLUMNS]
        rows = [("samples", rows[0][1]), *([("", more)] if len(more) else [])]
    real = [own["reference_samples"] for own in shown.values() if "reference_samples" in own]
    rows += [("real", stack[:COLUMNS]) for stack in real[:1]]
    labels, stacks = zip(*rows, strict=True)
    grid = stacked(same_frame(stacks), labels, frozenset())
    alt = f"Samples of {printable(', '.join(names))}{', above real images' if real else ''}"
    (picture,) = whole_sprites(grid, alt, _VERDICT_PIXELS)
    return picture


def checkpoint_panels(galleries: Mapping[str, Gallery]) -> Panels:
    """Panels of every gallery; the more checkpoints, the fewer rows of each are shown.

    How well pictures compress is not known before they are written, so that the budget shrinks
    until all of them fit the page.
    """
    budget = min(_MOST_PIXELS, _START_PIXELS // (_PANELS * max(1, len(galleries))))
    while True:
        real: dict[bytes, Picture] = {}
        panels = {
            label: tuple(_panels(printable(label), gallery, budget, real))
            for label, gallery in galleries.items()
        }
        size = _bytes(panels)
        if size <= _MOST_BYTES or budget <= _FEWEST_PIXELS:
            return panels
        budget = max(_FEWEST_PIXELS, int(0.95 * budget * _MOST_BYTES / size))


def shared_pictures(panels: Panels) -> dict[str, tuple[str, Sprite]]:
    """Element id and sprite of every picture that the page keeps once, by its key."""
    unique = {p.shared: p.sprite for p in _pictures(panels) if p.shared}
    return {key: (f"shared-{i}", shown) for i, (key, shown) in enumerate(unique.items())}


def _bytes(panels: Panels) -> int:
    sprites = {picture.sprite.uri for picture in _pictures(panels)}
    return sum(map(len, sprites))


def _pictures(panels: Panels) -> Iterator[Picture]:
    return (picture for own in panels.values() for panel in own for picture in panel.pictures)


def _panels(
    name: str, gallery: Gallery, budget: int, real: dict[bytes, Picture]
) -> Iterator[Panel]:
    yield from _sample_panels(name, gallery, budget, real)
    for kind in PANEL_KINDS:
        if kind.is_in(gallery):
            yield _pictured(kind, name, gallery, budget)
    for charted in _CHARTED:
        charts = charted.charts(gallery)
        if charts:
            frame = SMALL if len(charts) > 1 else WIDE
            keys = tuple(draw_key(key) for key in legend_of(charts))
            drawings = tuple(draw_chart(chart, frame) for chart in charts)
            caption = charted.caption
            yield Panel(charted.key, charted.heading, caption, charts=drawings, keys=keys)


def _sample_panels(
    name: str, gallery: Gallery, budget: int, real: dict[bytes, Picture]
) -> Iterator[Panel]:
    """Generated beside real images, at the same scale."""
    pictures = []
    if "samples" in gallery:
        grid = wrapped(gallery["samples"])
        alt = f"Samples of {name}: decoder means at latents that all checkpoints share"
        pictures.append(Picture(sprite(grid, alt, budget), "generated"))
    if "reference_samples" in gallery:
        pictures.append(_real(gallery["reference_samples"], budget, real))
    if pictures:
        caption = (
            "Decoder means at latents that all checkpoints share, and images of the reference set."
        )
        yield Panel("samples", "Generated beside real", caption, tuple(pictures))


def _real(images: Images, budget: int, real: dict[bytes, Picture]) -> Picture:
    content = hashlib.sha256(repr(images.shape).encode() + images.tobytes()).digest()
    if content not in real:
        shown = sprite(wrapped(images), "Real images of the reference set", budget)
        real[content] = Picture(shown, "real", shared=shown.uri)
    return real[content]


def _pictured(kind: PanelKind, name: str, gallery: Gallery, budget: int) -> Panel:
    """A panel of as many grids as the budget pays for."""
    every = kind.grids(gallery)
    grids = every[: max(1, budget // every[0].images[..., 0].size)]
    caption, measure = kind.caption, kind.measured_by(gallery)
    if measure:
        caption = f"{caption} Measured by {measure}."
    if len(grids) < len(every):
        shown, there = (sum(len(g.column_labels) for g in part) for part in (grids, every))
        caption = f"{caption} Here the first {shown} of {there}."
    alt = f"{kind.heading} of {name}: {caption}"
    share = budget // len(grids)
    pictures = [Picture(sprite(grid, alt, share, band=kind.band)) for grid in grids]
    return Panel(kind.key, kind.heading, caption, tuple(pictures))


@dataclass(frozen=True)
class _Charted:
    """A panel of charts; those that a gallery has no data for are left out."""

    key: str
    heading: str
    caption: str
    charts: Callable[[Gallery], Sequence[Chart]]


def _kl(gallery: Gallery) -> list[Chart]:
    chart = kl_chart(gallery)
    return [chart] if chart else []


def _spectrum(gallery: Gallery) -> list[Chart]:
    chart = spectrum_chart({"generated": gallery})
    return [chart] if chart else []


_CHARTED = (
    _Charted("kl-dimensions", "KL of each dimension", "Mean over test images, largest first.", _kl),
    _Charted(
        "aggregate-posterior",
        "Aggregate posterior",
        "Posterior draws of all test images against the prior, in the dimensions of the largest "
        "KL.",
        aggregate_charts,
    ),
    _Charted(
        "spectrum",
        "Power spectrum",
        "Mean power of generated and real images by spatial frequency.",
        _spectrum,
    ),
)
