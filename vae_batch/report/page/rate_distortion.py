"""The rate-distortion plane: KL against reconstruction NLL, with lines of equal ELBO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vae_batch.report.curves import runs_of
from vae_batch.report.labels import significant
from vae_batch.report.page.charts import Chart, Scale, look, marker_path, px, spanning
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.report.score_rows import ScoreRow

_WIDTH, _HEIGHT = 580, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 530, 24, 352
_LETTER, _BOLD_LETTER, _LINE = 6.6, 7.6, 13.0  # room that letters and lines of labels take
_MOST_RUNS = 7
_MANY = 25
_REACH = 10.0  # of a point's answer, to each side


_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Plane:
    """The plane of the checkpoints of one likelihood family.

    Attributes:
        family: the likelihood's name, or "".
        chart: the drawing.
        best: the checkpoint with the highest ELBO.
        elbo: that ELBO.
        runs: class and name of each run's line, where there are several.
    """

    family: str
    chart: Chart
    best: PageCheckpoint
    elbo: str
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Point:
    checkpoint: PageCheckpoint
    run: str
    step: int | None
    rate: float
    distortion: float

    @property
    def elbo(self) -> float:
        return -self.rate - self.distortion


def planes(rows: Sequence[ScoreRow], checkpoints: Mapping[str, PageCheckpoint]) -> list[Plane]:
    """One plane for each likelihood family of which two checkpoints have both coordinates.

    Distortions of different families have different units in all but name.
    """
    families: dict[str, dict[str, _Point]] = {}
    runs = runs_of(rows)
    for row in rows:
        rate, distortion = row.value("kl"), row.value("reconstruction_nll")
        if row.failure is None and rate is not None and distortion is not None:
            named, run = checkpoints[row.checkpoint], runs[row.checkpoint]
            point = _Point(named, run, row.step, rate, distortion)
            families.setdefault(row.text("likelihood") or "", {})[row.checkpoint] = point
    return [
        _plane(family, list(points.values()))
        for family, points in families.items()
        if len(points) > 1
    ]


def _plane(family: str, points: Sequence[_Point]) -> Plane:
    x = spanning([p.rate for p in points], _LEFT, _RIGHT, 0.08)
    y = spanning([p.distortion for p in points], _BOTTOM, _TOP, 0.08)
    x = Scale(max(x.low, min(0.0, min(p.rate for p in points))), x.high, x.start, x.stop)
    best = max(points, key=lambda p: p.elbo)
    alt = (
        f"KL against reconstruction NLL of {len(points)} checkpoints; the highest ELBO, "
        f"{best.elbo:.4g}, is that of {best.checkpoint.short}"
    )
    chart = Chart(_WIDTH, _HEIGHT, alt)
    chart.frame(x, y, title="rate: KL to the prior, nats/image")
    chart.say(_LEFT, _TOP - 10, "distortion: reconstruction NLL, nats/image", "tick")
    taken = _equal_elbo(chart, x, y)
    runs = _runs(points)
    for run, css in runs.items():
        _draw_run(chart, [p for p in points if p.run == run], x, y, css)
    chart.mark(marker_path("circle", x(best.rate), y(best.distortion), 9), "ring")
    _label(chart, points, best, x, y, taken)
    for point in points:
        _answer(chart, point, points, x, y)
    named = tuple((css, run.rpartition("/")[2] or run) for run, css in runs.items())
    return Plane(
        family,
        chart,
        best.checkpoint,
        significant(best.elbo, 5),
        named if 1 < len(runs) <= _MOST_RUNS else (),
    )


def _runs(points: Sequence[_Point]) -> dict[str, str]:
    """Classes of the runs' colours; of too many runs all are alike."""
    names = list(dict.fromkeys(point.run for point in points))
    if len(names) > _MOST_RUNS:
        return dict.fromkeys(names, look(0)[0])
    return {name: look(index)[0] for index, name in enumerate(names)}


