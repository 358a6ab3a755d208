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

import numpy as np

from vae_batch.metrics.catalogue import COMPARED, METRICS
from vae_batch.metrics.comparison.paired_difference import (
    PairedScore,
    holm_adjusted,
    paired_difference,
)
from vae_batch.nightly.history import Row
from vae_batch.run.compare.pairwise import paired_scores
from vae_batch.run.output.recorded_rows import ScoredRow

#: Columns of the score table that are compared every night, where both sides have them.
COLUMNS = tuple(metric.column for metric in COMPARED)

_ALPHA = 0.05

Relation = Literal["best", "latest"]
Verdict = Literal["better", "worse", "level", "untested"]


@dataclass(frozen=True)
class Entry:
    """A scored row of the history.

    Attributes:
        fields: The history's row.
        scored: What pairs it with other rows; None where its files are those of a checkpoint that
            was overwritten since.
    """

    fields: Row
    scored: ScoredRow | None

    @cached_property
    def scores(self) -> dict[str, PairedScore]:
        """Scores with the influence of each sample; read when first asked for."""
        return {} if self.scored is None else paired_scores(self.scored)

    @property
    def checkpoint(self) -> str:
        """Its label."""
        return str(self.fields["checkpoint"])

    def paired(self, column: str) -> PairedScore | None:
        """The score of a column with its influences, where it has any."""
        return self.scores.get(column)


@dataclass(frozen=True)
class Comparison:
    """A new checkpoint against an earlier one by one metric.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for losses.
        checkpoint: The new one.
        other: The earlier one.
        relation: What the earlier one is: the ``best`` before tonight, or the ``latest``.
        within_series: Whether both are of one folder; else the new one's folder is new.
        value: Of the new checkpoint, in the metric's unit.
        other_value: Of the earlier one.
        difference: New less earlier.
        low: Lower end of its 95 % interval; None where the difference is not paired.
        high: Upper end.
        p: Two-sided p-value, adjusted by Holm over tonight's checkpoints; None where not paired.
        worse_by: How much worse the new one is; negative where it is better.
        worse_by_at_least: Lower end of that, one-sided 95 %; None where not paired.
        verdict: By ``p`` at 5 %; ``untested`` where the difference is not paired.
    """

    metric: str
    extractor: str | None
    checkpoint: str
    other: str
    relation: Relation
    within_series: bool
    value: float
    other_value: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    worse_by: float
    worse_by_at_least: float | None
    verdict: Verdict


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
    picks: dict[Relation, Callable[[str, Sequence[Entry]], Entry]] = {
        "best": best_of,
        "latest": lambda _, pool: latest_of(pool),
    }
    found: list[Comparison] = []
    for column in dict.fromkeys([*COLUMNS, *more]):
        for relation, pick in picks.items():
            made = list(_compared(column, relation, pick, new, before))
            found += _adjusted(made)
    return found


def best_of(column: str, pool: Sequence[Entry]) -> Entry:
    """The best of some rows by a column; the first of several equal ones."""
    sign = -1.0 if METRICS[column].direction == "higher" else 1.0
    return min(pool, key=lambda entry: sign * entry.fields[column])


def latest_of(pool: Sequence[Entry]) -> Entry:
    """Of the last night among some rows, the newest checkpoint."""
    last = max(entry.fields["date"] for entry in pool)
    return newest_of([entry for entry in pool if entry.fields["date"] == last])


def newest_of(pool: Sequence[Entry]) -> Entry:
    """The row of the highest step, or of the file written last where not all have a step."""
    if all(entry.fields["step"] is not None for entry in pool):
        return max(pool, key=lambda entry: (entry.fields["step"], entry.checkpoint))
    return max(pool, key=lambda entry: (_written(entry), entry.checkpoint))


def _written(entry: Entry) -> datetime.datetime:
    never = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return entry.fields["written_at"] or never


