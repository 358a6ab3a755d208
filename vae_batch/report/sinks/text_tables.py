"""The score table as Markdown or as LaTeX (booktabs), for issues and papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.report.comparable_rows import best_marks, failure_of
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import count, number, printable, without_shared_folder
from vae_batch.report.score_text import column_decimals, columns_of, sample_counts, spreads_of

_NOTE = (
    "Bold: best point estimate among rows with the same extractor, protocol, n and seed; "
    "± one standard error; [ ] 95 % interval; n is generated / reference images."
)


@dataclass(frozen=True)
class _Cell:
    """A text, and whether it is the best of its column."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class _Table:
    """Headings, rows by training run (folder) in table order, and what stands below."""

    headings: Sequence[str]
    runs: Mapping[str, Sequence[Sequence[_Cell]]]
    notes: Sequence[str]


def markdown_table(run: FinishedRun) -> str:
    """The score table in GitHub's Markdown: values with their spread, n, the best in bold."""
    table = _table(run)
    lines = [table.headings, ["---", *["--:"] * (len(table.headings) - 1)]]
    for folder, rows in table.runs.items():
        if folder and len(table.runs) > 1:
            lines.append([f"*{_markdown(folder)}*", *[""] * (len(table.headings) - 1)])
        for row in rows:
            lines.append([_bold(cell, _markdown, "**{}**") for cell in row])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([text, *(_markdown(note) for note in table.notes)]) + "\n"


def latex_table(run: FinishedRun) -> str:
    r"""The score table as a ``tabular``; the document needs ``\usepackage{booktabs}``."""
    table = _table(run)
    columns = len(table.headings)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        "\\toprule",
        _line([_latex(heading) for heading in table.headings]),
    ]
    for folder, rows in table.runs.items():
        lines.append("\\midrule")
        if folder and len(table.runs) > 1:
            lines.append(f"\\multicolumn{{{columns}}}{{l}}{{\\textit{{{_latex(folder)}}}}} \\\\")
        lines += [_line([_bold(cell, _latex, "\\textbf{{{}}}") for cell in row]) for row in rows]
    lines += ["\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _table(run: FinishedRun) -> _Table:
    rows = run.rows
    columns = columns_of(rows, run.selection.metric if run.selection else None)
    metrics = [column.metric for column in columns]
    decimals, best = column_decimals(rows, metrics), best_marks(rows, metrics)
    spreads = {m.column: spreads_of(m, rows) for m in metrics}
    several = len({row.conditions.extractor for row in rows}) > 1
    shorts = dict(
        zip(
            [row.checkpoint for row in rows],
            without_shared_folder([row.checkpoint for row in rows]),
            strict=True,
        )
    )
    runs: dict[str, list[list[_Cell]]] = {}
    for row in rows:
        folder, _, name = shorts[row.checkpoint].rpartition("/")
        cells = [_Cell(printable(name)), _Cell(count(row.step))]
        cells += [_Cell(printable(row.conditions.extractor))] if several else []
        cells.append(_Cell(sample_counts(row)))
        failure = failure_of(row)
        for column in columns:
            metric = column.metric
            value = row.value(metric.column)
            if value is None:
                cells.append(_Cell("-" if failure is None else "failed"))
                continue
            spread = spreads[metric.column].get(row.key, "") if column.has_spread else ""
            text = number(value, decimals[metric.column]) + spread
            cells.append(_Cell(text, (row.key, metric.column) in best))
        runs.setdefault(folder, []).append(cells)
    words = ["Checkpoint", "Step", *(["Extractor"] if several else []), "n"]
    headings = [column.heading for column in columns]
    failed = {row.checkpoint: failure_of(row) for row in rows if row.status == "failed"}
    notes = [f"{printable(label)} failed: {printable(why)}" for label, why in failed.items()]
    return _Table([*words, *headings], runs, [_NOTE, *notes])


def _bold(cell: _Cell, escape: Callable[[str], str], form: str) -> str:
    text = escape(cell.text)
    return form.format(text) if cell.is_best else text


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _markdown(text: str) -> str:
    for character in "\\|*_`<>[]":
        if character in text:
            text = text.replace(character, f"\\{character}")
    return text


#: Characters that LaTeX reads as commands, and symbols that text fonts may lack.
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "\N{MINUS SIGN}": "$-$",
        "±": "$\\pm$",
        "↓": "$\\downarrow$",
        "↑": "$\\uparrow$",
        "∞": "$\\infty$",
    }
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)
