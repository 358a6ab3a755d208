"""Rankings: each checkpoint's score and its paired difference from the best, on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.charts.chart import Axis, round_ticks, value_axis
from vae_batch.report.charts.curves import Z95
from vae_batch.report.comparison_view import Compared, compared_groups, compared_title, level_mark
from vae_batch.report.labels import p_value, significant, with_interval
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.report.score_rows import ScoreRow
from vae_batch.run.compare.selection import Selection

_MOST_SHOWN = 12


@dataclass(frozen=True)
class Difference:
    """A paired difference in words, and as numbers for the comparison of two."""

    text: str
    interval: str
    p: str
    numbers: str


@dataclass(frozen=True)
class Bar:
    """Where a line's dot and whiskers lie, in per cent of the width of the scale."""

    dot: float
    own: tuple[float, float] | None
    paired: tuple[float, float] | None


@dataclass(frozen=True)
class RankedLine:
    """One checkpoint of a ranking.

    Attributes:
        checkpoint: which.
        mark: "best", "level with best" or "".
        value: its score.
        interval: the score's own 95 % interval, or "".
        from_best: difference from the best, or None for the best.
        previous: id of the checkpoint before it in its folder, or "".
        from_previous: difference from that, or None.
        verdict: better, worse or level, against the one before it.
        bar: its dot and whiskers.
    """

    checkpoint: PageCheckpoint
    mark: str
    value: str
    interval: str
    from_best: Difference | None
    previous: str
    from_previous: Difference | None
    verdict: str
    bar: Bar


@dataclass(frozen=True)
class RankedPart:
    """Lines that share a scale, with its ticks and the place of the best."""

    lines: tuple[RankedLine, ...]
    ticks: tuple[tuple[float, str], ...]
    best: float


@dataclass(frozen=True)
class Ranking:
    """All checkpoints compared by one metric under one extractor, best first.

    Attributes:
        title: metric and extractor.
        metric: of the catalogue.
        count: images that it was compared on.
        parts: the first lines, and the others on a scale of their own.
        unranked: checkpoints without a place, such as failed ones.
    """

    title: str
    metric: Metric
    count: str
    parts: tuple[RankedPart, ...]
    unranked: int

    @property
    def ordered(self) -> bool:
        """Whether some checkpoint was compared with the one before it in its folder."""
        return any(line.verdict for part in self.parts for line in part.lines)


def rankings(
    comparisons: Sequence[Compared],
    selection: Selection | None,
    rows: Sequence[ScoreRow],
    checkpoints: Mapping[str, PageCheckpoint],
) -> list[Ranking]:
    """One for each metric, extractor and set of comparable rows; the selected one first."""
    groups = compared_groups(comparisons)
    if selection is not None:
        wanted = (selection.metric, selection.extractor, selection.best)
        groups.sort(key=lambda group: _key(group[0]) != wanted)
    known = [tuple(row for row in group if row["checkpoint"] in checkpoints) for group in groups]
    return [_ranking(group, rows, checkpoints) for group in known if group]


def _key(row: Compared) -> tuple[object, ...]:
    return row["metric"], row["extractor"], row["best"]


def _ranking(
    group: Sequence[Compared], rows: Sequence[ScoreRow], checkpoints: Mapping[str, PageCheckpoint]
) -> Ranking:
    own = {row["checkpoint"]: _own_interval(row, rows) for row in group}
    first = max(_MOST_SHOWN, sum(row["level_with_best"] for row in group))
    parts = [part for part in (group[:first], group[first:]) if part]
    best = next(row["value"] for row in group if row["is_best"])
    return Ranking(
        title=compared_title(group[0]),
        metric=METRICS[group[0]["metric"]],
        count=f"{group[0]['n']:,}",
        parts=tuple(_part(part, best, own, checkpoints) for part in parts),
        unranked=len(checkpoints) - len(group),
    )


_Interval = tuple[float, float] | None


def _part(
    lines: Sequence[Compared],
    best: float,
    own: Mapping[str, _Interval],
    checkpoints: Mapping[str, PageCheckpoint],
) -> RankedPart:
    paired = {row["checkpoint"]: _paired_interval(row, best) for row in lines}
    intervals = [i for row in lines for i in (own[row["checkpoint"]], paired[row["checkpoint"]])]
    ends = [end for interval in intervals if interval is not None for end in interval]
    scale = value_axis("", [best, *(row["value"] for row in lines), *ends], 0.03)
    shown = [
        _line(row, scale, own[row["checkpoint"]], paired[row["checkpoint"]], checkpoints)
        for row in lines
    ]
    ticks = [(_percent(scale, v), text) for v, text in round_ticks(scale.low, scale.high, 7)]
    return RankedPart(tuple(shown), tuple(ticks), _percent(scale, best))


def _percent(scale: Axis, value: float) -> float:
    return round(100 * scale.fraction(value), 2)


def _line(
    row: Compared,
    scale: Axis,
    own: _Interval,
    paired: _Interval,
    checkpoints: Mapping[str, PageCheckpoint],
) -> RankedLine:
    previous = checkpoints.get(row["previous"] or "")
    value, interval = significant(row["value"]), ""
    if own is not None:
        value, interval = with_interval(row["value"], *own)
    return RankedLine(
        checkpoint=checkpoints[row["checkpoint"]],
        mark=level_mark(row),
        value=value,
        interval=interval,
        from_best=_difference(row, "from_best"),
        previous=previous.anchor if previous else "",
        from_previous=_difference(row, "from_previous"),
        verdict=row["verdict"] or "",
        bar=Bar(_percent(scale, row["value"]), _placed(own, scale), _placed(paired, scale)),
    )


def _placed(interval: _Interval, scale: Axis) -> _Interval:
    if interval is None:
        return None
    return _percent(scale, interval[0]), _percent(scale, interval[1])


def _paired_interval(row: Compared, best: float) -> _Interval:
    """The interval of the difference from the best, about the best's own score."""
    if row["from_best_low"] is None:
        return None
    return best + row["from_best_low"], best + row["from_best_high"]


def _own_interval(compared: Compared, rows: Iterable[ScoreRow]) -> _Interval:
    """The score's own interval, from its standard error in the score table."""
    for row in rows:
        same = compared["extractor"] in (None, row.conditions.extractor)
        if row.checkpoint == compared["checkpoint"] and same and row.failure is None:
            error = row.standard_error(METRICS[compared["metric"]])
            value = compared["value"]
            return None if error is None else (value - Z95 * error, value + Z95 * error)
    return None


def _difference(row: Compared, name: str) -> Difference | None:
    if row[name] is None:
        return None
    low, high, p = row[f"{name}_low"], row[f"{name}_high"], row[f"{name}_p"]
    text, interval = with_interval(row[name], low, high, sign="+")
    return Difference(
        text=text,
        interval=interval,
        p=p_value(p),
        numbers=" ".join("" if v is None else f"{v:.8g}" for v in (row[name], low, high, p)),
    )
