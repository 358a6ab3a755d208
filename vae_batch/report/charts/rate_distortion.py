"""The rate-distortion plane: KL against reconstruction NLL, with lines of equal ELBO.

Only checkpoints whose losses are comparable share a plane: those that agree in the conditions of
``elbo`` in the metric table, such as likelihood, sigma, reference images, seed and value range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.charts.chart import (
    Axis,
    Chart,
    Hover,
    Key,
    Label,
    Layer,
    Line,
    Look,
    Points,
    Ring,
    floats,
    json_numbers,
    look_of,
    round_ticks,
    value_axis,
)
from vae_batch.report.charts.curves import runs_of
from vae_batch.report.comparable_rows import (
    Measured,
    finite_value,
    measured_under,
    what_differs,
)
from vae_batch.report.labels import elide, printable, significant, slugs, without_shared_folder
from vae_batch.storage.score_rows import ScoreRow

_COLUMNS = ("kl", "reconstruction_nll", "elbo")
_MANY_POINTS = 25
_MOST_SAID = 5
_NEAR = 0.02  # of an axis: points that lie under each other
_UNIT = "nats/image"


@dataclass(frozen=True, eq=False)
class PlanePoint:
    """One checkpoint in a plane; ``rate`` and ``distortion`` in nats per image."""

    row: ScoreRow
    name: str
    run: str
    rate: float
    distortion: float

    @property
    def elbo(self) -> float:
        """Minus the sum of both, in nats per image."""
        return -(self.rate + self.distortion)

    @property
    def said(self) -> str:
        """The point in words."""
        return printable(
            f"{self.name}: KL {significant(self.rate)}, reconstruction NLL "
            f"{significant(self.distortion)}, ELBO {significant(self.elbo)}"
        )


@dataclass(frozen=True)
class Plane:
    """The checkpoints of one plane, at least two.

    Attributes:
        family: The likelihood and its sigma, and what else differs from other planes.
        points: In table order.
    """

    family: str
    points: tuple[PlanePoint, ...]

    @property
    def best(self) -> PlanePoint:
        """The point of the highest ELBO."""
        return max(self.points, key=lambda point: point.elbo)


def read_planes(rows: Sequence[ScoreRow]) -> list[Plane]:
    """A plane for each set of at least two comparable checkpoints that have both coordinates."""
    groups: dict[Measured, dict[str, PlanePoint]] = {}
    runs = runs_of(rows)
    shorts = dict(zip(runs, without_shared_folder([*runs]), strict=True))
    for row in rows:
        rate, distortion = finite_value(row, "kl"), finite_value(row, "reconstruction_nll")
        if rate is not None and distortion is not None:
            run, name = runs[row.checkpoint], shorts[row.checkpoint]
            point = PlanePoint(row, name, run, rate, distortion)
            # A race drops checkpoints by their samples, on which no loss depends.
            held = measured_under(row, METRICS["elbo"])._replace(left_race_at=None)
            groups.setdefault(held, {}).setdefault(row.checkpoint, point)
    groups = {held: points for held, points in groups.items() if len(points) > 1}
    return [
        Plane(" · ".join([held.family or "", *what_differs(held, groups)]), tuple(points.values()))
        for held, points in groups.items()
    ]


def plane_names(planes: Sequence[Plane]) -> list[str]:
    """Names of the planes' files; where there are several, their conditions end the name."""
    names = slugs(plane.family for plane in planes)
    several = len(planes) > 1
    return [
        f"rate-distortion-{names[plane.family]}" if several else "rate-distortion"
        for plane in planes
    ]


