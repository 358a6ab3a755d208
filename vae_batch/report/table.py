"""The score table for a terminal, as wide as the terminal is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from vae_batch.metrics.catalogue import Metric, compared_column
from vae_batch.report.comparable_rows import (
    Key,
    Measured,
    comparable,
    failure_of,
    is_dropped,
    is_never_printed,
    metrics_in,
    what_differs,
)
from vae_batch.report.labels import count, number, printable, without_shared_folder
from vae_batch.report.score_text import (
    Cell,
    Column,
    Footnotes,
    aligned,
    column_decimals,
    columns_of,
    narrower,
    sample_counts,
    spreads_of,
    text_rows,
    width_of,
)
from vae_batch.storage.comparison_file import Comparison
from vae_batch.storage.score_rows import ScoreRow

_NARROWEST = 10  # of the checkpoint's column, which folds
_LINE = 79  # characters that a title and the notes need not be broken at
_GAP = 3  # between columns

_BEST = "* best point estimate among rows with the same extractor, protocol, n and seed"
_LEVEL = "≈ not distinguishable from the best (paired by shared samples, Holm-adjusted)"
_SPREAD = "± one standard error"
_OF_TOOLS = "as other tools would print them (not compared; `vae-batch help protocols`)"
_INTERVAL = "[ ] 95 % interval"


def terminal_table(
    rows: Sequence[ScoreRow], comparisons: Sequence[Comparison] = (), selected: str | None = None
) -> ScoreTable:
    """The score table for a terminal: a section for each set of rows that may be compared.

    What all rows share stands above the table, what a section's rows share above the section. A
    value has its standard error or interval if there is room; columns without room are named
    below the table. Best point estimates are bold green and end in ``*``; values that are not
    distinguishable from the best are green and end in ``≈``; failures are red. Footnotes give
    every reason. What other tools would print stands in a table of its own below.

    Args:
        rows: Of the score table.
        comparisons: Rows of the table of comparisons.
        selected: Metric that the best checkpoint was chosen by, which always has a column.
    """
    level = {
        (each.metric, each.extractor, each.checkpoint)
        for each in comparisons
        if each.level_with_best and not each.is_best
    }
    own = [row for row in rows if row.conditions.tool is None]
    of_tools = [row for row in rows if row.conditions.tool is not None]
    return ScoreTable(own, columns_of(own, selected), level, selected, of_tools)


class ScoreTable:
    """The table of some rows; what a console prints depends on its width."""

    def __init__(
        self,
        rows: Sequence[ScoreRow],
        columns: Sequence[Column],
        level: set[tuple[str, str | None, str]],
        selected: str | None,
        of_tools: Sequence[ScoreRow],
    ) -> None:
        """``level`` holds (metric, extractor, checkpoint) of what is not distinguishable."""
        self._rows, self._level, self._of_tools = rows, level, of_tools
        self._selected = selected
        valued = [c for c in columns if any(row.value(c.metric.column) is not None for row in rows)]
        self._columns = valued or list(columns)
        self._empty = [c.metric for c in columns if valued and c not in valued]
        self._folder = _shared_folder(rows)
        self._labels = {
            row.key: printable(row.checkpoint.removeprefix(self._folder)) for row in rows
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        yield self._fitting(options.max_width)
        if self._of_tools:
            yield _table_of_tools(self._of_tools, self._folder, options.max_width)

    def _fitting(self, width: int) -> Table:
        """The table of as many columns as there is room for."""
        longest = max((len(label) for label in self._labels.values()), default=0)
        room = width - max(_NARROWEST, min(longest, width // 4))
        for columns in narrower(self._columns, self._selected):
            footnotes = Footnotes()
            cells = self._cells(columns, footnotes)
            if sum(_GAP + width_of(column, cells) for column in columns) <= room:
                break
        return self._table(columns, cells, footnotes, min(width, _LINE))

    def _cells(self, columns: Sequence[Column], footnotes: Footnotes) -> dict[Key, dict[str, Cell]]:
        """Cells by the row's key and the column's name."""
        metrics = [column.metric for column in columns]
        texts = text_rows(self._rows, metrics, footnotes)
        by_column = {column.metric.column: self._column_cells(column, texts) for column in columns}
        return {
            row.key: {name: cells[row.key] for name, cells in by_column.items()}
            for row in self._rows
        }

    def _column_cells(
        self, column: Column, texts: Mapping[Key, Mapping[str, str]]
    ) -> dict[Key, Cell]:
        metric = column.metric
        spreads = spreads_of(metric, self._rows) if column.has_spread else {}
        cells = {}
        for row in self._rows:
            text = texts[row.key][metric.column]
            spread = "" if row.value(metric.column) is None else spreads.get(row.key, "")
            cells[row.key] = Cell.of(text, spread, is_level=self._is_level(row, metric))
        return aligned(cells)

    def _is_level(self, row: ScoreRow, metric: Metric) -> bool:
        extractor = row.conditions.extractor if metric.per_extractor else None
        key = (compared_column(metric.column), extractor, row.checkpoint)
        return key in self._level and row.status == "scored"

    def _table(
        self,
        columns: Sequence[Column],
        cells: Mapping[Key, Mapping[str, Cell]],
        footnotes: Footnotes,
        line: int,
    ) -> Table:
        table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        table.title_justify = table.caption_justify = "left"
        summary = _summary(self._rows, self._folder)
        notes = list(self._notes(columns, cells, footnotes))
        table.title = Text(summary, style="bold")
        table.min_width = min(line, max(map(len, [summary, *notes])))
        table.add_column("Checkpoint", overflow="fold", min_width=_NARROWEST)
        for column in columns:
            table.add_column(Text(column.heading), justify="right", no_wrap=True)
        for heading, section in _sections(self._rows):
            if heading:
                table.add_row(Text(heading, style="italic"))
            for row in section:
                table.add_row(*_styled(row, self._labels[row.key], cells[row.key].values()))
            table.add_section()
        table.caption = Text("\n".join(notes), style="none")
        return table

    def _notes(
        self,
        columns: Sequence[Column],
        cells: Mapping[Key, Mapping[str, Cell]],
        footnotes: Footnotes,
    ) -> Iterator[str]:
        shown = [cell for row in cells.values() for cell in row.values()]
        yield from ([_BEST] if any(cell.is_best for cell in shown) else [])
        yield from ([_LEVEL] if any(cell.is_level for cell in shown) else [])
        spreads = "".join(cell.spread for cell in shown)
        explained = [_SPREAD] * ("±" in spreads) + [_INTERVAL] * ("[" in spreads)
        yield from ([", ".join(explained)] if explained else [])
        kept = {column.metric for column in columns}
        left_out = [c.metric.short for c in self._columns if c.metric not in kept]
        if left_out:
            yield f"no room for {', '.join(left_out)}: scores.csv has all"
        yield from footnotes.lines()
        yield from self._empty_notes()

    def _empty_notes(self) -> Iterator[str]:
        """Why the columns that no row has a value in have none."""
        found: dict[str, list[str]] = {}
        for metric in self._empty:
            scored = (row for row in self._rows if row.status == "scored")
            reasons = (row.score(metric.column).reason for row in scored)
            texts = dict.fromkeys(printable(reason.text) for reason in reasons if reason)
            found.setdefault("; ".join(texts), []).append(metric.short)
        yield from (f"no {', '.join(names)}: {why}" for why, names in found.items())


def _table_of_tools(rows: Sequence[ScoreRow], folder: str, width: int) -> Table:
    """What other tools would print: a section for each checkpoint, as many columns as fit."""
    notes, metrics = Footnotes(), metrics_in(rows)
    decimals = column_decimals(rows, metrics)
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.title, table.title_justify = Text(_OF_TOOLS, style="bold"), "left"
    table.add_column("Protocol", no_wrap=True)
    columns = [
        (m, [_cell_of_tool(row, m, decimals[m.column], notes) for row in rows])
        for m in metrics
        if any(row.value(m.column) is not None for row in rows)
    ]
    names = [_name_of_tool(row, notes) for row in rows]
    room = width - max(map(len, names))
    left_out = []
    for metric, cells in columns:
        room -= _GAP + max(map(len, [metric.short, *cells]))
        if room < 0:
            left_out.append(metric.short)
        else:
            table.add_column(metric.short, justify="right", no_wrap=True)
    shown = columns[: len(columns) - len(left_out)]
    for i, row in enumerate(rows):
        if i == 0 or row.checkpoint != rows[i - 1].checkpoint:
            table.add_section()
            table.add_row(Text(printable(row.checkpoint.removeprefix(folder)), style="italic"))
        table.add_row(names[i], *(Text(cells[i]) for _, cells in shown))
    lines = [f"no room for {', '.join(left_out)}: scores.csv has all"] if left_out else []
    lines += notes.lines()
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    table.min_width = min(width, _LINE, max(map(len, [_OF_TOOLS, *lines])))
    return table


def _name_of_tool(row: ScoreRow, notes: Footnotes) -> str:
    """Tool and version; the number of images of a row that a race dropped; whether it failed."""
    name = printable(row.conditions.extractor.split("@")[0])
    failure = failure_of(row)
    if failure is not None:
        return f"{name}: failed{notes.mark(f'failed: {failure}')}"
    return f"{name}, n = {sample_counts(row)}" if is_dropped(row) else name


def _cell_of_tool(row: ScoreRow, metric: Metric, decimals: int, notes: Footnotes) -> str:
    """A number; nothing where the tool prints none; or the mark of a reason."""
    value, reason = row.value(metric.column), row.score(metric.column).reason
    if value is not None:
        return number(value, decimals)
    is_explained = row.status == "failed" or is_never_printed(row, metric)
    if reason is None or reason.code == "not_requested" or is_explained:
        return ""
    return f"-{notes.mark(f'{metric.title}: {reason.text}')}"


def _shared_folder(rows: Sequence[ScoreRow]) -> str:
    """The folder that all checkpoints lie in, with its slash, or ""."""
    shorts = without_shared_folder([row.checkpoint for row in rows])
    return rows[0].checkpoint[: len(rows[0].checkpoint) - len(shorts[0])] if rows else ""


def _summary(rows: Sequence[ScoreRow], folder: str) -> str:
    checkpoints = {row.checkpoint for row in rows}
    failed = {row.checkpoint for row in rows if row.status == "failed"}
    plural = "" if len(checkpoints) == 1 else "s"
    parts = [f"{len(checkpoints)} checkpoint{plural}, {len(failed)} failed"]
    parts += [f"in {printable(folder)}"] if folder else []
    firsts = [group[0] for group in comparable(rows).values()]
    if len(firsts) == 1:
        parts.append(printable(firsts[0].conditions.extractor))
    if len({sample_counts(first) for first in firsts}) == 1:
        parts.append(f"n = {sample_counts(firsts[0])}")
    return " · ".join(parts)


def _sections(rows: Sequence[ScoreRow]) -> list[tuple[str, list[ScoreRow]]]:
    """Comparable rows under a heading that says what differs between sections; failures last."""
    found = comparable(rows)
    # Rows that a race dropped come last, the latest of them first.
    order = sorted(found, key=lambda held: -(held.left_race_at or math.inf))
    groups = {held: found[held] for held in order}
    firsts = {held: group[0] for held, group in groups.items()}
    sections = [
        (_section_heading(held, group[0], firsts) if len(groups) > 1 else "", group)
        for held, group in groups.items()
    ]
    failed = {(row.checkpoint, failure_of(row)): row for row in rows if row.status == "failed"}
    return [*sections, *([("", list(failed.values()))] if failed else [])]


def _section_heading(own: Measured, first: ScoreRow, firsts: Mapping[Measured, ScoreRow]) -> str:
    parts = [first.conditions.extractor]
    if own.left_race_at is not None:
        parts.append(f"dropped from the race at n = {count(own.left_race_at)}")
    elif len({sample_counts(other) for other in firsts.values()}) > 1:
        parts.append(f"n = {sample_counts(first)}")
    differing = what_differs(own, firsts, besides=("n_reference",))
    return "\n".join(printable(part) for part in [*parts, *differing])


def _styled(row: ScoreRow, label: str, cells: Iterable[Cell]) -> list[Text]:
    if row.status == "failed":
        return [Text(str(cell), style="red") for cell in (label, *cells)]
    return [Text(label), *(Text(str(cell), style=_style(cell)) for cell in cells)]


def _style(cell: Cell) -> str:
    return "bold green" if cell.is_best else "green" if cell.is_level else ""
