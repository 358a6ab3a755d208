"""New checkpoints against the best before tonight, and against the latest of the last night.

Both are paired: the same latents, images and noise on both sides. The best before is the best of
many on these very draws, which favours it a little; ``vae-batch score --confirm`` measures anew.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from vae_batch.metrics.catalogue import COMPARED, METRICS
from vae_batch.metrics.comparison.paired_difference import (
    PairedDifference,
    PairedScore,
    paired_difference,
)
from vae_batch.metrics.comparison.ranking import judge_steps
from vae_batch.nightly.history import Change, HistoryRow
from vae_batch.run.compare.pairwise import paired_scores
from vae_batch.run.output.run_record import ScoredRow

#: Columns of the score table that are compared every night, where both sides have them.
COLUMNS = tuple(metric.column for metric in COMPARED)

Relation = Literal["best", "latest"]
Verdict = Literal["better", "worse", "level", "untested"]

#: (metric, extractor or None, checkpoint): what a comparison or a judgement is of.
Subject = tuple[str, str | None, str]


@dataclass(frozen=True)
class Entry:
    """A scored row of the history.

    Attributes:
        night: The history's row.
        files: What pairs it with other rows; None where its files are those of a checkpoint that
            was overwritten since.
    """

    night: HistoryRow
    files: ScoredRow | None

    @cached_property
    def scores(self) -> dict[str, PairedScore]:
        """Scores with the influence of each sample; read when first asked for."""
        return {} if self.files is None else paired_scores(self.files)

    @property
    def checkpoint(self) -> str:
        """Its label."""
        return self.night.row.checkpoint

    def value(self, column: str) -> float | None:
        """Its score; None where it is undefined."""
        return self.night.row.value(column)

    def number(self, column: str) -> float:
        """Its score, which must be defined."""
        value = self.value(column)
        assert value is not None, (self.checkpoint, column)
        return value

    def subject(self, column: str) -> Subject:
        """What a comparison of it by a column is of; without extractor for losses and pixels."""
        return column, extractor_of(column, self.night), self.checkpoint

    def conditions(self, column: str) -> tuple[object, ...]:
        """What must agree before its score is compared with another's."""
        return tuple(self.night.row.held(METRICS[column].conditions).values())


@dataclass(frozen=True)
class Comparison(Change):
    """A new checkpoint against an earlier one by one metric.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for losses.
        checkpoint: The new one.
        relation: What the earlier one is: the ``best`` before tonight, or the ``latest``.
        within_series: Whether both are of one folder; else the new one's folder is new.
        value: Of the new checkpoint, in the metric's unit.
        other_value: Of the earlier one.
        worse_by: How much worse the new one is; negative where it is better.
        worse_by_at_least: Lower end of that, one-sided 95 %; None where not paired.
        verdict: By ``p`` at 5 %; ``untested`` where the difference is not paired.
    """

    metric: str
    extractor: str | None
    checkpoint: str
    relation: Relation
    within_series: bool
    value: float
    other_value: float
    worse_by: float
    worse_by_at_least: float | None
    verdict: Verdict

    @property
    def subject(self) -> Subject:
        """What it is of."""
        return self.metric, self.extractor, self.checkpoint


def compare_new(
    new: Sequence[Entry], before: Sequence[Entry], more: Collection[str] = ()
) -> list[Comparison]:
    """Every new checkpoint against the best and the latest before tonight, metric by metric.

    Both are taken from the checkpoint's own folder, or from all where its folder is new tonight,
    and only from rows of the same conditions.

    Args:
        new: Scored tonight.
        before: Scored on earlier nights.
        more: Columns beside :data:`COLUMNS`.
    """
    found: list[Comparison] = []
    for column in dict.fromkeys([*COLUMNS, *more]):
        picks: dict[Relation, Pick] = {"best": _best_of(column), "latest": latest_of}
        for relation, pick in picks.items():
            found += _judged(column, list(_compared(column, relation, pick, new, before)))
    return found


def apart_by_version(new: Sequence[Entry], before: Sequence[Entry]) -> str | None:
    """That nothing before tonight is of tonight's scoring version, in a sentence; else None."""
    ours, theirs = (
        {str(entry.night.row.conditions.scoring_version or "unknown") for entry in entries}
        for entries in (new, before)
    )
    if not ours or not theirs or ours & theirs:
        return None
    return (
        f"All earlier scores are of scoring version {', '.join(sorted(theirs))}, tonight's of "
        f"{', '.join(sorted(ours))}: the same name is another number, so nothing is compared with "
        "them."
    )


