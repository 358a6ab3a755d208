"""Which checkpoints get plates of their own, so that a thousand of them fill no disk."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS
from vae_batch.report.score_rows import ScoreRow
from vae_batch.run.compare.selection import Selection

MOST_CHECKPOINTS = 8
"""That have plates of their own."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Checkpoints with plates of their own.

    Attributes:
        reasons: why each was chosen, by its label, in table order.
        others: checkpoints with pictures that were not.
    """

    reasons: Mapping[str, str]
    others: tuple[str, ...]


def choose_checkpoints(
    rows: Sequence[ScoreRow],
    pictured: Collection[str],
    comparisons: Sequence[Row],
    selection: Selection | None,
) -> Chosen:
    """All checkpoints with pictures where they are few; else those that decide.

    These are the best, the worst, the last, and what cannot be told from the best.

    Args:
        rows: of the score table.
        pictured: checkpoints with pictures.
        comparisons: paired differences; which is best and which worst is taken from them, or
            else from the score table.
        selection: which checkpoint was found best; None where none was.
    """
    order = [label for label in dict.fromkeys(row.checkpoint for row in rows) if label in pictured]
    order += [label for label in pictured if label not in order]
    if len(order) <= MOST_CHECKPOINTS:
        return Chosen(dict.fromkeys(order, "all have pictures"), ())
    ranked = _ranked(rows, comparisons, selection)
    ranked = [label for label in ranked if label in pictured]
    level = set(selection.level) if selection else set()
    wanted: dict[str, str] = {}
    if ranked:
        wanted = {ranked[0]: "best", ranked[-1]: "worst"}
    wanted.setdefault(_last(rows, order), "last")
    for label in ranked:
        if label in level:
            wanted.setdefault(label, "cannot be told from the best")
    kept = {*list(wanted)[:MOST_CHECKPOINTS]}
    reasons = {label: wanted[label] for label in order if label in kept}
    return Chosen(reasons, tuple(label for label in order if label not in kept))


def _ranked(
    rows: Sequence[ScoreRow], comparisons: Sequence[Row], selection: Selection | None
) -> list[str]:
    """Checkpoints from best to worst by the selected metric, or else by the first usual one."""
    for name in (selection.metric,) if selection else DEFAULT_CHOICE:
        values = _compared(comparisons, name, selection) or _scored(rows, name)
        if values:
            sign = -1 if METRICS[name].direction == "higher" else 1
            return sorted(values, key=lambda label: sign * values[label])
    return []


def _compared(
    comparisons: Sequence[Row], metric: str, selection: Selection | None
) -> dict[str, float]:
    best = selection.best if selection else None
    extractor = selection.extractor if selection else None
    return {
        row["checkpoint"]: row["value"]
        for row in comparisons
        if (row["metric"], row["extractor"], row["best"]) == (metric, extractor, best)
    }


def _scored(rows: Sequence[ScoreRow], metric: str) -> dict[str, float]:
    """Values under the first conditions that have some."""
    values: dict[object, dict[str, float]] = {}
    for row in rows:
        value = row.value(metric)
        if row.failure is None and value is not None and math.isfinite(value):
            values.setdefault(row.conditions, {})[row.checkpoint] = value
    return next(iter(values.values()), {})


def _last(rows: Sequence[ScoreRow], order: Sequence[str]) -> str:
    """The checkpoint of the greatest step, or of the last row."""
    steps = {row.checkpoint: row.step for row in rows}
    return max(enumerate(order), key=lambda entry: (steps.get(entry[1]) or -1, entry[0]))[1]