def once_each(column: str, entries: Sequence[Entry]) -> list[Entry]:
    """All rows, or one a checkpoint where a column does not depend on the extractor."""
    kept: dict[tuple[str, str | None], Entry] = {}
    for entry in entries:
        key = (entry.checkpoint, extractor_of(column, entry))
        if key not in kept or kept[key].fields[column] is None:
            kept[key] = entry
    return list(kept.values())


def extractor_of(column: str, entry: Entry) -> str | None:
    """The extractor that a row's value depends on; None for losses and pixels."""
    return entry.fields["extractor"] if METRICS[column].per_extractor else None


def _compared(
    column: str,
    relation: Relation,
    pick: Callable[[str, Sequence[Entry]], Entry],
    new: Sequence[Entry],
    before: Sequence[Entry],
) -> Iterator[Comparison]:
    pools: dict[tuple[object, ...], list[Entry]] = {}
    for entry in before:
        if entry.fields[column] is not None:
            pools.setdefault(_conditions(column, entry), []).append(entry)
    for entry in once_each(column, new):
        pool = pools.get(_conditions(column, entry), [])
        if pool and entry.fields[column] is not None:
            series = entry.fields["series"]
            own = [other for other in pool if other.fields["series"] == series]
            other = pick(column, own or pool)
            yield _compare(column, relation, entry, other, within_series=bool(own))


def _conditions(column: str, entry: Entry) -> tuple[object, ...]:
    """What must agree; each checkpoint's own best sigma is one setting, not many."""
    fields = entry.fields
    declared = fields["sigma_source"] in (None, "declared")
    sigma = fields["sigma"] if declared else fields["sigma_source"]
    names = METRICS[column].conditions
    return tuple(sigma if name == "sigma" else fields[name] for name in names)


def _compare(
    column: str, relation: Relation, new: Entry, other: Entry, *, within_series: bool
) -> Comparison:
    """One difference, paired where both sides have influences; its p-value is not adjusted yet."""
    lower_is_better = METRICS[column].direction == "lower"
    value, other_value = float(new.fields[column]), float(other.fields[column])
    difference, low, high, p, at_least = value - other_value, None, None, None, None
    a, b = new.paired(column), other.paired(column)
    if a is not None and b is not None and len(a.influence) == len(b.influence):
        try:
            found, narrow = paired_difference(a, b), paired_difference(a, b, confidence=0.9)
        except ValueError:  # scores that differ although no sample tells them apart
            pass
        else:
            value, other_value = a.value, b.value
            difference, low, high, p = found.difference, found.low, found.high, found.p_value
            # The ends of a two-sided 90 % interval are one-sided 95 % bounds.
            at_least = narrow.low if lower_is_better else -narrow.high
    return Comparison(
        metric=column,
        extractor=extractor_of(column, new),
        checkpoint=new.checkpoint,
        other=other.checkpoint,
        relation=relation,
        within_series=within_series,
        value=value,
        other_value=other_value,
        difference=difference,
        low=low,
        high=high,
        p=p,
        worse_by=difference if lower_is_better else -difference,
        worse_by_at_least=at_least,
        verdict="untested",
    )


def _adjusted(made: Sequence[Comparison]) -> list[Comparison]:
    """P-values adjusted over the comparisons of one extractor, and the verdicts that follow."""
    adjusted = list(made)
    for extractor in {comparison.extractor for comparison in made}:
        places = [
            place
            for place, comparison in enumerate(made)
            if comparison.extractor == extractor and comparison.p is not None
        ]
        p_values = holm_adjusted(np.array([made[place].p for place in places], np.float64))
        for place, p in zip(places, p_values, strict=True):
            verdict = _verdict(made[place].worse_by, float(p))
            adjusted[place] = replace(made[place], p=float(p), verdict=verdict)
    return adjusted


def _verdict(worse_by: float, p: float) -> Verdict:
    if p > _ALPHA or worse_by == 0.0:
        return "level"
    return "worse" if worse_by > 0 else "better"
