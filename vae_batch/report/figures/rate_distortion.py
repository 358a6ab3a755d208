"""The rate-distortion plane: KL against reconstruction NLL, with lines of equal ELBO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vae_batch.report.colours import LIGHT
from vae_batch.report.curves import runs_of
from vae_batch.report.figures.curve_figures import Look, look_of
from vae_batch.report.figures.figure import LeftOut, PlannedFigure, numbers, vector
from vae_batch.report.figures.label_places import place_labels
from vae_batch.report.figures.layout import fit_axes
from vae_batch.report.figures.printing import SINGLE_COLUMN, plain, tick_number
from vae_batch.report.labels import elide, slugs, without_shared_folder
from vae_batch.report.score_rows import ScoreRow, read_rows

_SIZE = (SINGLE_COLUMN, 3.3)
_MOST_LINES = 7


@dataclass(frozen=True)
class _Point:
    """One checkpoint in the plane."""

    checkpoint: str
    run: str
    step: int | None
    rate: float
    distortion: float
    fields: Mapping[str, float | None] = field(hash=False)

    @property
    def elbo(self) -> float:
        """Nats an image."""
        return -(self.rate + self.distortion)


def rate_distortion(scores: pd.DataFrame) -> Iterator[PlannedFigure | LeftOut]:
    """`rate-distortion`; one for each likelihood, which ends its name, where there are several."""
    groups: dict[str, list[_Point]] = {}
    rows = read_rows(scores)
    runs = runs_of(rows)
    for row in rows:
        point = _point(row, runs[row.checkpoint])
        group = groups.setdefault(_family(row), []) if point else []
        if point and point.checkpoint not in {other.checkpoint for other in group}:
            group.append(point)
    if not groups:
        yield LeftOut("rate-distortion", "no checkpoint has both KL and reconstruction NLL")
    names = slugs(groups)
    for family, points in groups.items():
        name = f"rate-distortion-{names[family]}" if len(groups) > 1 else "rate-distortion"
        yield PlannedFigure(
            name,
            "KL to the prior against reconstruction NLL",
            _values(family, points),
            vector(partial(_build, family, points)),
        )


def _family(row: ScoreRow) -> str:
    """What two points must share to lie in one plane: their likelihood and what it looked at."""
    sigma = row.text("sigma")
    likelihood = row.text("likelihood") or "likelihood unknown"
    return f"{likelihood}, sigma {sigma}" if sigma else likelihood


def _point(row: ScoreRow, run: str) -> _Point | None:
    columns = ("kl", "reconstruction_nll", "kl_se", "reconstruction_nll_se", "elbo", "elbo_se")
    fields = {name: row.value(name) for name in columns}
    rate, distortion = fields["kl"], fields["reconstruction_nll"]
    if (
        row.failure
        or rate is None
        or distortion is None
        or not np.isfinite([rate, distortion]).all()
    ):
        return None
    return _Point(row.checkpoint, run, row.step, rate, distortion, fields)


def _values(family: str, points: Sequence[_Point]) -> dict[str, Any]:
    return {
        "kind": "rate-distortion",
        "likelihood": family,
        "source": "scores.parquet",
        "x": {"label": "KL to the prior (rate)", "column": "kl", "unit": "nats/image"},
        "y": {
            "label": "Reconstruction NLL (distortion)",
            "column": "reconstruction_nll",
            "unit": "nats/image",
        },
        "lines": "equal ELBO, which is minus the sum of rate and distortion",
        "checkpoints": [point.checkpoint for point in points],
        "steps": [point.step for point in points],
        "runs": [point.run for point in points],
        **{name: numbers(p.fields[name] for p in points) for name in points[0].fields},
    }


def _build(family: str, points: Sequence[_Point]) -> Figure:
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    runs = _runs(points)
    looks = {run: look_of(index) for index, run in enumerate(runs)}
    for run, members in runs.items():
        x, y = [p.rate for p in members], [p.distortion for p in members]
        axes.plot(x, y, **{**looks[run], "linewidth": 0.9})
    best = max(points, key=lambda point: point.elbo)
    axes.plot(best.rate, best.distortion, "o", ms=9, mfc="none", mec=LIGHT.text, mew=0.9)
    _frame(axes, points)
    _elbo_lines(axes)
    axes.set_title(f"Rate and distortion, {plain(elide(family, 30))}", pad=10)
    axes.set_xlabel("KL to the prior: rate (nats/image)")
    axes.set_ylabel("reconstruction NLL: distortion (nats/image)")
    _legend(figure, looks)
    fit_axes(figure, [[axes]])
    ends = {p for members in runs.values() for p in (members[0], members[-1])} | {best}
    ordered = sorted(points, key=lambda point: point not in ends)
    place_labels(axes, [(_name(p), p.rate, p.distortion) for p in ordered])
    return figure


def _runs(points: Sequence[_Point]) -> dict[str, list[_Point]]:
    """Points by their run's short name, in the order of their steps."""
    names = dict.fromkeys(point.run for point in points)
    shorts = dict(zip(names, without_shared_folder([*names]), strict=True))
    runs: dict[str, list[_Point]] = {shorts[name]: [] for name in names}
    for point in points:
        runs[shorts[point.run]].append(point)
    return {run: sorted(p, key=lambda point: point.step or 0) for run, p in runs.items()}


def _name(point: _Point) -> str:
    if point.step is not None:
        return f"{point.step:,}"
    return elide(point.checkpoint.rpartition("/")[2], 16)


def _frame(axes: Axes, points: Sequence[_Point]) -> None:
    """Limits with room around the points; a lone point gets a frame, too."""
    for values, limit in (
        ([p.rate for p in points], axes.set_xlim),
        ([p.distortion for p in points], axes.set_ylim),
    ):
        low, high = min(values), max(values)
        room = 0.12 * (high - low) or 0.1 * max(abs(high), 1.0)
        limit(max(low - room, -room / 2) if low >= 0 else low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 2.5, 5, 10)))


def _elbo_lines(axes: Axes) -> None:
    """Lines on which rate and distortion have one sum, named where they leave the frame."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    locator = MaxNLocator(_MOST_LINES, steps=(1, 2, 2.5, 5, 10))
    for level in locator.tick_values(left + bottom, right + top):
        axes.plot([left, right], [level - left, level - right], color=LIGHT.faint, **_THIN)
        named = {"textcoords": "offset points", "color": LIGHT.faint, "size": 6}
        text = tick_number(-level)
        if bottom <= level - right <= top:
            axes.annotate(text, (right, level - right), (2, 0), va="center", **named)
        elif left <= level - top <= right:
            axes.annotate(text, (level - top, top), (0, 2), ha="center", **named)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


_THIN: dict[str, Any] = {"lw": 0.5, "ls": "--", "zorder": 1}


def _legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    entries = {plain(elide(run, 40)): Line2D([], [], **look) for run, look in looks.items()}
    entries = entries if len(looks) > 1 else {}
    entries["best ELBO"] = Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=LIGHT.text)
    entries["equal ELBO"] = Line2D([], [], color=LIGHT.faint, lw=0.7, ls="--")
    columns = 3 if max(map(len, entries)) < 20 else 1
    figure.legend([*entries.values()], [*entries], loc="lower left", ncols=columns)
