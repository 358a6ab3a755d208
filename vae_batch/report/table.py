"""The score table for a terminal, for Markdown, and as plain rows of text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import printable, without_shared_folder
from vae_batch.report.score_rows import (
    ScoreRow,
    best_marks,
    comparable,
    headlines_in,
    is_always_zero,
    parent,
    read_rows,
)
from vae_batch.report.score_text import ARROWS, Footnotes, sample_counts, text_rows

_NARROWEST = 10
_LINE = 79  # characters that fit wherever a table is shown
_BEST_NOTE = "* best point estimate among rows with the same extractor, protocol, n and seed"


def plain_rows(scores: pd.DataFrame) -> list[dict[str, str]]:
    """The score table as text: one dict a row, the same keys in every row.

    Keys are `checkpoint`, `extractor`, `n`, then one for each metric's column. A best value ends
    in `*`; a null is `-` with the number of its footnote in `markdown_table`.

    Raises:
        ValueError: the table lacks an identifying column or has an unknown status.
    """
    return text_rows(read_rows(scores), headlines_in(scores), Footnotes())


def terminal_table(scores: pd.DataFrame) -> Table:
    """The score table for a terminal: a section for each set of rows that may be compared.

    What all rows share stands above the table, what a section's rows share above them; spreads of
    other metrics and diagnostics that are zero everywhere are left to the page. Best point
    estimates are bold green and end in `*`; failures are red; footnotes give every reason.

    Raises:
        ValueError: the table lacks an identifying column or has an unknown status.
    """
    rows, footnotes = read_rows(scores), Footnotes()
    metrics = [metric for metric in headlines_in(scores) if _tells_something(metric, rows)]
    texts = text_rows(rows, metrics, footnotes)
    folder = _shared_folder(rows)
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    summary = _summary(rows, folder)
    table.title = Text(summary, style="bold")
    table.min_width = min(_LINE, max(len(summary), len(_BEST_NOTE)))
    table.add_column("Checkpoint", overflow="fold", min_width=_NARROWEST)
    for metric in metrics:
        table.add_column(Text(_short_heading(metric)), justify="right", no_wrap=True)
    for heading, section in _sections(rows):
        if heading:
            table.add_row(Text(heading, style="italic"))
        for row in section:
            label = printable(row.checkpoint.removeprefix(folder))
            cells = [texts[row.index][metric.column] for metric in metrics]
            table.add_row(*_styled(row, label, cells))
        table.add_section()
    table.caption = Text("\n".join(_notes(rows, metrics, footnotes)), style="none")
    return table


def _tells_something(metric: Metric, rows: Sequence[ScoreRow]) -> bool:
    return metric.column == parent(metric) and not is_always_zero(metric, rows)


def _shared_folder(rows: Sequence[ScoreRow]) -> str:
    """The folder that all checkpoints lie in, with its slash, or ""."""
    shorts = without_shared_folder([row.checkpoint for row in rows])
    return rows[0].checkpoint[: len(rows[0].checkpoint) - len(shorts[0])] if rows else ""


def _summary(rows: Sequence[ScoreRow], folder: str) -> str:
    checkpoints = {row.checkpoint for row in rows}
    failed = {row.checkpoint for row in rows if row.failure is not None}
    plural = "" if len(checkpoints) == 1 else "s"
    parts = [f"{len(checkpoints)} checkpoint{plural}, {len(failed)} failed"]
    parts += [f"in {printable(folder)}"] if folder else []
    firsts = [group[0] for group in comparable(rows).values()]
    if len(firsts) == 1:
        parts.append(printable(firsts[0].conditions.extractor or "-"))
    if len({sample_counts(first) for first in firsts}) == 1:
        parts.append(f"n = {sample_counts(firsts[0])}")
    return " · ".join(parts)


def _sections(rows: Sequence[ScoreRow]) -> list[tuple[str, list[ScoreRow]]]:
    """Rows that may be compared under what tells them from the others; failures last."""
    groups = comparable(rows)
    firsts = [group[0] for group in groups.values()]
    sections = [
        (_section_heading(group[0], firsts) if len(groups) > 1 else "", group)
        for group in groups.values()
    ]
    failed = {(row.checkpoint, row.failure): row for row in rows if row.failure is not None}
    return [*sections, *([("", list(failed.values()))] if failed else [])]


def _section_heading(first: ScoreRow, firsts: Sequence[ScoreRow]) -> str:
    key = first.conditions
    parts = [key.extractor or "-"]
    if len({sample_counts(other) for other in firsts}) > 1:
        parts.append(f"n = {sample_counts(first)}")
    twins = [f.conditions for f in firsts if f.conditions.extractor == key.extractor]
    for name in ("protocol", "seed", "reference_sha256", "weights_sha256"):
        if len({getattr(twin, name) for twin in twins}) > 1:
            parts.append(f"{name.removesuffix('_sha256')} {str(getattr(key, name))[:24]}")
    return "\n".join(printable(part) for part in parts)


def _styled(row: ScoreRow, label: str, cells: Sequence[str]) -> list[Text]:
    if row.failure is not None:
        return [Text(cell, style="red") for cell in (label, *cells)]
    return [Text(label), *(Text(cell, style="bold green" * ("*" in cell)) for cell in cells)]


def _short_heading(metric: Metric) -> str:
    return f"{metric.short} {ARROWS[metric.direction]}".rstrip()


def _notes(rows: Sequence[ScoreRow], metrics: Sequence[Metric], footnotes: Footnotes) -> list[str]:
    return ([_BEST_NOTE] if best_marks(rows, metrics) else []) + footnotes.lines()


def markdown_table(scores: pd.DataFrame) -> str:
    """The score table as GitHub-flavoured Markdown, with footnotes below; ends in a newline.

    Raises:
        ValueError: the table lacks an identifying column or has an unknown status.
    """
    rows, metrics, footnotes = read_rows(scores), headlines_in(scores), Footnotes()
    texts = text_rows(rows, metrics, footnotes)
    lines = [
        _markdown_line(["Checkpoint", "Extractor", "n", *map(_heading, metrics)]),
        "|".join(["", " :-- ", " :-- ", *[" --: "] * (len(metrics) + 1), ""]),
        *(
            _markdown_line([*texts[row.index].values()])
            for _, section in _sections(rows)
            for row in section
        ),
    ]
    notes = [_markdown_text(note) for note in _notes(rows, metrics, footnotes)]
    return "\n".join([*lines, "", *(f"{note}  " for note in notes)]).rstrip() + "\n"


def _heading(metric: Metric) -> str:
    named = f"{metric.title} {ARROWS[metric.direction]}".rstrip()
    return f"{named}, {metric.unit}" if metric.unit else named


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell) for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    """`text` with everything that Markdown or HTML would read as markup made plain."""
    for character in "\\`*_[]|#~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
