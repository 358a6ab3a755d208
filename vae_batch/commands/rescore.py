"""The command ``vae-batch rescore``: more metrics for a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vae_batch.commands.exit_codes import SOME_FAILED, exit_codes
from vae_batch.commands.output import print_json, print_parts, say, stderr_console
from vae_batch.plan import EvaluationSpec, InputError, make_spec

if TYPE_CHECKING:
    from vae_batch.run.compare.rescore import Added


def rescore(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    metrics: Annotated[
        list[str], typer.Option(help="Groups of metrics to add, such as kid,precision; or all.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON on stdout.")] = False,
) -> None:
    """Add metrics to a finished run from its stored activations; no model is loaded.

    Exit code 3 where some group gave no value in any row, 2 where none did.
    """
    from vae_batch.report.bundle import write_report
    from vae_batch.report.table import terminal_table
    from vae_batch.run.compare.best_checkpoint import select_again, write_selection
    from vae_batch.run.compare.rescore import added_to, has_values
    from vae_batch.run.compare.rescore import rescore as rescore_rows
    from vae_batch.run.output.run_record import open_record
    from vae_batch.storage import Store, read_comparisons, read_score_rows

    with exit_codes():
        groups = _groups(metrics)
        rows = []
        for row in rescore_rows(out, groups):
            rows.append(row)
            names = ", ".join(group for group in groups if has_values(row, group))
            label = f"{row.checkpoint} [{row.conditions.extractor}]: {names or 'nothing added'}"
            stderr_console().print(label, markup=False, soft_wrap=True)
        added = added_to(rows, groups)
        absent = [one for one in added if not one.rows]
        if len(absent) == len(added):
            raise InputError(f"nothing could be added: {_why(absent)}")
        store = Store.open(out)
        selection = select_again(out, open_record(out).spec)
        if selection is not None:
            write_selection(store, selection)
        write_report(store)
    if as_json:
        print_json([row.to_record() for row in rows])
    else:
        print_parts([terminal_table(read_score_rows(store), read_comparisons(store))])
    if absent:
        say(f"not added: {_why(absent)}")
        raise typer.Exit(SOME_FAILED)


def _why(absent: list[Added]) -> str:
    return "; ".join(f"{one.group} ({'; '.join(one.reasons)})" for one in absent)


def _groups(names: list[str]) -> tuple[str, ...]:
    """Known groups, checked with the words of the spec."""
    settings = {"checkpoints": ["unused"], "reference": "unused", "metrics": names}
    spec: EvaluationSpec = make_spec(settings)
    return spec.metrics
