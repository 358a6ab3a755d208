"""A run in an MLflow tracking store: one MLflow run for each training run, its steps a series."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vae_batch.installation import pip_install
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks.training_runs import Logged, TrainingRun, milliseconds, training_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

_IDENTITY, _DIGEST = "vae_batch.training_run", "vae_batch.digest"
_LONGEST_TAG, _LONGEST_PARAMETER = 5000, 500  # characters that every store of MLflow takes
_MOST_METRICS = 1000  # in one request


def write_mlflow(run: FinishedRun, uri: str, experiment: str) -> Logged:
    """Log every training run as an MLflow run; idempotent.

    An MLflow run has the conditions of its checkpoints as parameters, finite scores and the ends of
    their intervals as metrics at the training step, so that they are lines, figures and rows as
    artifacts, and as tags the checkpoint of each step, failures and warnings. A checkpoint without
    a step has a run of its own. Where rows or figures have changed since, the MLflow run is deleted
    and written again, since MLflow keeps all points of a metric.

    Args:
        run: What to log.
        uri: MLflow's tracking URI, such as ``sqlite:///mlflow.db`` or a server's.
        experiment: Name of the experiment; made where it is missing.

    Raises:
        InputError: MLflow is not installed, or its store cannot be used.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise InputError(
            f"--mlflow needs the package mlflow; in the checkout: {pip_install('mlflow')}"
        ) from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of its own tables
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        identifier = found.experiment_id if found else client.create_experiment(experiment)
        return Logged.count([_log(client, identifier, each) for each in training_runs(run)])
    except (MlflowException, OSError) as error:
        raise InputError(f"--mlflow {uri} cannot be used: {error}") from None


def _log(client: MlflowClient, experiment: str, training: TrainingRun) -> str:
    """Write one MLflow run, if need be; how it went in one word."""
    same = client.search_runs([experiment], f"tags.`{_IDENTITY}` = '{training.identity}'")
    if any(run.data.tags.get(_DIGEST) == training.digest for run in same):
        return "kept"
    _create(client, experiment, training)
    for run in same:
        client.delete_run(run.info.run_id)
    return "replaced" if same else "created"


def _create(client: MlflowClient, experiment: str, training: TrainingRun) -> None:
    from mlflow.entities import Metric, Param, RunTag

    times = [milliseconds(row) for row in training.rows]
    tags = {_IDENTITY: training.identity, **training.said()}
    run = client.create_run(
        experiment,
        start_time=min(times),
        tags={name: text[:_LONGEST_TAG] for name, text in tags.items()},
        run_name=training.name,
    ).info.run_id
    params = [
        Param(name, text[:_LONGEST_PARAMETER]) for name, text in training.conditions().items()
    ]
    client.log_batch(run, params=params)
    metrics = [
        Metric(tag, value, milliseconds(next(iter(each.rows.values()))), each.step or 0)
        for each in training.checkpoints
        for tag, value in (each.scalars() | each.intervals()).items()
    ]
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
    _log_artifacts(client, run, training)
    # Written last, so that an interrupted run is written again.
    client.log_batch(run, tags=[RunTag(_DIGEST, training.digest)])
    status = "FAILED" if training.failed else "FINISHED"
    client.set_terminated(run, status, end_time=max(times))


def _log_artifacts(client: MlflowClient, run: str, training: TrainingRun) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "rows.json").write_text(json.dumps(training.records, indent=1))
        if training.figures:
            (folder / "figures").mkdir()
        for name in training.figures:
            (folder / "figures" / name).write_bytes(training.folder.read(name))
        client.log_artifacts(run, temporary)
