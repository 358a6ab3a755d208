"""A run in an MLflow tracking store: one MLflow run a checkpoint, found again by fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_batch.installation import pip_install
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import slugs
from vae_batch.report.sinks.scored_checkpoints import ScoredCheckpoint, scored_checkpoints
from vae_batch.storage import Store
from vae_batch.storage.score_rows import ScoreRow

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Conditions that all rows of a checkpoint share, and those that each extractor has its own of.
_SHARED = (
    "checkpoint_sha256",
    "reference",
    "reference_split",
    "reference_sha256",
    "reference_is",
    "n_generated",
    "n_reference",
    "seed",
    "model_format",
    "model_range",
    "input_fit",
    "condition",
    "second_head",
    "likelihood",
    "sigma",
    "beta",
)
_OWN = ("protocol", "weights_sha256", "feature_dim")

_FINGERPRINT, _CHECKPOINT, _DIGEST = (
    f"vae_batch.{name}" for name in ("fingerprint", "checkpoint", "digest")
)
_LONGEST_TAG, _LONGEST_PARAMETER = 5000, 500  # characters that every store of MLflow takes
_MOST_METRICS = 1000  # in one request


@dataclass(frozen=True)
class Logged:
    """Numbers of MLflow runs that one export created, replaced or kept."""

    created: int = 0
    replaced: int = 0
    kept: int = 0


def write_mlflow(run: FinishedRun, uri: str, experiment: str) -> Logged:
    """Log every checkpoint as an MLflow run; idempotent.

    A run has its conditions as parameters, finite scores as metrics at the training step, its
    figures and rows as artifacts, and status, reason and warnings as tags. Where a checkpoint's
    rows or figures have changed since, its MLflow run is deleted and written again, since MLflow
    keeps all points of a metric.

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
        done = [_log(client, identifier, entry) for entry in _entries(run)]
    except (MlflowException, OSError) as error:
        raise InputError(f"--mlflow {uri} cannot be used: {error}") from None
    return Logged(*(done.count(word) for word in ("created", "replaced", "kept")))


@dataclass(frozen=True)
class _Entry:
    """What one MLflow run is made of; ``digest`` changes whenever its content does."""

    checkpoint: ScoredCheckpoint
    fingerprint: str
    digest: str
    figures: Mapping[str, int]
    folder: Store


def _entries(run: FinishedRun) -> Iterator[_Entry]:
    folder = run.store.folder("figures")
    figures = _figures_by_checkpoint(run, folder.sizes())
    for checkpoint in scored_checkpoints(run):
        rows = list(checkpoint.rows.values())
        prints = sorted(row.provenance.fingerprint or row.checkpoint for row in rows)
        own = figures.get(checkpoint.label, {})
        untimed = [{k: v for k, v in row.to_record().items() if k != "scored_at"} for row in rows]
        yield _Entry(
            checkpoint,
            fingerprint=prints[0] if len(prints) == 1 else _sha256(prints)[:32],
            digest=_sha256([untimed, own]),
            figures=own,
            folder=folder,
        )


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _figures_by_checkpoint(run: FinishedRun, sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """PNG files named ``<kind>-<slug>.png``; the longest slug that fits owns one."""
    owners = {slug: label for label, slug in slugs(run.checkpoints).items()}
    found: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        ends = [slug for slug in owners if name.endswith(f"-{slug}.png")]
        if ends:
            found.setdefault(owners[max(ends, key=len)], {})[name] = size
    return found


def _log(client: MlflowClient, experiment: str, entry: _Entry) -> str:
    """Write one MLflow run, if need be; how it went in one word."""
    filtered = f"tags.`{_FINGERPRINT}` = '{entry.fingerprint}'"
    same = [
        run
        for run in client.search_runs([experiment], filtered)
        if run.data.tags.get(_CHECKPOINT) == entry.checkpoint.label[:_LONGEST_TAG]
    ]
    if any(run.data.tags.get(_DIGEST) == entry.digest for run in same):
        return "kept"
    _create(client, experiment, entry)
    for run in same:
        client.delete_run(run.info.run_id)
    return "replaced" if same else "created"


def _create(client: MlflowClient, experiment: str, entry: _Entry) -> None:
    from mlflow.entities import Metric, Param, RunTag

    checkpoint = entry.checkpoint
    time = _milliseconds(next(iter(checkpoint.rows.values())))
    tags = {_FINGERPRINT: entry.fingerprint, _CHECKPOINT: checkpoint.label, **_said(checkpoint)}
    run = client.create_run(
        experiment,
        start_time=time,
        tags={name: text[:_LONGEST_TAG] for name, text in tags.items()},
        run_name=checkpoint.label,
    ).info.run_id
    params = [Param(name, text[:_LONGEST_PARAMETER]) for name, text in _conditions(checkpoint)]
    client.log_batch(run, params=params)
    step = checkpoint.step or 0
    metrics = [Metric(tag, value, time, step) for tag, value in checkpoint.scalars().items()]
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
    _log_artifacts(client, run, entry)
    # Written last, so that an interrupted run is written again.
    client.log_batch(run, tags=[RunTag(_DIGEST, entry.digest)])
    client.set_terminated(run, "FAILED" if checkpoint.failures else "FINISHED", end_time=time)


def _said(checkpoint: ScoredCheckpoint) -> dict[str, str]:
    status = "failed" if checkpoint.failures else "scored"
    said = {
        "reason": "; ".join(checkpoint.failures),
        "warnings": "; ".join(checkpoint.warnings),
    }
    return {"status": status} | {name: text for name, text in said.items() if text}


def _conditions(checkpoint: ScoredCheckpoint) -> Iterator[tuple[str, str]]:
    """Conditions as parameters: those of an extractor end in its name."""
    if checkpoint.step is not None:
        yield "step", str(checkpoint.step)
    first = next(iter(checkpoint.rows.values()))
    yield "version", first.provenance.version
    for name in _SHARED:
        if (value := getattr(first.conditions, name)) is not None:
            yield name, str(value)
    for extractor, row in checkpoint.rows.items():
        for name in _OWN:
            if (value := getattr(row.conditions, name)) is not None:
                yield f"{name}/{extractor}", str(value)


def _milliseconds(row: ScoreRow) -> int:
    """When the row was scored."""
    return int(datetime.datetime.fromisoformat(row.provenance.scored_at).timestamp() * 1000)


def _log_artifacts(client: MlflowClient, run: str, entry: _Entry) -> None:
    rows = [
        {name: _plain(value) for name, value in row.to_record().items()}
        for row in entry.checkpoint.rows.values()
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "rows.json").write_text(json.dumps(rows, indent=1))
        if entry.figures:
            (folder / "figures").mkdir()
        for name in entry.figures:
            (folder / "figures" / name).write_bytes(entry.folder.read(name))
        client.log_artifacts(run, temporary)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """JSON has no word for infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
