"""Rankings: checkpoints by one metric, best first, with paired differences from the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import METRICS, Metric, compared_column
from vae_batch.report.charts.chart import json_numbers
from vae_batch.report.charts.curves import own_interval
from vae_batch.report.labels import printable, slugs
from vae_batch.run.compare.best_checkpoint import Selection
from vae_batch.storage.comparison_file import Comparison, Difference
from vae_batch.storage.score_rows import ScoreRow

#: Checkpoints of a ranking that are shown first, besides all not distinguishable from the best.
_MOST_SHOWN = 24


@dataclass(frozen=True)
class RankedLine:
    """One checkpoint of a ranking.

    Attributes:
        checkpoint: Its label.
        value: Its score.
        interval: The 95 % interval of the score itself, or None.
        is_best: Whether it is the best.
        is_level: Whether it is not distinguishable from the best, which the best itself is not.
        from_best: Its difference from the best; None for the best.
        previous: The checkpoint before it in its run, or None.
        from_previous: Its difference from that, or None.
        verdict: "better", "worse" or "level" against the checkpoint before it, or "".
    """

    checkpoint: str
    value: float
    interval: tuple[float, float] | None
    is_best: bool
    is_level: bool
    from_best: Difference | None
    previous: str | None
    from_previous: Difference | None
    verdict: str


@dataclass(frozen=True)
class Ranking:
    """At least two checkpoints that were compared by one metric under one extractor.

    Attributes:
        metric: Of the catalogue.
        extractor: That the metric depends on; None where it depends on none.
        n: Images that each was compared on.
        lines: Best first.
    """

    metric: Metric
    extractor: str | None
    n: int
    lines: tuple[RankedLine, ...]

    @property
    def best(self) -> RankedLine:
        """The first line."""
        return self.lines[0]

    @property
    def title(self) -> str:
        """The metric and its extractor."""
        return compared_title(self.metric.column, self.extractor)

    @property
    def shown(self) -> tuple[RankedLine, ...]:
        """The first lines, with all that are not distinguishable from the best."""
        level = sum(line.is_best or line.is_level for line in self.lines)
        return self.lines[: max(_MOST_SHOWN, level)]

    @property
    def others(self) -> tuple[RankedLine, ...]:
        """The other lines, which would need another scale."""
        return self.lines[len(self.shown) :]


def compared_title(metric: str, extractor: str | None) -> str:
    """What checkpoints are compared by: the metric and its extractor."""
    title = METRICS[compared_column(metric)].title
    return f"{title} ({printable(extractor)})" if extractor else title


def read_rankings(
    comparisons: Sequence[Comparison],
    rows: Iterable[ScoreRow] = (),
    selection: Selection | None = None,
) -> list[Ranking]:
    """One ranking for each metric, extractor and set of comparable checkpoints.

    Args:
        comparisons: Of the table of comparisons; those without a finite value have no place.
        rows: Of the score table, for the scores' own intervals.
        selection: The ranking by its first metric comes first.
    """
    groups: dict[tuple[str, str | None, str], list[Comparison]] = {}
    for each in comparisons:
        if math.isfinite(each.value):
            groups.setdefault(each.group, []).append(each)
    own = _own_intervals(rows)
    found = {key: _ranking(group, own) for key, group in groups.items() if len(group) > 1}
    if selection is None:
        return [*found.values()]
    first = selection.steps[0]
    wanted = (first.metric, first.extractor, first.leader)
    return [found[key] for key in sorted(found, key=lambda key: key != wanted)]


def ranking_names(rankings: Sequence[Ranking]) -> list[str]:
    """Names of the rankings' files: ``ranking-<metric>``, with ``-<extractor>`` where one made it.

    Rankings of the same metric under other conditions are numbered.
    """
    extractors = slugs(ranking.extractor for ranking in rankings if ranking.extractor)
    names: list[str] = []
    used: Counter[str] = Counter()
    for ranking in rankings:
        extractor = [extractors[ranking.extractor]] if ranking.extractor else []
        name = "-".join(["ranking", ranking.metric.column, *extractor])
        used[name] += 1
        names.append(name if used[name] == 1 else f"{name}-{used[name]}")
    return names


#: Intervals of scores by checkpoint, extractor and metric.
_Intervals = Mapping[tuple[str, str | None, str], tuple[float, float]]


def _own_intervals(rows: Iterable[ScoreRow]) -> _Intervals:
    """Every score's own 95 % interval, where it has one."""
    found: dict[tuple[str, str | None, str], tuple[float, float]] = {}
    for row in rows:
        for column in row.scores:
            extractor = row.conditions.extractor if METRICS[column].per_extractor else None
            ends = own_interval(row, METRICS[column])
            if not math.isnan(sum(ends)):
                found.setdefault((row.checkpoint, extractor, column), ends)
    return found


def _ranking(group: Sequence[Comparison], own: _Intervals) -> Ranking:
    first = group[0]
    metric = METRICS[first.metric]
    ordered = sorted(group, key=lambda each: (not each.is_best, metric.sign * each.value))
    lines = tuple(
        _line(each, own.get((each.checkpoint, each.extractor, metric.column))) for each in ordered
    )
    return Ranking(metric, first.extractor, first.n, lines)


def _line(each: Comparison, interval: tuple[float, float] | None) -> RankedLine:
    return RankedLine(
        checkpoint=each.checkpoint,
        value=each.value,
        interval=interval,
        is_best=each.is_best,
        is_level=each.level_with_best and not each.is_best,
        from_best=each.from_best,
        previous=each.previous,
        from_previous=each.from_previous,
        verdict=each.verdict or "",
    )


def ranking_values(ranking: Ranking) -> dict[str, Any]:
    """The numbers of a ranking for the JSON file beside its figure."""
    shown, metric = ranking.shown, ranking.metric
    differences = {
        f"from_best{f'_{part}' if part != 'value' else ''}": json_numbers(
            getattr(line.from_best, part, None) for line in shown
        )
        for part in ("value", "low", "high", "p")
    }
    return {
        "kind": "ranking",
        "metric": metric.column,
        "extractor": ranking.extractor,
        "n": ranking.n,
        "unit": metric.unit,
        "direction": metric.direction,
        "source": "comparisons.parquet",
        "band": "95 % interval of the paired difference from the best, not adjusted",
        "checkpoints": [line.checkpoint for line in shown],
        "values": json_numbers(line.value for line in shown),
        **differences,
        "is_best": [line.is_best for line in shown],
        "level_with_best": [line.is_best or line.is_level for line in shown],
        "not_drawn": [line.checkpoint for line in ranking.others],
    }