def _equal_elbo(chart: Chart, x: Scale, y: Scale) -> list[_Box]:
    """Draw lines on which minus the sum of both coordinates is the same; boxes of their labels."""
    boxes = []
    for elbo, text in Scale(-x.high - y.high, -x.low - y.low, 0, 1).labelled(7):
        low = max(x.low, -elbo - y.high)
        high = min(x.high, -elbo - y.low)
        if high - low < 0.08 * (x.high - x.low):
            continue
        ends = [(x(rate), y(-elbo - rate)) for rate in (low, high)]
        path = "L".join(f"{px(a)} {px(b)}" for a, b in ends)
        chart.mark(f"M{path}", "level")
        right, bottom = ends[1]
        if right > _RIGHT - 1:
            chart.say(right + 5, bottom + 4, text, "tick")
        else:
            chart.say(right + 4, bottom - 4, text, "tick")
            boxes.append((right + 4, bottom - 16, _LETTER * len(text), _LINE))
    chart.say(_RIGHT + 5, _TOP - 10, "ELBO", "tick")
    return boxes


def _draw_run(chart: Chart, points: Sequence[_Point], x: Scale, y: Scale, css: str) -> None:
    if all(point.step is not None for point in points) and len(points) > 1:
        ordered = sorted(points, key=lambda p: p.step or 0)
        path = "L".join(f"{px(x(p.rate))} {px(y(p.distortion))}" for p in ordered)
        chart.mark(f"M{path}", f"path {css}")
    size, dense = (2.5, " dense") if len(points) > _MANY else (4.5, "")
    dots = (marker_path("circle", x(p.rate), y(p.distortion), size) for p in points)
    chart.mark("".join(dots), f"dot {css}{dense}")


def _label(
    chart: Chart,
    points: Sequence[_Point],
    best: _Point,
    x: Scale,
    y: Scale,
    taken: Sequence[_Box],
) -> None:
    """Write steps beside points where there is room: of the best, the last and the first first."""
    order = sorted(points, key=lambda p: (p is not best, -(p.step or 0)))
    boxes = [*taken, *(_about(x(p.rate), y(p.distortion), 5) for p in points)]
    boxes.append(_about(x(best.rate), y(best.distortion), 10))
    for point in dict.fromkeys([order[0], order[-1], *order]):
        text = point.checkpoint.short if point.step is None else f"step {point.checkpoint.step}"
        width = (_BOLD_LETTER if point is best else _LETTER) * len(text)
        across, down = x(point.rate), y(point.distortion)
        box = _room(across, down, width, boxes)
        if box is None and point is best:
            box = _room(across, down, width, boxes[-1:])
        if box is not None:
            boxes.append(box)
            chart.say(box[0], box[1] + 11, text, "label best" if point is best else "label")


def _about(x: float, y: float, reach: float) -> _Box:
    return (x - reach, y - reach, 2 * reach, 2 * reach)


def _room(x: float, y: float, width: float, boxes: Sequence[_Box]) -> _Box | None:
    """A free place for a label right, left, above or below a point."""
    places = (
        (x + 12, y - 7),
        (x - 12 - width, y - 7),
        (x - width / 2, y - 25),
        (x - width / 2, y + 12),
    )
    for left, top in places:
        box = (left, top, width, _LINE)
        if left > _LEFT and left + width < _RIGHT and not any(_meet(box, other) for other in boxes):
            return box
    return None


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _answer(chart: Chart, point: _Point, points: Sequence[_Point], x: Scale, y: Scale) -> None:
    """Let a point say what it is, with those that lie under it."""
    across, down = x(point.rate), y(point.distortion)
    near = [
        other
        for other in points
        if max(abs(x(other.rate) - across), abs(y(other.distortion) - down)) < _REACH
    ]
    said = "\n".join(_said(p) for p in [point, *(other for other in near if other is not point)])
    chart.hit(across - _REACH, down - _REACH, 2 * _REACH, 2 * _REACH, said)


def _said(point: _Point) -> str:
    return (
        f"{point.checkpoint.short}: KL {significant(point.rate)}, "
        f"reconstruction NLL {significant(point.distortion)}, ELBO {significant(point.elbo)}"
    )
