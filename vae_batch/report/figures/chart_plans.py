"""Figures of lines and letters: metrics against steps, rate and distortion, latents, spectra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vae_batch.report.charts.chart import LIGHT, Chart, floats, json_numbers
from vae_batch.report.charts.curve_charts import curve_charts, curve_values
from vae_batch.report.charts.curves import curve_names, read_curves
from vae_batch.report.charts.gallery_charts import (
    KL_UNIT,
    SPECTRUM_UNITS,
    aggregate_charts,
    collapsed_dimensions,
    kl_chart,
    kl_lines_chart,
    spectrum_chart,
)
from vae_batch.report.charts.ranking import RankedLine, Ranking, ranking_names, ranking_values
from vae_batch.report.charts.rate_distortion import (
    plane_chart,
    plane_names,
    plane_values,
    read_planes,
)
from vae_batch.report.figures.chart_figures import chart_figure, draw_title, lay_out, sheet_figure
from vae_batch.report.figures.printing import SINGLE_COLUMN, LeftOut, PlannedFigure, plain, vector
from vae_batch.report.gallery import Gallery
from vae_batch.report.labels import decimals_of, elide, number, without_shared_folder
from vae_batch.storage.score_rows import ScoreRow

Figures = Iterator[PlannedFigure | LeftOut]


def metric_curves(rows: Sequence[ScoreRow]) -> Figures:
    """``curves``, then a figure for each curve; see ``curve_names``."""
    curves = read_curves(rows)
    drawn = curve_charts(curves)
    if not drawn:
        yield LeftOut("curves", "no checkpoint has a finite score")
        return
    yield PlannedFigure(
        "curves",
        "Metrics against training steps",
        {"kind": "curves", "panels": [curve_values(each.curve) for each in drawn]},
        vector(partial(sheet_figure, [each.chart for each in drawn])),
    )
    for curve, name in zip(curves, curve_names(curves), strict=True):
        if not curve.series:
            yield LeftOut(name, "no checkpoint has a finite value")
    for each in drawn:
        yield PlannedFigure(
            each.name,
            f"{each.curve.metric.title} against {each.curve.places.title}",
            {"kind": "curves", **curve_values(each.curve)},
            vector(partial(chart_figure, each.chart)),
        )


def rate_distortion(rows: Sequence[ScoreRow]) -> Figures:
    """A figure for each plane; see ``plane_names``."""
    planes = read_planes(rows)
    if not planes:
        reason = "no two comparable checkpoints have both KL and reconstruction NLL"
        yield LeftOut("rate-distortion", reason)
    for plane, name in zip(planes, plane_names(planes), strict=True):
        yield PlannedFigure(
            name,
            "KL to the prior against reconstruction NLL",
            plane_values(plane),
            vector(partial(chart_figure, plane_chart(plane), 3.3)),
        )


def checkpoint_charts(checkpoint: str, slug: str, gallery: Gallery) -> Figures:
    """``kl-dimensions-<slug>``, ``aggregate-posterior-<slug>`` and ``spectrum-<slug>``."""
    kl, aggregate = kl_chart(gallery), aggregate_charts(gallery)
    has_spectrum = "spectrum_power" in gallery
    spectrum = spectrum_chart({"generated": gallery}) if has_spectrum else None
    no_posterior = "is stored: the checkpoint has no posterior"
    parts: tuple[tuple[str, str, Sequence[Chart | None], Any, str], ...] = (
        ("kl-dimensions", "KL of each latent dimension", [kl], _kl_values,
         f"no KL of each dimension {no_posterior}"),
        ("aggregate-posterior", "Aggregate posterior against the prior", aggregate,
         _aggregate_values, f"no aggregate posterior {no_posterior}"),
        ("spectrum", "Power spectrum of generated and real images", [spectrum],
         lambda own: _spectrum_values({"generated": own}), "no power spectrum is stored"),
    )  # fmt: skip
    for kind, title, charts, values, reason in parts:
        drawn = [chart for chart in charts if chart is not None]
        if not drawn:
            yield LeftOut(f"{kind}-{slug}", reason, checkpoint)
            continue
        if len(drawn) > 1 or kind == "aggregate-posterior":
            build = partial(sheet_figure, drawn, 4, 1.15)
        else:
            build = partial(chart_figure, drawn[0])
        yield PlannedFigure(f"{kind}-{slug}", title, values(gallery), vector(build), checkpoint)


def combined_charts(galleries: Mapping[str, Gallery], names: Mapping[str, str]) -> Figures:
    """``kl-dimensions`` and ``spectrum`` of several checkpoints, by their short ``names``."""
    with_kl = {c: gallery for c, gallery in galleries.items() if "kl_per_dimension" in gallery}
    if len(with_kl) > 1:
        sorted_kl = {
            names[c]: np.sort(floats(gallery["kl_per_dimension"]).reshape(-1))[::-1]
            for c, gallery in with_kl.items()
        }
        series = [
            {"checkpoint": c, "label": names[c], "kl": json_numbers(sorted_kl[names[c]])}
            for c in with_kl
        ]
        values = {"kind": "kl-dimensions", "unit": KL_UNIT, "series": series}
        build = partial(chart_figure, kl_lines_chart(sorted_kl), 2.8)
        title = "KL of latent dimensions, sorted"
        yield PlannedFigure("kl-dimensions", title, values, vector(build))
    spectra = _same_frequencies(galleries)
    chart = spectrum_chart({names[c]: g for c, g in spectra.items()}) if len(spectra) > 1 else None
    if chart is not None:
        values = _spectrum_values({names[c]: g for c, g in spectra.items()}, [*spectra])
        title = "Power spectra of generated and real images"
        yield PlannedFigure("spectrum", title, values, vector(partial(chart_figure, chart, 2.8)))


def _same_frequencies(galleries: Mapping[str, Gallery]) -> dict[str, Gallery]:
    """Galleries with the first one's frequencies: images of another size have others."""
    stored = {c: gallery for c, gallery in galleries.items() if "spectrum_power" in gallery}
    sizes = {c: len(gallery["spectrum_power"]) for c, gallery in stored.items()}
    first = next(iter(sizes.values()), 0)
    return {c: gallery for c, gallery in stored.items() if sizes[c] == first}


