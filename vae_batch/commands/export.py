"""The command ``vae-batch export``: a run into TensorBoard or MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from vae_batch.commands.exit_codes import exit_codes, stderr_console
from vae_batch.plan import InputError


def export(
    out: Annotated[str, typer.Argument(help="Output folder or URI of a run.")],
    tensorboard: Annotated[
        str | None, typer.Option(help="Log folder of TensorBoard to write the run into.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Tracking URI of MLflow to log checkpoints to: sqlite:///mlflow.db."),
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="MLflow's experiment; made where it is missing.")
    ] = "vae-batch",
) -> None:
    """Show a run where you already look: TensorBoard, MLflow; doing it twice is doing it once."""
    from vae_batch.report.finished_run import FinishedRun
    from vae_batch.report.sinks import export_run

    with exit_codes():
        if tensorboard is None and mlflow is None:
            raise InputError("name where to export to: --tensorboard DIR, --mlflow URI, or both")
        run = FinishedRun.open(out)
        for sentence in export_run(run, tensorboard, mlflow, experiment):
            stderr_console().print(sentence, markup=False, highlight=False, soft_wrap=True)
