"""Rankings as tables of the page, each line with a dot and two intervals on a common scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.report.charts.chart import Axis, round_ticks, value_axis
from vae_batch.report.charts.ranking import RankedLine, Ranking, ranking_names
from vae_batch.report.labels import interval_decimals, number, p_value, with_interval
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.storage.comparison_file import Difference

_VERDICTS = {"level": "not distinguishable"}

Ends = tuple[float, float]


@dataclass(frozen=True)
class ShownDifference:
    """A difference in words, and as numbers: value, ends of its interval and p."""

    text: str
    interval: str
    p: str
    numbers: tuple[str, str, str, str]


@dataclass(frozen=True)
class ShownLine:
    """One checkpoint of a ranking in words, and its places in per cent of the scale's width.

    Attributes:
        checkpoint: Which.
        mark: How it stands to the best, or "".
        css: Class of its row.
        value: Its score.
        interval: The score's own 95 % interval, or "".
        numbers: The score and both ends of its interval, to all digits.
        from_best: Difference from the best, or None for the best.
        previous: Id of the previous checkpoint of its run, or "".
        from_previous: Difference from that, or None.
        verdict: Whether it is better or worse than that, or "".
        dot: Place of its score.
        own: Ends of the score's own interval.
        paired: Ends of the difference's interval, about the best's own score.
    """

    checkpoint: PageCheckpoint
    mark: str
    css: str
    value: str
    interval: str
    numbers: tuple[str, str, str]
    from_best: ShownDifference | None
    previous: str
    from_previous: ShownDifference | None
    verdict: str
    dot: float
    own: Ends | None
    paired: Ends | None


@dataclass(frozen=True)
class ShownPart:
    """Lines on a common scale, with its ticks and the place of the best."""

    lines: tuple[ShownLine, ...]
    ticks: tuple[tuple[float, str], ...]
    best: float


@dataclass(frozen=True)
class ShownRanking:
    """A ranking as the page shows it.

    Attributes:
        content: The ranking.
        name: Of its figure's files.
        parts: Its first lines, and the others.
        unranked: Checkpoints that have no place in it.
    """

    content: Ranking
    name: str
    parts: tuple[ShownPart, ...]
    unranked: int

    @property
    def has_previous(self) -> bool:
        """Whether some checkpoint was compared with the previous one of its run."""
        return any(line.verdict for line in self.content.lines)


def shown_rankings(
    rankings: Sequence[Ranking], checkpoints: Mapping[str, PageCheckpoint]
) -> list[ShownRanking]:
    """Rankings as the page shows them; checkpoints that the page does not know are left out."""
    shown = []
    for ranking, name in zip(rankings, ranking_names(rankings), strict=True):
        parts = [
            [line for line in lines if line.checkpoint in checkpoints]
            for lines in (ranking.shown, ranking.others)
        ]
        places = _places(ranking)
        placed = [_part(lines, ranking.best.value, places, checkpoints) for lines in parts if lines]
        if placed:
            unranked = len(checkpoints) - sum(map(len, parts))
            shown.append(ShownRanking(ranking, name, tuple(placed), unranked))
    return shown


@dataclass(frozen=True)
class _Places:
    """Decimals of each column."""

    score: int
    from_best: int
    from_previous: int


def _places(ranking: Ranking) -> _Places:
    def of(differences: Iterable[Difference | None]) -> int:
        return interval_decimals((d.value, d.low, d.high) for d in differences if d)

    scores = ((line.value, *(line.interval or (line.value,) * 2)) for line in ranking.lines)
    return _Places(
        interval_decimals(scores),
        of(line.from_best for line in ranking.lines),
        of(line.from_previous for line in ranking.lines),
    )


def _part(
    lines: Sequence[RankedLine],
    best: float,
    places: _Places,
    checkpoints: Mapping[str, PageCheckpoint],
) -> ShownPart:
    intervals = [i for line in lines for i in (line.interval, _paired(line, best)) if i]
    ends = [end for interval in intervals for end in interval]
    scale = value_axis("", [best, *(line.value for line in lines), *ends], 0.03)
    ticks = [(_percent(scale, v), text) for v, text in round_ticks(scale.low, scale.high, 7)]
    shown = [_line(line, best, scale, places, checkpoints) for line in lines]
    return ShownPart(tuple(shown), tuple(ticks), _percent(scale, best))


def _paired(line: RankedLine, best: float) -> Ends | None:
    difference = line.from_best
    return None if difference is None else (best + difference.low, best + difference.high)


def _line(
    line: RankedLine,
    best: float,
    scale: Axis,
    places: _Places,
    checkpoints: Mapping[str, PageCheckpoint],
) -> ShownLine:
    previous, own = checkpoints.get(line.previous or ""), line.interval or (None, None)
    value, interval = number(line.value, places.score), ""
    if line.interval is not None:
        value, interval = with_interval(line.value, *line.interval, places=places.score)
    level = "not distinguishable from the best" if line.is_level else ""
    return ShownLine(
        checkpoint=checkpoints[line.checkpoint],
        mark="best" if line.is_best else level,
        css="best" if line.is_best else "level" if line.is_level else "",
        value=value,
        interval=interval,
        numbers=(exact(line.value), exact(own[0]), exact(own[1])),
        from_best=_difference(line.from_best, places.from_best),
        previous=previous.anchor if previous else "",
        from_previous=_difference(line.from_previous, places.from_previous),
        verdict=_VERDICTS.get(line.verdict, line.verdict),
        dot=_percent(scale, line.value),
        own=_ends(scale, line.interval),
        paired=_ends(scale, _paired(line, best)),
    )


def _ends(scale: Axis, interval: Ends | None) -> Ends | None:
    if interval is None:
        return None
    return _percent(scale, interval[0]), _percent(scale, interval[1])


def _percent(scale: Axis, value: float) -> float:
    return round(100 * scale.fraction(value), 2)


def _difference(difference: Difference | None, places: int) -> ShownDifference | None:
    if difference is None:
        return None
    value, low, high = difference.value, difference.low, difference.high
    text, interval = with_interval(value, low, high, "+", places)
    return ShownDifference(
        text=text,
        interval=interval,
        p=p_value(difference.p),
        numbers=(exact(value), exact(low), exact(high), exact(difference.p)),
    )


def exact(value: float | None) -> str:
    """A number to eight digits, for sorting and CSV, or "" where there is none."""
    return "" if value is None else f"{value:.8g}"
