"""The command ``vae-batch compare``: checkpoints of two runs against each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_json, stdout_console
from vae_batch.plan import InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.report.labels import p_value, printable, significant, without_shared_folder

if TYPE_CHECKING:
    from vae_batch.report.charts.ranking import RankedLine, Ranking
    from vae_batch.storage.comparison_file import Comparison

#: A hash, of which a person needs no more than its beginning.
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")

_NOTE = (
    "* best, ≈ not distinguishable from the best (paired by shared samples, Holm-adjusted)\n"
    "[ ] 95 % interval of the difference from the best"
)


def compare(
    out_a: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    out_b: Annotated[str, typer.Argument(help="Of another, scored under the same conditions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")] = False,
) -> None:
    """Compare the checkpoints of two runs in pairs; refuses runs of different protocols."""
    from vae_batch.report.charts.ranking import read_rankings

    with exit_codes():
        rows = _compared(out_a, out_b)
        if as_json:
            print_json([row.to_record() for row in rows])
            return
        names = _names(out_a, out_b, rows)
    console = stdout_console()
    console.print(Text(printable(without_credentials(f"A is {out_a}, B is {out_b}"))))
    for ranking in read_rankings(rows):
        if {names[line.checkpoint][0] for line in ranking.lines} == {"A", "B"}:
            console.print(_table(ranking, names))
    console.print(Text(_NOTE))


def _compared(out_a: str, out_b: str) -> list[Comparison]:
    """Comparisons of two runs.

    Raises:
      InputError: They are one, or may not be compared.
    """
    from vae_batch.run.compare.pairwise import compare_runs
    from vae_batch.storage import Store

    if Store.open(out_a).root == Store.open(out_b).root:
        raise InputError(
            f"{out_a} and {out_b} are the same run; its checkpoints are compared in its own "
            "comparisons.csv and on its page"
        )
    try:
        return compare_runs(out_a, out_b)
    except InputError as error:
        raise InputError(_HASH.sub(r"\1...", str(error))) from None


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


def _table(ranking: Ranking, names: Mapping[str, tuple[str, str]]) -> Table:
    title = Text(f"{ranking.title}, n = {ranking.n:,}", style="bold")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("Run")
    table.add_column("Checkpoint", overflow="fold", min_width=10)
    for name in ("Score", "Difference from best", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in ranking.lines:
        style = "bold green" if line.is_best else "green" if line.is_level else ""
        cells = (*names[line.checkpoint], *_cells(line))
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def _cells(line: RankedLine) -> tuple[str, str, str]:
    """The score with its mark, the difference from the best with its interval, the p-value."""
    mark = "*" if line.is_best else "≈" if line.is_level else " "
    score, difference = f"{significant(line.value)}{mark}", line.from_best
    if difference is None:
        return score, "", ""
    low, high = significant(difference.low), significant(difference.high)
    text = f"{significant(difference.value, sign='+')} [{low}, {high}]"
    return score, text, p_value(difference.p)
