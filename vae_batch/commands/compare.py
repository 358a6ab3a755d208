"""The command ``vae-batch compare``: checkpoints of two runs against each other."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vae_batch.commands.exit_codes import exit_codes


def compare(
    out_a: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    out_b: Annotated[str, typer.Argument(help="Of another, scored under the same conditions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")] = False,
) -> None:
    """Compare the checkpoints of two runs in pairs; refuses runs of different protocols."""
    from vae_batch.report.comparison_view import comparison_tables
    from vae_batch.run.comparing import compare_runs

    with exit_codes():
        rows = compare_runs(out_a, out_b)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for view in comparison_tables(rows):
        table = Table(
            box=SIMPLE_HEAD, title=f"{view.title}, n = {view.count}", title_justify="left"
        )
        for name in ("Checkpoint", "Score", "", "From the best [95 %]", "Holm p"):
            table.add_column(name, justify="left" if name == "Checkpoint" else "right")
        for line in view.lines:
            cells = (line.short, line.value, line.mark, line.from_best, line.best_p)
            table.add_row(*(Text(cell, style="bold" * bool(line.mark)) for cell in cells))
        Console().print(table)
