"""What a checkpoint's latent dimensions carry: KL of each, and its aggregate posterior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vae_batch.report.colours import LIGHT
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, numbers, vector
from vae_batch.report.figures.layout import fit_axes
from vae_batch.report.figures.printing import SINGLE_COLUMN, plain
from vae_batch.report.figures.sequence_looks import sequence_looks
from vae_batch.report.gallery import Gallery
from vae_batch.report.image_grids import COLLAPSED_KL
from vae_batch.report.labels import elide

_MOST_BARS = 64
_MOST_NAMED = 18
_RIDGE_INCHES = 0.34
_SHADE = "#ececec"


def latent_figures(
    checkpoint: str, slug: str, gallery: Gallery
) -> Iterator[PlannedFigure | LeftOut]:
    """`kl-dimensions-<slug>` and `aggregate-posterior-<slug>`."""
    if "kl_per_dimension" in gallery:
        yield _kl_figure(checkpoint, f"kl-dimensions-{slug}", gallery)
    else:
        reason = "no KL of each dimension is stored: the checkpoint has no posterior"
        yield LeftOut(f"kl-dimensions-{slug}", reason, checkpoint)
    if "aggregate_density" in gallery:
        yield _aggregate_figure(checkpoint, f"aggregate-posterior-{slug}", gallery)
    else:
        reason = "no aggregate posterior is stored: the checkpoint has no posterior"
        yield LeftOut(f"aggregate-posterior-{slug}", reason, checkpoint)


def collapsed_dimensions(gallery: Gallery) -> NDArray[np.bool_]:
    """(d,) whether each latent dimension is collapsed; by its mean KL where nothing else says."""
    collapsed = gallery.get("kl_collapsed", np.asarray(gallery["kl_per_dimension"]) < COLLAPSED_KL)
    return np.asarray(collapsed, dtype=bool)


def _kl_figure(checkpoint: str, name: str, gallery: Gallery) -> PlannedFigure:
    kl = np.asarray(gallery["kl_per_dimension"], dtype=np.float64)
    order = np.argsort(-kl, kind="stable")
    collapsed = collapsed_dimensions(gallery)[order]
    values = {
        "kind": "kl-dimensions",
        "unit": "nats/image",
        "source": "losses of the checkpoint, mean over the reference images",
        "dimensions": order.tolist(),
        "kl": numbers(kl[order]),
        "collapsed": collapsed.tolist(),
        "not_drawn": max(0, len(kl) - _MOST_BARS),
    }
    build = partial(_build_bars, checkpoint, order, kl[order], collapsed)
    return PlannedFigure(name, "KL of each latent dimension", values, vector(build), checkpoint)


def _build_bars(
    checkpoint: str, order: NDArray[np.intp], kl: NDArray[np.float64], collapsed: NDArray[np.bool_]
) -> Figure:
    figure = Figure(figsize=(SINGLE_COLUMN, 2.3))
    axes = figure.add_subplot()
    shown = kl[:_MOST_BARS]
    colours = [LIGHT.faint if bad else LIGHT.series[0] for bad in collapsed[:_MOST_BARS]]
    axes.bar(range(len(shown)), shown, color=colours, lw=0, width=0.75)
    slots = np.flatnonzero(collapsed[:_MOST_BARS])
    across = {"transform": axes.get_xaxis_transform(), "width": 1.0, "zorder": 0, "lw": 0}
    axes.bar(slots, np.ones(len(slots)), color=_SHADE, **across)
    if len(shown) <= _MOST_NAMED:
        axes.set_xticks(range(len(shown)), [str(place) for place in order[:_MOST_BARS]])
        axes.set_xlabel("latent dimension, by decreasing KL")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("rank of the latent dimension, by decreasing KL")
    axes.set_xlim(-0.7, max(len(shown), 6) - 0.3)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("KL (nats/image)")
    axes.set_ylim(0.0, 1.06 * float(np.nanmax(shown, initial=0.0)) or 1.0)
    left_out = f", first {_MOST_BARS} drawn" if len(kl) > _MOST_BARS else ""
    said = f"{collapsed.sum()} of {len(kl)} collapsed (shaded){left_out}; sum {kl.sum():.4g} nats"
    _title(axes, f"KL of each latent dimension\n{said}", checkpoint)
    fit_axes(figure, [[axes]])
    return figure


def _title(axes: Axes, title: str, checkpoint: str) -> None:
    first, _, second = title.partition("\n")
    faint = {"xycoords": "axes fraction", "textcoords": "offset points", "color": LIGHT.faint}
    axes.set_title(first, pad=24)
    axes.annotate(plain(elide(checkpoint, 48)), (0, 1), (0, 14), size="small", **faint)
    axes.annotate(second, (0, 1), (0, 4), size="small", **faint)


def _aggregate_figure(checkpoint: str, name: str, gallery: Gallery) -> PlannedFigure:
    dimensions = np.asarray(gallery["aggregate_dimensions"])
    moments = {
        part: np.asarray(gallery[f"aggregate_{part}"], dtype=np.float64)[dimensions]
        for part in ("mean", "std")
        if f"aggregate_{part}" in gallery
    }
    edges, density = gallery["aggregate_edges"], gallery["aggregate_density"]
    values = {
        "kind": "aggregate-posterior",
        "source": "posterior draws of the reference images",
        "prior": "standard normal",
        "dimensions": dimensions.tolist(),
        "edges": numbers(edges),
        "density": [numbers(row) for row in density],
        **{part: numbers(array) for part, array in moments.items()},
    }
    build = partial(_build_ridges, checkpoint, dimensions, edges, density, moments)
    title = "Aggregate posterior against the prior"
    return PlannedFigure(name, title, values, vector(build), checkpoint)


def _build_ridges(
    checkpoint: str,
    dimensions: NDArray[np.int64],
    edges: NDArray[np.float64],
    density: NDArray[np.float64],
    moments: Mapping[str, NDArray[np.float64]],
) -> Figure:
    """A row for each dimension: its histogram, and over it the prior's density."""
    rows = len(dimensions)
    figure = Figure(figsize=(SINGLE_COLUMN, 1.1 + _RIDGE_INCHES * rows))
    axes = figure.add_subplot()
    fine = np.linspace(edges[0], edges[-1], 201)
    prior = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    tallest = max(float(np.nanmax(density)), float(prior.max())) * 1.08
    floors = np.arange(rows)[::-1]
    outlines = [
        _outline(edges, floor + heights / tallest, floor)
        for floor, heights in zip(floors, density, strict=True)
    ]
    axes.add_collection(PolyCollection(outlines, facecolor=LIGHT.series[0], alpha=0.45, lw=0))
    curves = [np.column_stack([fine, floor + prior / tallest]) for floor in floors]
    axes.add_collection(LineCollection(curves, colors=LIGHT.text, linewidths=0.8, linestyles="--"))
    axes.hlines(floors, edges[0], edges[-1], color=LIGHT.grid, lw=0.5, zorder=0)
    axes.set_yticks(floors + 0.25, _ridge_names(dimensions, moments))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(0, rows + 0.02)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("latent value")
    _title(axes, "Aggregate posterior\nfilled; dashed: the prior N(0, 1)", checkpoint)
    fit_axes(figure, [[axes]])
    return figure


