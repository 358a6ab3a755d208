"""The score table as the page shows it: one table for each set of comparable rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import count, number, printable, without_shared_folder
from vae_batch.report.score_rows import ScoreRow, best_marks, comparable
from vae_batch.report.score_text import column_decimals


@dataclass(frozen=True)
class Cell:
    """One number: its text, its standard error's, how it sorts, whether it is best, what to know.

    A null has the text "-", sorts last, and its `remark` is the reason.
    """

    text: str
    error: str
    sort: str
    best: bool
    remark: str


@dataclass(frozen=True)
class Line:
    """One checkpoint: label, short label, step and a cell for each metric; or why it failed."""

    checkpoint: str
    short: str
    step: str
    step_sort: str
    cells: tuple[Cell, ...]
    failure: str


@dataclass(frozen=True)
class ScoreTable:
    """Rows that may be compared, the conditions they share, and failures under them."""

    conditions: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    failures: tuple[Line, ...]


def score_tables(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> list[ScoreTable]:
    """One table for each set of conditions; one for failures alone where nothing was scored."""
    names = list(dict.fromkeys(row.checkpoint for row in rows))
    shorts = dict(zip(names, without_shared_folder(names), strict=True))
    best = best_marks(rows, metrics)
    failed = [row for row in rows if row.failure is not None]
    tables = []
    for group in comparable(rows).values():
        decimals = column_decimals(group, metrics)
        lines = [
            _line(row, shorts, [_cell(row, m, decimals, best) for m in metrics]) for row in group
        ]
        extractor = group[0].conditions.extractor
        below = [row for row in failed if row.conditions.extractor in (extractor, None)]
        failures = tuple(_line(row, shorts, []) for row in below)
        tables.append(ScoreTable(conditions(group[0]), tuple(lines), failures))
    if failed and not tables:
        failures = tuple(_line(row, shorts, []) for row in failed)
        tables = [ScoreTable(conditions(failed[0]), (), failures)]
    return tables


def conditions(row: ScoreRow) -> tuple[tuple[str, str], ...]:
    """What `row`'s numbers depend on beside the checkpoint, as (name, value) in words."""
    shared = row.conditions
    split = row.text("reference_split")
    reference = row.text("reference")
    named = {
        "extractor": shared.extractor,
        "protocol": shared.protocol,
        "generated images": shared.n_generated and count(shared.n_generated),
        "reference images": shared.n_reference and count(shared.n_reference),
        "reference set": f"{reference} ({split})" if reference and split else reference,
        "seed": shared.seed,
        "likelihood": row.text("likelihood"),
        "weights": shared.weights_sha256 and f"{shared.weights_sha256[:12]}…",
    }
    return tuple((name, printable(value)) for name, value in named.items() if value is not None)


def _line(row: ScoreRow, shorts: Mapping[str, str], cells: Sequence[Cell]) -> Line:
    return Line(
        checkpoint=row.checkpoint,
        short=printable(shorts[row.checkpoint]),
        step=count(row.step),
        step_sort="" if row.step is None else str(row.step),
        cells=tuple(cells),
        failure=printable(row.failure or ""),
    )


def _cell(
    row: ScoreRow, metric: Metric, decimals: Mapping[str, int], best: set[tuple[int, str]]
) -> Cell:
    value = row.value(metric.column)
    if value is None:
        return Cell("-", "", "", best=False, remark=printable(row.why_null(metric)))
    error = row.standard_error(metric)
    places = decimals[metric.column]
    return Cell(
        text=number(value, places),
        error="" if error is None else f"± {number(error, places)}",
        sort=repr(value),
        best=(row.index, metric.column) in best,
        remark=printable(row.text(f"{metric.column}_warning") or ""),
    )
