"""Rankings: every checkpoint's paired difference from the best, with its interval."""

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
from numpy.typing import NDArray

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS
from vae_batch.report.charts.chart import json_numbers
from vae_batch.report.colours import LIGHT
from vae_batch.report.figures.chart_figures import lay_out
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, vector
from vae_batch.report.figures.printing import SINGLE_COLUMN, plain
from vae_batch.report.labels import decimals_of, elide, number, slugs, without_shared_folder

Row = Mapping[str, Any]

_MOST_ROWS = 24
_ROW_INCHES = 0.165
_FRAME_INCHES = 1.0
#: The metric that is selected by always has a ranking, and so have these.
_USUAL = DEFAULT_CHOICE[:3]
_LINE_ENDS = ("from_best", "from_best_low", "from_best_high", "from_best_p")


def rankings(comparisons: Sequence[Row], selected: str | None) -> Iterator[PlannedFigure | LeftOut]:
    """`ranking-<metric>`, with `-<extractor>` where one made it, best checkpoint on top."""
    groups: dict[tuple[str, str | None], list[list[Row]]] = {}
    for rows in _groups(comparisons):
        if len(rows) > 1 and rows[0]["metric"] in {*_USUAL, selected}:
            groups.setdefault((rows[0]["metric"], rows[0]["extractor"]), []).append(rows)
    if not groups:
        yield LeftOut("ranking", "no two checkpoints were compared")
    extractors = slugs(extractor for _, extractor in groups if extractor)
    for (metric, extractor), alternatives in groups.items():
        name = "-".join(["ranking", metric, *([extractors[extractor]] if extractor else [])])
        for place, rows in enumerate(alternatives, start=1):
            yield _figure(name if place == 1 else f"{name}-{place}", rows)


def _groups(comparisons: Sequence[Row]) -> list[list[Row]]:
    """Rows that were compared with each other, best first; only those with a value."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in comparisons:
        if row["value"] is not None and row["value"] == row["value"]:
            groups.setdefault((row["metric"], row["extractor"], row["best"]), []).append(row)
    return [_sorted(rows) for rows in groups.values()]


def _sorted(rows: Sequence[Row]) -> list[Row]:
    sign = -1 if METRICS[rows[0]["metric"]].direction == "higher" else 1
    return sorted(rows, key=lambda row: (not row["is_best"], sign * row["value"]))


def _figure(name: str, rows: Sequence[Row]) -> PlannedFigure:
    metric = METRICS[rows[0]["metric"]]
    labels = [str(row["checkpoint"]) for row in rows]
    shorts = dict(zip(labels, without_shared_folder(labels), strict=True))
    shown = rows[:_MOST_ROWS]
    values = {
        "kind": "ranking",
        "metric": metric.column,
        "extractor": rows[0]["extractor"],
        "n": rows[0]["n"],
        "unit": metric.unit,
        "direction": metric.direction,
        "source": "comparisons.parquet",
        "band": "95 % interval of the paired difference from the best, not adjusted",
        "checkpoints": [str(row["checkpoint"]) for row in shown],
        "values": json_numbers(row["value"] for row in shown),
        **{end: json_numbers(row[end] for row in shown) for end in _LINE_ENDS},
        "is_best": [bool(row["is_best"]) for row in shown],
        "level_with_best": [bool(row["level_with_best"]) for row in shown],
        "not_drawn": [str(row["checkpoint"]) for row in rows[_MOST_ROWS:]],
    }
    names = [shorts[str(row["checkpoint"])] for row in shown]
    title = f"Checkpoints by {metric.title}, differences from the best"
    return PlannedFigure(name, title, values, vector(partial(_build, rows, names)))


def _build(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    shown = rows[: len(names)]
    inches = _FRAME_INCHES + _ROW_INCHES * len(shown)
    figure = Figure(figsize=(SINGLE_COLUMN, inches), layout="constrained")
    axes = figure.add_subplot()
    axes.use_sticky_edges = False  # those of the band would take the margin left of the best
    _draw_rows(axes, shown)
    axes.axvline(0.0, color=LIGHT.faint, lw=0.6, zorder=1)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks(range(len(shown)), [plain(elide(name, 22)) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 2.5, 5, 10)))
    _words(axes, rows, len(rows) - len(shown))
    _legend(figure)
    lay_out(figure)
    return figure


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    """Dots at the differences with their intervals; a band behind what is level with the best."""
    places = np.arange(len(rows))
    level = np.array([bool(row["level_with_best"]) for row in rows])
    best = np.array([bool(row["is_best"]) for row in rows])
    difference, low, high = (_column(rows, f"from_best{end}") for end in ("", "_low", "_high"))
    difference = np.where(best, 0.0, difference)
    colours = np.where(level, LIGHT.series[0], LIGHT.text)
    across = {"transform": axes.get_yaxis_transform(), "height": 1.0, "zorder": 0}
    axes.barh(places[level], np.ones(level.sum()), **across, **_BAND)
    known = np.isfinite(low) & np.isfinite(high)
    axes.hlines(places[known], low[known], high[known], color=colours[known], lw=1.2)
    for members, marker, face in (
        (best, "D", LIGHT.series[0]),
        (level & ~best, "o", LIGHT.series[0]),
        (~level & ~best, "o", LIGHT.background),
    ):
        edge = LIGHT.series[0] if face != LIGHT.background else LIGHT.text
        look = {"color": edge, "mfc": face, "ms": 4, "mew": 1.0}
        axes.plot(difference[members], places[members], marker, **look)
    decimals = decimals_of(row["value"] for row in rows)
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "size": 7}
    for place, row in enumerate(rows):
        text = number(row["value"], decimals)
        axes.annotate(text, (1, place), (34, 0), va="center", ha="right", **beside)


def _column(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)


_BAND: dict[str, Any] = {"facecolor": LIGHT.series[0], "alpha": 0.12, "lw": 0}


def _words(axes: Axes, rows: Sequence[Row], left_out: int) -> None:
    metric, extractor = METRICS[rows[0]["metric"]], rows[0]["extractor"]
    conditions = [str(extractor)] if extractor else []
    conditions += [f"n = {rows[0]['n']:,}"] if rows[0]["n"] else []
    axes.set_title(metric.title, pad=14)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "size": "small"}
    faint = {"color": LIGHT.faint, **above}
    axes.annotate(plain(elide(" · ".join(conditions), 40)), (0, 1), (0, 4), **faint)
    axes.annotate("value", (1, 1), (34, 4), ha="right", **faint)
    unit = f" ({metric.unit})" if metric.unit else ""
    left = f"\n{left_out} more are not drawn" if left_out else ""
    axes.set_xlabel(f"paired difference from the best{unit}{left}")


def _legend(figure: Figure) -> None:
    text = LIGHT.text
    entries: dict[str, Artist] = {
        "best": Line2D([], [], ls="", marker="D", ms=4, color=LIGHT.series[0]),
        "95 % interval": Line2D([], [], color=text, lw=1.2, marker="o", ms=4, mfc="white"),
        "level with the best": Patch(**_BAND),
    }
    figure.legend([*entries.values()], [*entries], loc="outside lower left", ncols=3)