def _best_of(column: str) -> Pick:
    """The first of several equal ones."""
    sign = METRICS[column].sign
    return lambda pool: min(pool, key=lambda entry: sign * entry.number(column))


def latest_of(pool: Sequence[Entry]) -> Entry:
    """Of the last night among some rows, the newest checkpoint."""
    last = max(entry.night.date for entry in pool)
    return newest_of([entry for entry in pool if entry.night.date == last])


def newest_of(pool: Sequence[Entry]) -> Entry:
    """The row of the highest step, or of the file written last where not all have a step."""
    steps = [entry.night.row.step for entry in pool]
    if None not in steps:
        return max(pool, key=lambda entry: (entry.night.row.step or 0, entry.checkpoint))
    never = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return max(pool, key=lambda entry: (entry.night.written_at or never, entry.checkpoint))


def once_each(column: str, entries: Sequence[Entry]) -> list[Entry]:
    """All rows, or one per checkpoint where a column does not depend on the extractor."""
    kept: dict[Subject, Entry] = {}
    for entry in entries:
        subject = entry.subject(column)
        if subject not in kept or kept[subject].value(column) is None:
            kept[subject] = entry
    return list(kept.values())


def extractor_of(column: str, row: HistoryRow) -> str | None:
    """The extractor that a row's value depends on; None for losses and pixels."""
    return row.row.conditions.extractor if METRICS[column].per_extractor else None


#: Chooses one of some earlier rows.
Pick = Callable[[Sequence[Entry]], Entry]

#: A comparison that is not judged yet, and its paired difference.
Pair = tuple[Comparison, PairedDifference | None]


def _compared(
    column: str,
    relation: Relation,
    pick: Pick,
    new: Sequence[Entry],
    before: Sequence[Entry],
) -> Iterator[Pair]:
    pools: dict[tuple[object, ...], list[Entry]] = {}
    for entry in before:
        if entry.value(column) is not None:
            pools.setdefault(entry.conditions(column), []).append(entry)
    for entry in once_each(column, new):
        pool = pools.get(entry.conditions(column), [])
        if pool and entry.value(column) is not None:
            own = [other for other in pool if other.night.series == entry.night.series]
            yield _pair(column, relation, entry, pick(own or pool), within_series=bool(own))


def _pair(
    column: str, relation: Relation, new: Entry, other: Entry, *, within_series: bool
) -> Pair:
    """One difference, paired where both sides have influences, and not judged yet."""
    sign = METRICS[column].sign
    value, other_value = new.number(column), other.number(column)
    a, b = new.scores.get(column), other.scores.get(column)
    found, at_least = None, None
    if a is not None and b is not None and len(a.influence) == len(b.influence):
        try:
            found, narrow = paired_difference(a, b), paired_difference(a, b, confidence=0.9)
        except ValueError:  # scores that differ although no sample tells them apart
            pass
        else:
            value, other_value = a.value, b.value
            # The ends of a two-sided 90 % interval are one-sided 95 % bounds.
            at_least = narrow.low if sign > 0 else -narrow.high
    difference = found.difference if found else value - other_value
    made = Comparison(
        other=other.checkpoint,
        difference=difference,
        low=found.low if found else None,
        high=found.high if found else None,
        p=None,
        metric=column,
        extractor=extractor_of(column, new.night),
        checkpoint=new.checkpoint,
        relation=relation,
        within_series=within_series,
        value=value,
        other_value=other_value,
        worse_by=sign * difference,
        worse_by_at_least=at_least,
        verdict="untested",
    )
    return made, found


def _judged(column: str, pairs: Sequence[Pair]) -> list[Comparison]:
    """P-values adjusted over the comparisons of one extractor, and the verdicts that follow."""
    judged = {made.subject: made for made, _ in pairs}
    for extractor in {made.extractor for made, _ in pairs}:
        some = [(m, found) for m, found in pairs if m.extractor == extractor and found is not None]
        steps = judge_steps([found for _, found in some], METRICS[column].direction)
        for (made, _), step in zip(some, steps, strict=True):
            judged[made.subject] = replace(made, p=step.p_value, verdict=step.verdict)
    return list(judged.values())
