"""Which checkpoints get plates of their own, so that a thousand of them fill no disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS
from vae_batch.report.charts.ranking import Ranking
from vae_batch.report.score_rows import Measured, finite_value, measured_under
from vae_batch.run.compare.selection import Selection
from vae_batch.storage.score_rows import ScoreRow

MOST_CHECKPOINTS = 8
"""That have plates of their own."""


@dataclass(frozen=True)
class Chosen:
    """Checkpoints with plates of their own.

    Attributes:
        reasons: Why each was chosen, by its label, in table order.
        others: Checkpoints with pictures that were not.
    """

    reasons: Mapping[str, str]
    others: tuple[str, ...]


def choose_checkpoints(
    rows: Sequence[ScoreRow],
    pictured: Collection[str],
    rankings: Sequence[Ranking],
    selection: Selection | None,
) -> Chosen:
    """All checkpoints with pictures where they are few; else those that decide.

    These are the best, the worst, the last, and those not distinguishable from the best.

    Args:
        rows: Of the score table.
        pictured: Checkpoints with pictures.
        rankings: The first one says which is best and which worst; without any, the score table.
        selection: Which checkpoint was found best; None where none was.
    """
    order = [label for label in dict.fromkeys(row.checkpoint for row in rows) if label in pictured]
    order += [label for label in pictured if label not in order]
    if len(order) <= MOST_CHECKPOINTS:
        return Chosen(dict.fromkeys(order, "all have pictures"), ())
    ranked = _ranked(rows, rankings)
    ranked = [label for label in ranked if label in pictured]
    level = set(selection.level) if selection else set()
    wanted: dict[str, str] = {}
    if ranked:
        wanted = {ranked[0]: "best", ranked[-1]: "worst"}
    wanted.setdefault(_last(rows, order), "last")
    for label in ranked:
        if label in level:
            wanted.setdefault(label, "not distinguishable from the best")
    kept = {*list(wanted)[:MOST_CHECKPOINTS]}
    reasons = {label: wanted[label] for label in order if label in kept}
    return Chosen(reasons, tuple(label for label in order if label not in kept))


def _ranked(rows: Sequence[ScoreRow], rankings: Sequence[Ranking]) -> list[str]:
    """Checkpoints from best to worst by the first ranking, or else by their scores."""
    if rankings:
        return [line.checkpoint for line in rankings[0].lines]
    for metric in (METRICS[name] for name in DEFAULT_CHOICE):
        values: dict[Measured, dict[str, float]] = {}
        for row in rows:
            value = finite_value(row, metric.column)
            if row.status == "scored" and value is not None:
                values.setdefault(measured_under(row, metric), {})[row.checkpoint] = value
        for scores in values.values():
            return sorted(scores, key=lambda label: metric.sign * scores[label])
    return []


def _last(rows: Sequence[ScoreRow], order: Sequence[str]) -> str:
    """The checkpoint of the greatest step, or of the last row."""
    steps = {row.checkpoint: row.step for row in rows}
    return max(enumerate(order), key=lambda entry: (steps.get(entry[1]) or -1, entry[0]))[1]
