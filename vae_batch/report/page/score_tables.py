"""The score table as the page shows it: a line per checkpoint, a heading per set of conditions.

What does not depend on an extractor stands once, however many extractors there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from vae_batch.metrics.catalogue import METRICS, Metric, compared_column
from vae_batch.report.comparable_rows import (
    Key,
    Measured,
    best_marks,
    estimator_left_out,
    failure_of,
    is_dropped,
    measured_under,
    what_differs,
    why_apart,
    why_undefined,
)
from vae_batch.report.labels import count, decimals_of, number, printable
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.report.score_text import narrow_metrics
from vae_batch.storage.score_rows import ScoreRow

HEADLINES = "headlines"
OTHER_TOOLS = "as other tools print them"
WITHOUT_EXTRACTOR = "losses on test images"


@dataclass(frozen=True)
class ColumnGroup:
    """Metrics measured under the same conditions: one heading over their columns.

    Attributes:
        key: Short name, unique in the page.
        title: The extractor, and what else differs from other groups of the same extractor.
        conditions: The rest of what the numbers depend on, as (name, value).
        metrics: In order; at least one.
        first: The metric whose conditions these are, and so the others'.
        measured: The conditions.
    """

    key: str
    title: str
    conditions: tuple[tuple[str, str], ...]
    metrics: tuple[Metric, ...]
    first: Metric
    measured: Measured

    def column(self, metric: Metric) -> str:
        """The key of the column of one of its metrics."""
        return f"{self.key}-{metric.column}"

    def holds(self, row: ScoreRow) -> bool:
        """Whether a row was measured under the group's conditions.

        Rows that a race dropped stand with those in full, whose first samples they are of.
        """
        measured = _heading_of(row, self.first)
        if not is_dropped(row):
            return measured == self.measured
        return _but_for_samples(measured) == _but_for_samples(self.measured)


@dataclass(frozen=True)
class Cell:
    """One number, or words over several columns.

    Attributes:
        key: Of its column: the group's key, a dash, the metric's column.
        text: The number, "-" where it is undefined, or why a row failed.
        error: Its standard error, or "".
        exact: The number to all its digits, by which it sorts, or "" where there is none.
        exact_error: The standard error to all its digits, or "".
        remark: Why it is undefined, or what to know about it.
        is_best: Whether no comparable row has a better one.
        span: Columns that it covers.
        failed: Whether it says why a row failed.
    """

    key: str
    text: str
    error: str = ""
    exact: str = ""
    exact_error: str = ""
    remark: str = ""
    is_best: bool = False
    span: int = 1
    failed: bool = False


@dataclass(frozen=True)
class Line:
    """One checkpoint: its cells, the words that a filter finds it by, and what its name needs."""

    checkpoint: PageCheckpoint
    words: str
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """Metrics of one name, such as "headlines" or "reconstruction", of all checkpoints.

    Attributes:
        name: Of the metrics.
        groups: Columns with at least one value.
        lines: One for each checkpoint.
        errors: Keys of the columns with standard errors.
        has_steps: Whether some checkpoint has a step.
        places: Of the columns, by key, in the order in which they matter: where the screen has no
            room for all, the last ones are shown on request.
    """

    name: str
    groups: tuple[ColumnGroup, ...]
    lines: tuple[Line, ...]
    errors: frozenset[str]
    has_steps: bool
    places: Mapping[str, int]

    @property
    def title(self) -> str:
        """The name, with abbreviations as the catalogue writes them."""
        words = [_abbreviated(word) for word in self.name.split()]
        first = words[0] if words[0].isupper() else words[0].capitalize()
        return " ".join([first, *words[1:]])


def score_tables(
    rows: Sequence[ScoreRow],
    headlines: Sequence[Metric],
    details: Sequence[Metric],
    checkpoints: Mapping[str, PageCheckpoint],
    selected: str | None = None,
) -> list[ScoreTable]:
    """The headlines' table, with the columns of the printed one, then one for each other group.

    What other tools would print stands in a table of its own, the last one. ``selected`` is the
    column that the best checkpoint was selected by.
    """
    narrow = narrow_metrics([row for row in rows if row.conditions.tool is None], selected)
    tables: dict[str, list[Metric]] = {HEADLINES: narrow}
    for metric in (m for m in [*headlines, *details] if m not in narrow):
        tables.setdefault(metric.group.replace("_", " "), []).append(metric)
    own: dict[str, list[ScoreRow]] = {}
    for row in rows:
        own.setdefault(row.checkpoint, []).append(row)
    if any(row.conditions.tool is not None for row in rows):
        tables[OTHER_TOOLS] = [*headlines, *details]
    return [
        _table(name, metrics, rows, own, checkpoints, selected)
        for name, metrics in tables.items()
        if own
    ]


def _table(
    name: str,
    metrics: Sequence[Metric],
    rows: Sequence[ScoreRow],
    own: Mapping[str, Sequence[ScoreRow]],
    checkpoints: Mapping[str, PageCheckpoint],
    selected: str | None,
) -> ScoreTable:
    shown = [row for row in rows if (row.conditions.tool is not None) == (name == OTHER_TOOLS)]
    groups = [group for each in column_groups(rows, metrics) if (group := _filled(each, shown))]
    best, decimals = best_marks(rows, metrics), _decimals(rows, metrics)
    lines = []
    for label, members in own.items():
        cells = [cell for group in groups for cell in _cells(members, group, decimals, best)]
        if checkpoints[label].failure and not any(cell.exact for cell in cells):
            cells = [_failure(members, "", max(1, sum(len(group.metrics) for group in groups)))]
        elif not groups:
            cells = [Cell("", _status(members))]
        checkpoint, note = checkpoints[label], _dropped(members)
        extractors = dict.fromkeys(row.conditions.extractor for row in members)
        words = " ".join((checkpoint.label, _status(members), note, *extractors))
        lines.append(Line(checkpoint, printable(words).casefold(), tuple(cells), note))
    errors = frozenset(cell.key for line in lines for cell in line.cells if cell.error)
    has_steps = any(line.checkpoint.step_sort for line in lines)
    places = _places(groups, selected)
    return ScoreTable(name, tuple(groups), tuple(lines), errors, has_steps, places)


def _places(groups: Sequence[ColumnGroup], selected: str | None) -> dict[str, int]:
    """What is selected by, then what may be, then the others in table order."""

    def importance(metric: Metric) -> float:
        stands_for = METRICS[compared_column(metric.column)]
        return 0 if stands_for.column == selected else stands_for.default_choice or math.inf

    columns = [(importance(m), group.column(m)) for group in groups for m in group.metrics]
    return {key: place for place, (_, key) in enumerate(sorted(columns, key=itemgetter(0)))}


def _abbreviated(word: str) -> str:
    metric = METRICS.get(word)
    return metric.short if metric is not None and metric.short.isupper() else word


def _decimals(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> dict[str, int]:
    """Decimals of each column, which its errors share: whole numbers may have others."""
    scores = {metric.column: [row.score(metric.column) for row in rows] for metric in metrics}
    return {
        column: decimals_of(
            part for each in own for part in (each.value, each.standard_error) if part is not None
        )
        for column, own in scores.items()
    }


def _filled(group: ColumnGroup, rows: Sequence[ScoreRow]) -> ColumnGroup | None:
    """The group without columns in which no row has a value."""
    members = [row for row in rows if group.holds(row)]
    kept = tuple(
        metric
        for metric in group.metrics
        if any(row.value(metric.column) is not None for row in members)
    )
    return replace(group, metrics=kept) if kept else None


def column_groups(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> list[ColumnGroup]:
    """Groups in order of first appearance; what needs no extractor comes first."""
    alone = tuple(metric for metric in metrics if not metric.per_extractor)
    with_extractor = tuple(metric for metric in metrics if metric.per_extractor)
    groups = []
    for letter, members in (("a", alone), ("e", with_extractor)):
        firsts = _firsts(rows, members[0]) if members else {}
        for index, (measured, row) in enumerate(firsts.items()):
            parts = [measured.extractor or WITHOUT_EXTRACTOR, *what_differs(measured, firsts)]
            counts = {each.n_generated for each in firsts if each.extractor == measured.extractor}
            parts += [f"n = {count(measured.n_generated)}"] if len(counts) > 1 else []
            title, named = printable(" · ".join(parts)), conditions(row, measured)
            groups.append(
                ColumnGroup(f"{letter}{index}", title, named, members, members[0], measured)
            )
    return groups


def _heading_of(row: ScoreRow, metric: Metric) -> Measured:
    """Conditions that a heading stands for: likelihoods share it, whose values do not compete."""
    measured = measured_under(row, metric)
    return estimator_left_out(measured)._replace(model_range=None, input_fit=None)


def _firsts(rows: Sequence[ScoreRow], metric: Metric) -> dict[Measured, ScoreRow]:
    """The first row of each set of conditions: of scored ones where there are some."""
    scored = [row for row in rows if row.status == "scored"]
    whole = [row for row in scored if not is_dropped(row)]
    firsts: dict[Measured, ScoreRow] = {}
    for row in whole or scored or [row for row in rows if row.scores]:
        firsts.setdefault(_heading_of(row, metric), row)
    return firsts


def _but_for_samples(measured: Measured) -> Measured:
    return measured._replace(n_generated=None, left_race_at=None)


def conditions(row: ScoreRow, measured: Measured) -> tuple[tuple[str, str], ...]:
    """What numbers depend on beside the checkpoint, as (name, value) in words."""
    held = row.conditions
    named = {
        "extractor": measured.extractor,
        "protocol": measured.protocol,
        "weights": measured.weights_sha256 and f"{measured.weights_sha256[:12]}…",
        "generated images": measured.n_generated and count(measured.n_generated),
        "reference images": measured.n_reference and count(measured.n_reference),
        "reference set": f"{held.reference} ({held.reference_split})",
        "reference taken as": measured.reference_is,
        "seed": measured.seed,
    }
    return tuple((name, printable(value)) for name, value in named.items() if value is not None)


def _status(rows: Sequence[ScoreRow]) -> str:
    failed = [row for row in rows if row.status == "failed"]
    if not failed:
        return "scored"
    return "failed" if len(failed) == len(rows) else "partly failed"


def _dropped(rows: Sequence[ScoreRow]) -> str:
    found = next((at for row in rows if (at := row.conditions.left_race_at) is not None), None)
    return "" if found is None else f"dropped from the race at {count(found)}"


def _cells(
    rows: Sequence[ScoreRow],
    group: ColumnGroup,
    decimals: Mapping[str, int],
    best: set[tuple[Key, str]],
) -> list[Cell]:
    """A checkpoint's cells of one group: numbers, or one cell that says why there are none."""
    members = [row for row in rows if group.holds(row)]
    members.sort(key=lambda row: row.status == "failed")
    if not members:
        remark = "not scored under these conditions"
        return [Cell(group.column(metric), "-", remark=remark) for metric in group.metrics]
    has_values = any(members[0].value(metric.column) is not None for metric in group.metrics)
    if members[0].status == "failed" and not has_values:
        return [_failure(members, group.key, len(group.metrics))]
    return [_cell(members[0], group, m, decimals[m.column], best) for m in group.metrics]


def _failure(rows: Sequence[ScoreRow], key: str, span: int) -> Cell:
    reasons = dict.fromkeys(reason for row in rows if (reason := failure_of(row)) is not None)
    return Cell(key, printable("; ".join(reasons)), span=span, failed=True)


def _cell(
    row: ScoreRow, group: ColumnGroup, metric: Metric, places: int, best: set[tuple[Key, str]]
) -> Cell:
    score, key = row.score(metric.column), group.column(metric)
    if score.value is None:
        return Cell(key, "-", remark=printable(why_undefined(row, metric)))
    error, dropped = score.standard_error, _dropped([row])
    said = (dropped, score.warning, why_apart(row, metric))
    return Cell(
        key=key,
        text=number(score.value, places),
        error="" if error is None else f"± {number(error, places)}",
        # Of other samples than those in full: it must not be sorted among them.
        exact="" if dropped else repr(score.value),
        exact_error="" if error is None else repr(error),
        remark=printable("; ".join(filter(None, said))),
        is_best=(row.key, metric.column) in best,
    )