def _outline(
    edges: NDArray[np.float64], tops: NDArray[np.float64], floor: float
) -> NDArray[np.float64]:
    """Corners of a histogram as one polygon."""
    x = np.repeat(edges, 2)
    y = np.concatenate([[floor], np.repeat(np.nan_to_num(tops, nan=floor), 2), [floor]])
    return np.column_stack([x, y])


def _ridge_names(
    dimensions: Sequence[int], moments: Mapping[str, NDArray[np.float64]]
) -> list[str]:
    names = [f"z[{dimension}]" for dimension in dimensions]
    if set(moments) != {"mean", "std"}:
        return names
    pairs = zip(moments["mean"], moments["std"], strict=True)
    said = [f"{mean:+.2f} ± {std:.2f}".replace("-", "\N{MINUS SIGN}") for mean, std in pairs]
    return [f"{name}\n{text}" for name, text in zip(names, said, strict=True)]


def kl_spectra(
    galleries: Mapping[str, Gallery], names: Mapping[str, str]
) -> Iterator[PlannedFigure]:
    """`kl-dimensions`: sorted KL of several checkpoints in one figure."""
    sorted_kl = {
        checkpoint: np.sort(np.asarray(gallery["kl_per_dimension"], dtype=np.float64))[::-1]
        for checkpoint, gallery in galleries.items()
        if "kl_per_dimension" in gallery
    }
    if len(sorted_kl) < 2:
        return
    values: dict[str, Any] = {
        "kind": "kl-dimensions",
        "unit": "nats/image",
        "series": [
            {"checkpoint": checkpoint, "label": names[checkpoint], "kl": numbers(kl)}
            for checkpoint, kl in sorted_kl.items()
        ],
    }
    build = partial(_build_spectra, sorted_kl, names)
    yield PlannedFigure("kl-dimensions", "KL of latent dimensions, sorted", values, vector(build))


def _build_spectra(
    sorted_kl: Mapping[str, NDArray[np.float64]], names: Mapping[str, str]
) -> Figure:
    figure = Figure(figsize=(SINGLE_COLUMN, 2.8))
    axes = figure.add_subplot()
    for (checkpoint, kl), look in zip(
        sorted_kl.items(), sequence_looks(len(sorted_kl)), strict=True
    ):
        axes.plot(np.arange(1, len(kl) + 1), kl, label=plain(elide(names[checkpoint], 24)), **look)
    axes.set_title("KL of latent dimensions, sorted")
    axes.set_xlabel("rank of the dimension")
    axes.set_ylabel("KL (nats/image)")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylim(bottom=0.0)
    figure.legend(loc="lower left", ncols=2)
    fit_axes(figure, [[axes]])
    return figure
