"""The score table as the page shows it: one line a checkpoint, one heading a set of conditions.

What does not depend on an extractor stands once, however many extractors there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import count, number, printable
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.report.page.column_groups import ColumnGroup, column_groups
from vae_batch.report.score_rows import ScoreRow, best_marks, is_always_zero, parent
from vae_batch.report.score_text import column_decimals

HEADLINES = "headlines"


@dataclass(frozen=True)
class Cell:
    """One number, or words over several columns.

    Attributes:
        key: of its column: the group's key, a dash, the metric's column.
        text: the number, "-" for a null, or why a row failed.
        error: its standard error, or "".
        exact: the number to all its digits, by which it sorts, or "" where there is none.
        remark: why it is null, or what to know about it.
        is_best: whether no comparable row has a better one.
        span: columns that it covers.
        failed: whether it says that a row failed.
    """

    key: str
    text: str
    error: str = ""
    exact: str = ""
    remark: str = ""
    is_best: bool = False
    span: int = 1
    failed: bool = False


@dataclass(frozen=True)
class Line:
    """One checkpoint: its cells, the words that a filter finds it by, and what its name needs."""

    checkpoint: PageCheckpoint
    status: str
    words: str
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """Metrics of one name, such as "headlines" or "reconstruction", of all checkpoints."""

    name: str
    groups: tuple[ColumnGroup, ...]
    lines: tuple[Line, ...]


def score_tables(
    rows: Sequence[ScoreRow],
    headlines: Sequence[Metric],
    details: Sequence[Metric],
    checkpoints: Mapping[str, PageCheckpoint],
) -> list[ScoreTable]:
    """The headlines' table, then one for each group of the other metrics.

    Spreads of other metrics, and diagnostics that are zero everywhere, are no headlines here.
    """
    narrow = [m for m in headlines if m.column == parent(m) and not is_always_zero(m, rows)]
    tables: dict[str, list[Metric]] = {HEADLINES: narrow}
    for metric in [*(m for m in headlines if m not in narrow), *details]:
        tables.setdefault(metric.group.replace("_", " "), []).append(metric)
    named = {checkpoint: checkpoints[checkpoint] for checkpoint in _labels(rows)}
    return [_table(name, metrics, rows, named) for name, metrics in tables.items() if named]


def _labels(rows: Iterable[ScoreRow]) -> list[str]:
    return list(dict.fromkeys(row.checkpoint for row in rows))


def _table(
    name: str,
    metrics: Sequence[Metric],
    rows: Sequence[ScoreRow],
    checkpoints: Mapping[str, PageCheckpoint],
) -> ScoreTable:
    groups = column_groups(rows, metrics)
    scored = [row for row in rows if row.failure is None]
    best = best_marks(rows, metrics)
    decimals = column_decimals(scored, metrics)
    lines = []
    for label, checkpoint in checkpoints.items():
        own = [row for row in rows if row.checkpoint == label]
        cells = [cell for group in groups for cell in _cells(own, group, decimals, best)]
        if checkpoint.failure:
            columns = sum(len(group.metrics) for group in groups)
            cells = [_failure(own, "", max(1, columns))]
        words, note = _words(own, checkpoint), _left_race(own)
        lines.append(Line(checkpoint, _status(own), words, tuple(cells), note))
    return ScoreTable(name, tuple(groups), tuple(lines))


def _status(rows: Sequence[ScoreRow]) -> str:
    failed = [row for row in rows if row.failure is not None]
    if not failed:
        return "scored"
    return "failed" if len(failed) == len(rows) else "partly failed"


def _left_race(rows: Sequence[ScoreRow]) -> str:
    left = [row.conditions.left_race_at for row in rows]
    found = next((at for at in left if at is not None), None)
    return "" if found is None else f"dropped from the race at {count(found)}"


def _words(rows: Sequence[ScoreRow], checkpoint: PageCheckpoint) -> str:
    extractors = dict.fromkeys(row.conditions.extractor or "" for row in rows)
    words = (checkpoint.label, _status(rows), _left_race(rows), *extractors)
    return printable(" ".join(words)).casefold()


def _cells(
    rows: Sequence[ScoreRow],
    group: ColumnGroup,
    decimals: Mapping[str, int],
    best: set[tuple[int, str]],
) -> list[Cell]:
    """A checkpoint's cells of one group: numbers, or one that says why there are none."""
    row = next((row for row in rows if row.failure is None and group.holds(row)), None)
    if row is not None:
        return [
            _cell(row, group, metric, decimals[metric.column], best) for metric in group.metrics
        ]
    failed = [row for row in rows if row.failure is not None and group.may_hold(row)]
    if failed:
        return [_failure(failed, group.key, len(group.metrics))]
    return [
        Cell(group.column(m), "-", remark="not scored under these conditions")
        for m in group.metrics
    ]


def _failure(rows: Sequence[ScoreRow], key: str, span: int) -> Cell:
    reasons = dict.fromkeys(row.failure for row in rows if row.failure is not None)
    return Cell(key, printable("; ".join(reasons)), span=span, failed=True)


def _cell(
    row: ScoreRow, group: ColumnGroup, metric: Metric, places: int, best: set[tuple[int, str]]
) -> Cell:
    value, key = row.value(metric.column), group.column(metric)
    if value is None:
        return Cell(key, "-", remark=printable(row.why_null(metric)))
    error = row.standard_error(metric)
    left, remark = _left_race([row]), row.text(f"{metric.column}_warning") or ""
    return Cell(
        key=key,
        text=number(value, places),
        error="" if error is None else f"± {number(error, places)}",
        # Of other samples than those in full: it must not be sorted among them.
        exact="" if left else repr(value),
        remark=printable("; ".join(part for part in (left, remark) if part)),
        is_best=(row.index, metric.column) in best,
    )
