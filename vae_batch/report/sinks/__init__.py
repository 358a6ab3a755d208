"""Exports of a finished run to trackers of experiments, and its statistics for other tools."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from vae_batch.plan.credentials import without_credentials
from vae_batch.plan.quantities import plural
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks.mlflow_store import write_mlflow
from vae_batch.report.sinks.statistics import write_statistics
from vae_batch.report.sinks.tensorboard import write_tensorboard
from vae_batch.report.sinks.wandb_files import write_wandb

__all__ = ["export_run", "write_mlflow", "write_statistics", "write_tensorboard", "write_wandb"]


def export_run(
    run: FinishedRun,
    tensorboard: str | None,
    mlflow: str | None,
    experiment: str,
    statistics: str | None = None,
    wandb: str | None = None,
) -> Iterator[str]:
    """Export a run and yield one sentence per export about what was written.

    Args:
        run: What to show.
        tensorboard: TensorBoard's log folder, or None.
        mlflow: MLflow's tracking URI, or None.
        experiment: MLflow's experiment, W&B's project.
        statistics: Folder or URI of means and covariances, or None.
        wandb: Folder for W&B's offline files, or None.

    Raises:
        InputError: A place cannot be written, or its package is not installed.
    """
    if tensorboard is not None:
        events = write_tensorboard(run, tensorboard)
        yield (
            f"tensorboard: {plural(events.scalars, 'point')}, {plural(events.images, 'picture')}, "
            f"{plural(events.texts, 'text')} in {events.folder}"
        )
    if mlflow is not None:
        yield f"mlflow: {write_mlflow(run, mlflow, experiment)} in experiment {experiment}"
    if wandb is not None:
        yield (
            f"wandb: {write_wandb(run, wandb, experiment)} for project {experiment}; "
            f"`wandb sync {os.path.join(shlex.quote(wandb), 'wandb/offline-run-*')}` sends them"
        )
    if statistics is not None:
        files = write_statistics(run, statistics)
        yield f"statistics: {plural(files, 'file')} in {without_credentials(statistics)}"
