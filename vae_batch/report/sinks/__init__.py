"""Exports of a finished run to TensorBoard and MLflow, and its statistics for other tools."""

from __future__ import annotations

from collections.abc import Iterator

from vae_batch.plan.credentials import without_credentials
from vae_batch.plan.quantities import plural
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks.mlflow_store import write_mlflow
from vae_batch.report.sinks.statistics import write_statistics
from vae_batch.report.sinks.tensorboard import write_tensorboard

__all__ = ["export_run", "write_mlflow", "write_statistics", "write_tensorboard"]


def export_run(
    run: FinishedRun,
    tensorboard: str | None,
    mlflow: str | None,
    experiment: str,
    statistics: str | None = None,
) -> Iterator[str]:
    """Export a run and yield one sentence per export about what was written.

    Args:
        run: What to show.
        tensorboard: TensorBoard's log folder, or None.
        mlflow: MLflow's tracking URI, or None.
        experiment: MLflow's experiment.
        statistics: Folder or URI of means and covariances, or None.

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
        logged = write_mlflow(run, mlflow, experiment)
        yield (
            f"mlflow: {plural(logged.created, 'run')} created, {logged.replaced} replaced, "
            f"{logged.kept} kept in experiment {experiment}"
        )
    if statistics is not None:
        files = write_statistics(run, statistics)
        yield f"statistics: {plural(files, 'file')} in {without_credentials(statistics)}"
