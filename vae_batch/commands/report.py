"""The commands ``vae-batch report`` and ``vae-batch export``: other views of a finished run."""

from __future__ import annotations

from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes
from vae_batch.commands.output import print_text, say
from vae_batch.plan import InputError
from vae_batch.plan.quantities import plural

_Out = Annotated[str, typer.Argument(help="Output folder or URI of a run.")]


def report(out: _Out) -> None:
    """Draw the figures and the page of a run again; needs no cluster and no model."""
    from vae_batch.report.bundle import write_report
    from vae_batch.storage import Store

    with exit_codes():
        store = Store.open(out)
        written = write_report(store)
        say(f"{plural(len(written), 'file')} written to {store.shown}")


def export(
    out: _Out,
    tensorboard: Annotated[
        str | None, typer.Option(help="Log folder of TensorBoard to write the run to.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Tracking URI of MLflow, such as sqlite:///mlflow.db."),
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(help="Folder for offline files of Weights & Biases, for `wandb sync`."),
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(help="Folder for means and covariances (.npz) as pytorch-fid reads them."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the score table as Markdown.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print the score table for LaTeX (booktabs).")
    ] = False,
    experiment: Annotated[
        str, typer.Option(help="MLflow's experiment or W&B's project; created if missing.")
    ] = "vae-batch",
) -> None:
    """Export a run to TensorBoard, MLflow or Weights & Biases, as statistics, or as a table.

    Exporting a run again creates no duplicates.
    """
    from vae_batch.report.finished_run import FinishedRun
    from vae_batch.report.sinks import export_run
    from vae_batch.report.sinks.text_tables import latex_table, markdown_table

    with exit_codes():
        named = (tensorboard, mlflow, wandb, statistics)
        if all(place is None for place in named) and not (markdown or latex):
            raise InputError(
                "name where to export to: --tensorboard DIR, --mlflow URI, --wandb DIR, "
                "--statistics FOLDER, --markdown or --latex"
            )
        run = FinishedRun.open(out)
        for sentence in export_run(run, tensorboard, mlflow, experiment, statistics, wandb):
            say(sentence)
        for wanted, table in ((markdown, markdown_table), (latex, latex_table)):
            if wanted:
                print_text(table(run).rstrip())
