"""Score rows as text: which columns a narrow table has, aligned numbers, stars and footnotes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vae_batch.metrics.catalogue import (
    DEFAULT_CHOICE,
    METRICS,
    Metric,
    compared_column,
    corrected_from,
)
from vae_batch.report.comparable_rows import (
    Key,
    best_marks,
    failure_of,
    headlines_in,
    is_always_zero,
    is_never_printed,
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
        elif is_never_printed(row, metric):
            cells[metric.column] = "-"
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


#: A cell of ``text_rows``: the number, and after it a star or the marks of footnotes.
_MARKS = re.compile(r"[*⁰¹²³⁴⁵⁶⁷⁸⁹]*$")

_LEVEL = "≈"


@dataclass(frozen=True)
class Column:
    """A metric, and whether its spread stands beside its value."""

    metric: Metric
    has_spread: bool

    @property
    def heading(self) -> str:
        """The metric's short name, and an arrow to where it is better."""
        return f"{self.metric.short} {ARROWS[self.metric.direction]}".rstrip()


@dataclass(frozen=True)
class Cell:
    """A value, its marks and its spread, padded so that they line up within their column."""

    value: str
    mark: str
    spread: str

    @classmethod
    def of(cls, text: str, spread: str, *, is_level: bool) -> Cell:
        """The cell of a text of ``text_rows``, which has its marks at its end."""
        mark = _MARKS.search(text)
        value = text[: mark.start()] if mark else text
        marks = text[len(value) :]
        return cls(value, _LEVEL * (is_level and "*" not in marks) + marks, spread)

    @property
    def is_best(self) -> bool:
        """Whether it is the best point estimate."""
        return "*" in self.mark

    @property
    def is_level(self) -> bool:
        """Whether it is not distinguishable from the best."""
        return _LEVEL in self.mark

    def __str__(self) -> str:
        """What the table shows."""
        return self.value + self.mark + self.spread


def aligned(cells: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """The cells of one column, with marks and spreads as wide as the widest of them."""
    mark = max((len(cell.mark) for cell in cells.values()), default=0)
    spread = max((len(cell.spread) for cell in cells.values()), default=0)
    return {
        key: replace(cell, mark=cell.mark.ljust(mark), spread=cell.spread.rjust(spread))
        for key, cell in cells.items()
    }


def width_of(column: Column, cells: Mapping[Key, Mapping[str, Cell]]) -> int:
    """Characters that a column takes, given all cells by row and column."""
    name = column.metric.column
    return max([len(column.heading), *(len(str(row[name])) for row in cells.values())])


def narrow_metrics(rows: Sequence[ScoreRow], selected: str | None) -> list[Metric]:
    """Headlines that say something, corrected ones that stand for one, and what is selected by."""
    metrics = [metric for metric in headlines_in(rows) if not metric.spread_of]
    metrics = [metric for metric in metrics if not is_always_zero(metric, rows)]
    wanted = [name for name in DEFAULT_CHOICE if corrected_from(name)] + [selected or ""]
    more = [METRICS[name] for name in dict.fromkeys(wanted) if name in METRICS]
    has_values = [m for m in more if any(row.value(m.column) is not None for row in rows)]
    metrics += [metric for metric in has_values if metric not in metrics]
    order = {column: place for place, column in enumerate(METRICS)}
    # A corrected score stands beside the one it corrects, and behind it as sorting is stable.
    return sorted(metrics, key=lambda metric: order[corrected_from(metric.column) or metric.column])


def columns_of(rows: Sequence[ScoreRow], selected: str | None) -> list[Column]:
    """Columns of ``narrow_metrics``, with a spread where some row has one."""
    metrics = narrow_metrics(rows, selected)
    return [Column(metric, bool(spreads_of(metric, rows))) for metric in metrics]


def narrower(columns: Sequence[Column], selected: str | None) -> Iterator[list[Column]]:
    """All columns, then fewer and fewer of them, those first that no checkpoint is selected by.

    The column selected by stays, and so does the first choice among losses and among scores of
    an extractor.
    """
    left = list(columns)
    yield left
    chosen = [c.metric for c in columns if c.metric.default_choice]
    firsts = [
        min((m for m in chosen if m.per_extractor is kind), key=_rank, default=None)
        for kind in (True, False)
    ]
    kept = {compared_column(selected or ""), *(m.column for m in firsts if m)}
    if not any(m.per_extractor for m in chosen):
        kept |= {c.metric.column for c in columns if c.metric.compared_as in DEFAULT_CHOICE}
    names = [c.metric for c in columns if c.metric.column not in kept]
    for metric in sorted(names, key=_rank, reverse=True):
        left = [replace(c, has_spread=c.has_spread and c.metric != metric) for c in left]
        yield left
        left = [c for c in left if c.metric != metric]
        yield left
    yield [replace(c, has_spread=False) for c in left]


def _rank(metric: Metric) -> float:
    """Place in the order in which metrics are chosen to select by; infinite for all others."""
    return metric.default_choice or math.inf


def spreads_of(metric: Metric, rows: Sequence[ScoreRow]) -> dict[Key, str]:
    """Intervals or standard errors by the row's key, where there are any."""
    decimals = column_decimals(rows, [metric])[metric.column]
    if metric.interval is not None:
        ends = {row.key: [row.value(end) for end in metric.interval] for row in rows}
        return {
            key: f" [{', '.join(number(end, decimals) for end in found if end is not None)}]"
            for key, found in ends.items()
            if None not in found
        }
    errors = {row.key: row.score(metric.column).standard_error for row in rows}
    known = {key: error for key, error in errors.items() if error is not None}
    decimals = max(decimals, _digit(max(known.values(), default=0.0)))
    return {key: f" ± {number(error, decimals)}" for key, error in known.items()}


def _digit(error: float) -> int:
    """Decimals that show the first digit of a standard error; of 0, which is exact, none."""
    return min(6, max(0, -math.floor(math.log10(error)))) if error > 0 else 0
