"""Rankings as figures: paired differences from the best with their intervals, best on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vae_batch.report.charts.ranking import RankedLine, Ranking, ranking_values
from vae_batch.report.colours import LIGHT
from vae_batch.report.figures.chart_figures import draw_title, lay_out
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, vector
from vae_batch.report.figures.printing import SINGLE_COLUMN, plain
from vae_batch.report.labels import decimals_of, elide, number, slugs, without_shared_folder

_ROW_INCHES, _FRAME_INCHES = 0.165, 1.1
_BAND: dict[str, Any] = {"facecolor": LIGHT.series[0], "alpha": 0.12, "lw": 0}


def ranking_figures(rankings: Sequence[Ranking]) -> Iterator[PlannedFigure | LeftOut]:
    """``ranking-<metric>``, with ``-<extractor>`` where one made it."""
    if not rankings:
        yield LeftOut("ranking", "no two checkpoints were compared")
    extractors = slugs(ranking.extractor for ranking in rankings if ranking.extractor)
    used: dict[str, int] = {}
    for ranking in rankings:
        extractor = [extractors[ranking.extractor]] if ranking.extractor else []
        name = "-".join(["ranking", ranking.metric.column, *extractor])
        used[name] = used.get(name, 0) + 1  # of the same metric under other conditions
        yield PlannedFigure(
            name if used[name] == 1 else f"{name}-{used[name]}",
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