def _kl_values(gallery: Gallery) -> dict[str, Any]:
    kl = floats(gallery["kl_per_dimension"]).reshape(-1)
    order = np.argsort(-kl, kind="stable")
    return {
        "kind": "kl-dimensions",
        "unit": KL_UNIT,
        "source": "losses of the checkpoint, mean over the reference images",
        "dimensions": order.tolist(),
        "kl": json_numbers(kl[order]),
        "collapsed": collapsed_dimensions(gallery)[order].tolist(),
    }


def _aggregate_values(gallery: Gallery) -> dict[str, Any]:
    dimensions = np.asarray(gallery["aggregate_dimensions"])
    moments = {
        part: json_numbers(floats(gallery[f"aggregate_{part}"])[dimensions])
        for part in ("mean", "std")
        if f"aggregate_{part}" in gallery
    }
    return {
        "kind": "aggregate-posterior",
        "source": "posterior draws of the reference images",
        "prior": "standard normal",
        "dimensions": dimensions.tolist(),
        "edges": json_numbers(gallery["aggregate_edges"]),
        "density": [json_numbers(row) for row in gallery["aggregate_density"]],
        **moments,
    }


def _spectrum_values(
    galleries: Mapping[str, Gallery], checkpoints: Sequence[str] | None = None
) -> dict[str, Any]:
    first, labels = next(iter(galleries.values())), checkpoints or [*galleries]
    return {
        "kind": "spectrum",
        "units": SPECTRUM_UNITS,
        "scales": {"frequency": "log", "power": "log"},
        "frequencies": json_numbers(first["spectrum_frequencies"]),
        "reference": json_numbers(first["spectrum_power_reference"]),
        "series": [
            {"checkpoint": checkpoint, "label": label, "power": json_numbers(g["spectrum_power"])}
            for checkpoint, (label, g) in zip(labels, galleries.items(), strict=True)
        ],
    }


