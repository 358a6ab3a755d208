"""The command ``vae-batch compare``: checkpoints of two runs against each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_json, stdout_console
from vae_batch.plan import InputError, make_spec
from vae_batch.plan.credentials import without_credentials
from vae_batch.report.labels import (
    decimals_of,
    number,
    p_value,
    printable,
    with_interval,
    without_shared_folder,
)

if TYPE_CHECKING:
    from vae_batch.report.charts.ranking import RankedLine, Ranking
    from vae_batch.run.output.run_record import ScoredRow
    from vae_batch.storage.comparison_file import Comparison

#: A hash, of which a person needs no more than its beginning.
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")

_NOTE = (
    "* best, ≈ not distinguishable from the best (paired by shared samples, Holm-adjusted)\n"
    "[ ] 95 % interval of the difference from the best"
)

#: Run, A or B, and short name of a checkpoint, by its label.
_Names = Mapping[str, tuple[str, str]]


def compare(
    out_a: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    out_b: Annotated[str, typer.Argument(help="Of another, scored under the same conditions.")],
    select: Annotated[
        str | None, typer.Option(help="Metric that says which is best, as of `score`.")
    ] = None,
    sort: Annotated[
        bool, typer.Option("--sort", help="Best checkpoint first, not run by run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")] = False,
) -> None:
    """Say which checkpoint of two runs is best, and compare them in pairs.

    Runs of different protocols are refused. With --json each checkpoint's differences from the
    best and from the one before it are printed, by metric.
    """
    from vae_batch.report.charts.ranking import read_rankings
    from vae_batch.run.compare.pairwise import compare_rows

    with exit_codes():
        scored = _rows(out_a, out_b)
        rows = compare_rows(scored)
        if as_json:
            print_json([row.to_record() for row in rows])
            return
        names = _names(out_a, out_b, rows)
        verdict = _verdict(out_a, select, scored, rows, names)
    console = stdout_console()
    console.print(Text(verdict, style="bold"))
    console.print(Text(printable(without_credentials(f"A is {out_a}, B is {out_b}"))))
    for ranking in read_rankings(rows):
        if {names[line.checkpoint][0] for line in ranking.lines} == {"A", "B"}:
            console.print(_table(ranking, names, best_first=sort))
    console.print(Text(_NOTE))


def _rows(out_a: str, out_b: str) -> list[ScoredRow]:
    """Rows of two runs.

    Raises:
      InputError: They are one, or may not be compared.
    """
    from vae_batch.run.compare.pairwise import rows_of_runs
    from vae_batch.storage import Store

    if Store.open(out_a).root == Store.open(out_b).root:
        raise InputError(
            f"{out_a} and {out_b} are the same run; its checkpoints are compared in its own "
            "comparisons.csv and on its page"
        )
    try:
        return rows_of_runs(out_a, out_b)
    except InputError as error:
        raise InputError(_HASH.sub(r"\1...", str(error))) from None


def _verdict(
    out_a: str,
    select: str | None,
    scored: Sequence[ScoredRow],
    rows: Sequence[Comparison],
    names: _Names,
) -> str:
    """Which checkpoint is best, with the names that the tables have."""
    from vae_batch.run.compare.best_checkpoint import select_best
    from vae_batch.run.compare.pairwise import compare_some
    from vae_batch.run.output.run_record import open_record

    said = {label: f"{short} of {run}" for label, (run, short) in names.items()}
    labels = {name: label for label, name in said.items()}

    def renamed(found: Iterable[Comparison]) -> list[Comparison]:
        return [replace(x, checkpoint=said[x.checkpoint], best=said[x.best]) for x in found]

    def among(names: Sequence[str], metric: str, extractor: str | None) -> list[Comparison]:
        wanted = {labels[name] for name in names}
        return renamed(compare_some(scored, wanted, metric, extractor))

    spec = open_record(out_a).spec
    asked = {"race": None, "select": select or spec.select}
    spec = make_spec(spec.model_dump() | asked, source="--select")
    found = select_best(renamed(rows), spec, among)
    if found is None:
        return "No checkpoint could be selected as best."
    return printable(f"{found.sentence[0].upper()}{found.sentence[1:]}.")


def _names(out_a: str, out_b: str, rows: Sequence[Comparison]) -> dict[str, tuple[str, str]]:
    """The run, A or B, and the short name of each checkpoint that was compared."""
    from vae_batch.storage import Store, read_score_rows

    of_a = {row.checkpoint for row in read_score_rows(Store.open(out_a))}
    found = {}
    for label in dict.fromkeys(row.checkpoint for row in rows):
        runs = (("A", without_credentials(out_a)), ("B", without_credentials(out_b)))
        # A checkpoint of both runs has its folder before its name.
        twice = [(name, f"{out}: ") for name, out in runs if label.startswith(f"{out}: ")]
        name, start = twice[0] if twice else ("A" if label in of_a else "B", "")
        found[label] = (name, label.removeprefix(start))
    shorts = without_shared_folder([short for _, short in found.values()])
    return {
        label: (name, printable(short))
        for (label, (name, _)), short in zip(found.items(), shorts, strict=True)
    }


def _table(ranking: Ranking, names: _Names, *, best_first: bool) -> Table:
    """Checkpoints of A, then of B, in the order of their runs; or the best first."""
    title = Text(f"{ranking.title}, n = {ranking.n:,}", style="bold")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    lines = list(ranking.lines)
    if not best_first:
        order = {label: place for place, label in enumerate(names)}
        lines.sort(key=lambda line: (names[line.checkpoint][0], order[line.checkpoint]))
    cells = {"Score": _scores(lines), **_differences(lines)}
    shown = {heading: found for heading, found in cells.items() if any(found)}
    table.add_column("Run")
    table.add_column("Checkpoint", overflow="fold", min_width=10)
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    before = ""
    for line, *texts in zip(lines, *shown.values(), strict=True):
        run, short = names[line.checkpoint]
        if before not in (run, "") and not best_first:
            table.add_section()
        before = run
        style = "bold green" if line.is_best else "green" if line.is_level else ""
        table.add_row(*(Text(text, style=style) for text in (run, short, *texts)))
    return table


def _scores(lines: Iterable[RankedLine]) -> list[str]:
    """Scores in the same decimals, with their marks."""
    places = decimals_of(line.value for line in lines)
    marks = ("*" if line.is_best else "≈" if line.is_level else " " for line in lines)
    return [number(line.value, places) + mark for line, mark in zip(lines, marks, strict=True)]


def _differences(lines: Iterable[RankedLine]) -> dict[str, list[str]]:
    """Differences from the best with their intervals, and the p-values."""
    found = [line.from_best for line in lines]
    known = [each for each in found if each is not None]
    places = decimals_of([x for each in known for x in (each.value, each.low, each.high)])
    texts = [
        " ".join(with_interval(each.value, each.low, each.high, "+", places)) if each else ""
        for each in found
    ]
    values = [p_value(each.p) if each else "" for each in found]
    return {"Difference from best": texts, "p (Holm)": values}
