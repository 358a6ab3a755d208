"""The command ``vae-batch rescore``: more metrics for a finished run."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import stderr_console
from vae_batch.plan import EvaluationSpec, make_spec


def rescore(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    metrics: Annotated[
        list[str], typer.Option(help="Groups of metrics to add, such as kid,precision; or all.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")] = False,
) -> None:
    """Add metrics to a finished run from its stored activations; no model is loaded."""
    from vae_batch.report.bundle import write_report
    from vae_batch.report.table import terminal_table
    from vae_batch.run.compare.pairwise import compare_run
    from vae_batch.run.compare.rescore import rescore as rescore_rows
    from vae_batch.storage import Store, read_score_rows

    with exit_codes():
        rows = []
        for row in rescore_rows(out, _groups(metrics)):
            rows.append(row)
            label = f"{row.checkpoint} [{row.conditions.extractor}]: scored"
            stderr_console().print(label, markup=False, soft_wrap=True)
        comparisons = compare_run(out)
        store = Store.open(out)
        write_report(store)
    if as_json:
        print(json.dumps([row.to_record() for row in rows], indent=1))
    else:
        Console().print(terminal_table(read_score_rows(store), comparisons))


def _groups(names: list[str]) -> tuple[str, ...]:
    """Known groups, checked with the words of the spec."""
    settings = {"checkpoints": ["unused"], "reference": "unused", "metrics": names}
    spec: EvaluationSpec = make_spec(settings)
    return spec.metrics