_ROW_INCHES, _FRAME_INCHES = 0.165, 1.1
_BAND: dict[str, Any] = {"facecolor": LIGHT.series[0], "alpha": 0.12, "lw": 0}


def ranking_figures(rankings: Sequence[Ranking]) -> Iterator[PlannedFigure | LeftOut]:
    """A figure for each ranking; see ``ranking_names``."""
    if not rankings:
        yield LeftOut("ranking", "no two checkpoints were compared")
    for ranking, name in zip(rankings, ranking_names(rankings), strict=True):
        yield PlannedFigure(
            name,
            f"Checkpoints by {ranking.metric.title}, differences from the best",
            ranking_values(ranking),
            vector(partial(_build, ranking)),
        )


def _build(ranking: Ranking) -> Figure:
    lines = ranking.shown
    names = without_shared_folder([line.checkpoint for line in ranking.lines])[: len(lines)]
    inches = _FRAME_INCHES + _ROW_INCHES * len(lines)
    figure = Figure(figsize=(SINGLE_COLUMN, inches), layout="constrained")
    axes = figure.add_subplot()
    axes.use_sticky_edges = False  # those of the band would take the margin left of the best
    _draw_lines(axes, lines)
    axes.axvline(0.0, color=LIGHT.faint, lw=0.6, zorder=1)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)), [plain(elide(name, 22)) for name in names])
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 2.5, 5, 10)))
    conditions = [ranking.extractor or "", f"n = {ranking.n:,}"]
    subtitle = " · ".join(part for part in conditions if part)
    draw_title(axes, ranking.metric.title, subtitle, 40)
    _annotate(axes, "score", (1, 1), (34, 4), color=LIGHT.faint, xycoords="axes fraction")
    unit = f" ({ranking.metric.unit})" if ranking.metric.unit else ""
    left_out = f"\n{len(ranking.others)} more are not drawn" if ranking.others else ""
    axes.set_xlabel(f"paired difference from the best{unit}{left_out}")
    _legend(figure)
    lay_out(figure)
    return figure


def _draw_lines(axes: Axes, lines: Sequence[RankedLine]) -> None:
    """Dots and intervals; a band behind what is not distinguishable from the best."""
    decimals = decimals_of(line.value for line in lines)
    for place, line in enumerate(lines):
        is_level = line.is_best or line.is_level
        colour = LIGHT.series[0] if is_level else LIGHT.text
        if is_level:
            axes.axhspan(place - 0.5, place + 0.5, zorder=0, **_BAND)
        difference = line.from_best
        if difference is not None and np.isfinite([difference.low, difference.high]).all():
            axes.hlines(place, difference.low, difference.high, color=colour, lw=1.2)
        face = colour if is_level else LIGHT.background
        marker = "D" if line.is_best else "o"
        at = 0.0 if difference is None else difference.value
        axes.plot(at, place, marker, color=colour, mfc=face, ms=4, mew=1.0)
        _annotate(axes, number(line.value, decimals), (1, place), (34, 0), va="center")


def _annotate(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    **look: str,
) -> None:
    settings: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "size": 7,
        "ha": "right",
    }
    axes.annotate(plain(text), at, offset, **{**settings, **look})


def _legend(figure: Figure) -> None:
    entries: dict[str, Artist] = {
        "best": Line2D([], [], ls="", marker="D", ms=4, color=LIGHT.series[0]),
        "95 % interval": Line2D([], [], color=LIGHT.text, lw=1.2, marker="o", ms=4, mfc="white"),
        "not distinguishable from the best": Patch(**_BAND),
    }
    figure.legend([*entries.values()], [*entries], loc="outside lower left", ncols=2)