def plane_chart(plane: Plane) -> Chart:
    """The chart of a plane."""
    x = _axis(f"rate: KL to the prior ({_UNIT})", [p.rate for p in plane.points])
    y = _axis(f"distortion: reconstruction NLL ({_UNIT})", [p.distortion for p in plane.points])
    best, runs = plane.best, _runs(plane.points)
    shorts = without_shared_folder([*runs])
    looks = [look_of(index) for index in range(len(runs))]
    layers: list[Layer] = [*_equal_elbo(x, y)]
    for members, look in zip(runs.values(), looks, strict=True):
        rates = floats([point.rate for point in members])
        distortions = floats([point.distortion for point in members])
        if all(point.row.step is not None for point in members):
            layers.append(Line(rates, distortions, look, "thin"))
        layers.append(Points(rates, distortions, look, len(plane.points) > _MANY_POINTS))
    layers.append(Ring(best.rate, best.distortion))
    keys = [
        Key(printable(elide(run, 40)), "line", look)
        for run, look in zip(shorts, looks, strict=True)
        if len(runs) > 1 and look.marker is not None
    ]
    return Chart(
        title="Rate and distortion",
        subtitle=printable(plane.family),
        x=x,
        y=y,
        layers=tuple(layers),
        alt=printable(
            f"KL against reconstruction NLL of {len(plane.points)} checkpoints; the highest ELBO, "
            f"{best.elbo:.4g}, is that of {best.name}"
        ),
        keys=(*keys, Key("highest ELBO", "ring"), Key("equal ELBO", "level", Look("faint"))),
        labels=tuple(_labels(plane, runs.values())),
        hovers=tuple(_hovers(plane.points, x, y)),
    )


def _axis(title: str, values: Sequence[float]) -> Axis:
    axis = value_axis(title, values, 0.1)
    low = max(axis.low, -0.04 * axis.high) if min(values) >= 0 else axis.low
    return Axis(title, low, axis.high, round_ticks(low, axis.high))


def _runs(points: Sequence[PlanePoint]) -> dict[str, list[PlanePoint]]:
    """Points by their run, in the order of their steps."""
    runs: dict[str, list[PlanePoint]] = {}
    for point in points:
        runs.setdefault(point.run, []).append(point)
    return {run: sorted(p, key=lambda point: point.row.step or 0) for run, p in runs.items()}


def _equal_elbo(x: Axis, y: Axis) -> Iterator[Line]:
    """Lines on which minus the sum of rate and distortion is the same, from edge to edge."""
    for elbo, text in round_ticks(-x.high - y.high, -x.low - y.low, 7):
        left = max(x.low, -elbo - y.high)
        right = min(x.high, -elbo - y.low)
        if right <= left:
            continue
        ends = floats([left, right])
        yield Line(ends, -elbo - ends, Look("faint"), "level", text)


def _labels(plane: Plane, runs: Iterable[Sequence[PlanePoint]]) -> Iterator[Label]:
    """Steps beside points: of the best, of the ends of each run, and of the others if few."""
    first = [plane.best, *(point for members in runs for point in (members[-1], members[0]))]
    for point in dict.fromkeys([*first, *plane.points]):
        step = point.row.step
        text = elide(point.name, 20) if step is None else f"step {step:,}"
        if point not in first and len(plane.points) > _MANY_POINTS:
            text = ""
        yield Label(point.rate, point.distortion, printable(text), point is plane.best)


def _hovers(points: Sequence[PlanePoint], x: Axis, y: Axis) -> Iterator[Hover]:
    """Every point says what it is, with the first of those that lie under it."""
    places = floats([(x.fraction(p.rate), y.fraction(p.distortion)) for p in points])
    for index, point in enumerate(points):
        near = np.abs(places - places[index]).max(axis=1) < _NEAR
        others = [points[other] for other in np.flatnonzero(near).tolist() if other != index]
        said = [p.said for p in [point, *others[:_MOST_SAID]]]
        said += [f"and {len(others) - _MOST_SAID} more"] if len(others) > _MOST_SAID else []
        yield Hover(point.rate, point.rate, "\n".join(said), point.distortion)


def plane_values(plane: Plane) -> dict[str, Any]:
    """The numbers of a plane for the JSON file beside its figure."""
    points = plane.points
    return {
        "kind": "rate-distortion",
        "likelihood": plane.family,
        "source": "scores.parquet",
        "x": {"label": "KL to the prior (rate)", "column": "kl", "unit": _UNIT},
        "y": {
            "label": "Reconstruction NLL (distortion)",
            "column": "reconstruction_nll",
            "unit": _UNIT,
        },
        "lines": "equal ELBO, which is minus the sum of rate and distortion",
        "checkpoints": [point.row.checkpoint for point in points],
        "steps": [point.row.step for point in points],
        "runs": [point.run for point in points],
        **{name: json_numbers(p.row.value(name) for p in points) for name in _COLUMNS},
        **{f"{name}_se": json_numbers(_error(p, name) for p in points) for name in _COLUMNS},
    }


def _error(point: PlanePoint, column: str) -> float | None:
    return point.row.score(column).standard_error
