"""Comparisons of many rows in bounded memory.

A row's scores are one value for each sample, so those of a thousand rows are gigabytes. Rows are
read one after another: first their values, which tell the best of each group, then each row's
differences from that one and from the row before it in its folder. Of all influences only those
of the best rows, of two neighbours, and as many more as fit into a fixed room are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.comparison.paired_difference import (
    PairedDifference,
    PairedScore,
    paired_difference,
)
from vae_batch.metrics.comparison.ranking import (
    NO_STEP,
    ComparisonRow,
    best_of,
    comparison_row,
    judge_steps,
    level_from_differences,
)
from vae_batch.run.output.run_record import ScoredRow

Scores = Mapping[str, PairedScore]

#: Bytes of influences that are kept between the two looks at a row.
ROOM = 2**28


@dataclass(frozen=True)
class Compared:
    """A row of a comparison table.

    Attributes:
        row: Of the score table.
        count: Samples that its score is of.
        best: The best checkpoint of the group.
        line: Its differences; ``against_previous`` is from the row before it in its folder.
        previous: That row's checkpoint.
    """

    row: ScoredRow
    count: int
    best: str
    line: ComparisonRow
    previous: str | None


class ScoreReader:
    """Reads the scores of rows, and keeps the first ones, as far as they fit."""

    def __init__(self, read: Callable[[ScoredRow], Scores], room: int = ROOM) -> None:
        """Read with ``read``; keep up to ``room`` bytes of influences."""
        self._read, self._room = read, room
        self._kept: dict[Hashable, Scores] = {}

    def __call__(self, row: ScoredRow) -> Scores:
        """Scores of a row by metric."""
        key = row.row.key
        if key in self._kept:
            return self._kept[key]
        scores = self._read(row)
        size = sum(score.influence.nbytes for score in scores.values())
        if size <= self._room:
            self._room -= size
            self._kept[key] = scores
        return scores


@dataclass(frozen=True)
class _Neighbour:
    """The checkpoint before another in its folder, and the difference from it."""

    name: str | None
    difference: PairedDifference | None


@dataclass
class _Group:
    """Rows of one metric that may be compared with each other, in the table's order.

    Attributes:
        steps: By folder, each checkpoint and what it is to the one before it.
        untold: Folders, or None for the group, with scores that differ although no sample tells
            them apart.
    """

    metric: str
    rows: dict[str, ScoredRow] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: tuple[str, PairedScore] | None = None
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    steps: dict[str, dict[str, _Neighbour]] = field(default_factory=dict)
    untold: set[str | None] = field(default_factory=set)

    def subtract(
        self, a: PairedScore, b: PairedScore, folder: str | None
    ) -> PairedDifference | None:
        """The difference of two scores; None where it has no error, which is noted."""
        try:
            return paired_difference(a, b)
        except ValueError:
            self.untold.add(folder)
            return None


def compare_streamed(
    rows: Sequence[ScoredRow],
    metrics: Sequence[str],
    group_of: Callable[[ScoredRow, str], Hashable],
    read: ScoreReader,
) -> Iterator[tuple[str, list[Compared]]]:
    """Comparison tables of metrics, one for each group of rows that may be compared.

    Args:
        rows: One for each checkpoint in a group, in the table's order.
        metrics: Columns, in the order of the tables.
        group_of: Of a row and metric, what rows that are compared must share.
        read: Gives a row's scores; a metric that it lacks is not compared.

    Yields:
        Metric and table.
    """
    groups = _groups(rows, metrics, group_of, read)
    for group in groups.values():
        best = best_of(group.values, METRICS[group.metric].direction)
        score = read(group.rows[best]).get(group.metric)
        group.best = None if score is None else (best, score)
    for folder, members in _by_folder(rows).items():
        _compare_folder(folder, members, groups, group_of, read)
    for metric in metrics:
        yield from ((metric, _table(g)) for g in groups.values() if g.metric == metric)


def _groups(
    rows: Sequence[ScoredRow],
    metrics: Sequence[str],
    group_of: Callable[[ScoredRow, str], Hashable],
    read: ScoreReader,
) -> dict[Hashable, _Group]:
    groups: dict[Hashable, _Group] = {}
    for row in rows:
        name, scores = row.row.checkpoint, read(row)
        for metric in metrics:
            if metric in scores:
                score = scores[metric]
                key = (metric, group_of(row, metric), len(score.influence))
                group = groups.setdefault(key, _Group(metric))
                group.rows[name], group.values[name] = row, score.value
                group.counts[name] = len(score.influence)
    return groups


def _by_folder(rows: Sequence[ScoredRow]) -> dict[str, list[ScoredRow]]:
    folders: dict[str, list[ScoredRow]] = {}
    for row in rows:
        folders.setdefault(row.row.checkpoint.rpartition("/")[0], []).append(row)
    return folders


def _compare_folder(
    folder: str,
    rows: Sequence[ScoredRow],
    groups: Mapping[Hashable, _Group],
    group_of: Callable[[ScoredRow, str], Hashable],
    read: ScoreReader,
) -> None:
    """Differences of a folder's rows from the best of their groups, and from their neighbours."""
    before: dict[Hashable, tuple[str, PairedScore]] = {}
    for row in rows:
        name = row.row.checkpoint
        for metric, score in read(row).items():
            key = (metric, group_of(row, metric), len(score.influence))
            group = groups.get(key)
            if group is None or group.best is None:
                continue
            best, best_score = group.best
            found = None if name == best else group.subtract(score, best_score, None)
            if found is not None:
                group.differences[name] = found
            previous, other = before.get(key, (None, None))
            step = None if other is None else group.subtract(score, other, folder)
            group.steps.setdefault(folder, {})[name] = _Neighbour(previous, step)
            before[key] = (name, score)


def _table(group: _Group) -> list[Compared]:
    """The rows of a group; none where the best cannot be told from one of another value."""
    if group.best is None or None in group.untold:
        return []
    best, better = group.best[0], METRICS[group.metric].direction
    # A file may have gone between the two looks at it.
    names = [name for name in group.rows if name == best or name in group.differences]
    differences = {name: group.differences[name] for name in names if name != best}
    level = level_from_differences(best, names, differences)
    steps = {
        name: (neighbour.name, step)
        for folder, neighbours in group.steps.items()
        if folder not in group.untold
        for (name, neighbour), step in zip(
            neighbours.items(),
            judge_steps([n.difference for n in neighbours.values()], better),
            strict=True,
        )
    }
    table = []
    for name in names:
        previous, step = steps.get(name, (None, NO_STEP))
        line = comparison_row(level, name, group.values[name], step)
        table.append(Compared(group.rows[name], group.counts[name], best, line, previous))
    return table
