"""The command ``vae-batch metrics``: what each number means."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer
from rich.console import Console

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.plan import InputError


def metrics(
    column: Annotated[
        str | None, typer.Argument(help="A column of the score table; all when not given.")
    ] = None,
) -> None:
    """List the metrics, or say what one of them means, needs and comes from."""
    from vae_batch.metrics.catalogue import METRICS
    from vae_batch.report.metric_table import metric_details, metric_markdown

    if column is None:
        print(metric_markdown(), end="")
        return
    with exit_codes():
        if column not in METRICS:
            near = difflib.get_close_matches(column, METRICS, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`vae-batch metrics` lists all"
            raise InputError(f"metric {column!r} is not in the table; {hint}")
    console = Console()
    for line in metric_details(column):
        console.print(line, markup=False, highlight=False)
