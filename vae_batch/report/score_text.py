"""Score rows as text: aligned numbers, best values starred, reasons as numbered footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.labels import count, decimals_of, number, printable
from vae_batch.report.score_rows import ScoreRow, best_marks, parent

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass
class Footnotes:
    """Reasons in order of first use; the same reason keeps one number."""

    reasons: dict[str, int] = field(default_factory=dict)

    def mark(self, reason: str) -> str:
        """The raised number of `reason`."""
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
    """`n generated / n reference`, or one number where both are the same."""
    generated, reference = row.conditions.n_generated, row.conditions.n_reference
    if generated == reference:
        return count(generated)
    return f"{count(generated)} / {count(reference)}"


def text_rows(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric], footnotes: Footnotes
) -> list[dict[str, str]]:
    """One dict for each row: `checkpoint`, `extractor`, `n`, then each metric's column.

    A best value ends in `*`; a null is `-`, and a failed row says so in its first metric, both
    with the mark of a footnote that has the reason.
    """
    decimals = column_decimals(rows, metrics)
    best = best_marks(rows, metrics)
    return [
        {
            "checkpoint": printable(row.checkpoint),
            "extractor": printable(row.conditions.extractor or "-"),
            "n": sample_counts(row),
        }
        | (
            {m.column: _cell(row, m, decimals[m.column], best, footnotes) for m in metrics}
            if row.failure is None
            else _failed_cells(row.failure, metrics, footnotes)
        )
        for row in rows
    ]


def _failed_cells(failure: str, metrics: Sequence[Metric], footnotes: Footnotes) -> dict[str, str]:
    word = f"failed{footnotes.mark(f'failed: {failure}')}"
    return {metric.column: "-" if i else word for i, metric in enumerate(metrics)}


def _cell(
    row: ScoreRow, metric: Metric, decimals: int, best: set[tuple[int, str]], notes: Footnotes
) -> str:
    title = METRICS[parent(metric)].title
    value = row.value(metric.column)
    if value is None:
        return f"-{notes.mark(f'{title}: {row.why_null(metric)}')}"
    warned = row.text(f"{metric.column}_warning")
    star = "*" if (row.index, metric.column) in best else ""
    return f"{number(value, decimals)}{star}{notes.mark(f'{title}: {warned}') if warned else ''}"
