"""Score rows as text: aligned numbers, best values starred, reasons as numbered footnotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.comparable_rows import (
    Key,
    best_marks,
    failure_of,
    parent,
    why_apart,
    why_undefined,
)
from vae_batch.report.labels import count, decimals_of, number, printable
from vae_batch.storage.score_rows import ScoreRow

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass
class Footnotes:
    """Reasons in order of first use; the same reason keeps one number."""

    reasons: dict[str, int] = field(default_factory=dict)

    def mark(self, reason: str) -> str:
        """The raised number of ``reason``."""
        return _raised(self.reasons.setdefault(printable(reason), len(self.reasons) + 1))

    def lines(self) -> list[str]:
        """Every reason with its number before it."""
        return [f"{_raised(mark)} {reason}" for reason, mark in self.reasons.items()]


def _raised(mark: int) -> str:
    return str(mark).translate(_RAISED)


def column_decimals(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> dict[str, int]:
    """Decimals for each metric's column, so that its numbers line up."""
    return {
        metric.column: decimals_of(v for r in rows if (v := r.value(metric.column)) is not None)
        for metric in metrics
    }


def sample_counts(row: ScoreRow) -> str:
    """``n generated / n reference``, or one number where both are the same."""
    generated, reference = row.conditions.n_generated, row.conditions.n_reference
    if generated == reference:
        return count(generated)
    return f"{count(generated)} / {count(reference)}"


def text_rows(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric], footnotes: Footnotes
) -> dict[Key, dict[str, str]]:
    """For each row its ``checkpoint``, ``extractor`` and ``n``, then each metric's column.

    A best value ends in ``*``. An undefined one is ``-``, and a failed row says so in its first
    metric without a value; both have the mark of a footnote with the reason.
    """
    decimals = column_decimals(rows, metrics)
    best = best_marks(rows, metrics)
    return {
        row.key: {
            "checkpoint": printable(row.checkpoint),
            "extractor": printable(row.conditions.extractor),
            "n": sample_counts(row),
        }
        | _cells(row, metrics, decimals, best, footnotes)
        for row in rows
    }


def _cells(
    row: ScoreRow,
    metrics: Sequence[Metric],
    decimals: Mapping[str, int],
    best: set[tuple[Key, str]],
    notes: Footnotes,
) -> dict[str, str]:
    """A failed row says so in the first metric without a value, and keeps the values it has."""
    failure = failure_of(row)
    cells = {}
    for metric in metrics:
        value = row.value(metric.column)
        if value is not None:
            text = number(value, decimals[metric.column])
            cells[metric.column] = _marked(row, metric, text, best, notes)
        elif failure is None:
            said = f"{METRICS[parent(metric)].title}: {why_undefined(row, metric)}"
            cells[metric.column] = f"-{notes.mark(said)}"
        else:
            is_first = not any("failed" in cell for cell in cells.values())
            mark = f"failed{notes.mark(f'failed: {failure}')}" if is_first else "-"
            cells[metric.column] = mark
    return cells


def _marked(
    row: ScoreRow, metric: Metric, text: str, best: set[tuple[Key, str]], notes: Footnotes
) -> str:
    said = filter(None, (row.score(metric.column).warning, why_apart(row, metric)))
    star = "*" if (row.key, metric.column) in best else ""
    return f"{text}{star}{''.join(notes.mark(f'{metric.title}: {text}') for text in said)}"
