"""A run in an MLflow tracking store: one MLflow run for each training run, its steps a series."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_batch.installation import pip_install
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import slugs, without_shared_folder
from vae_batch.report.sinks.scored_checkpoints import (
    ScoredCheckpoint,
    lines_of,
    scored_checkpoints,
)
from vae_batch.storage import Store
from vae_batch.storage.score_rows import ScoreRow

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Conditions that all rows of a checkpoint share, and those that each extractor has its own of.
_SHARED = (
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

_IDENTITY, _DIGEST = "vae_batch.training_run", "vae_batch.digest"
_CHECKPOINT = "vae_batch.checkpoint."  # and the step
_LONGEST_TAG, _LONGEST_PARAMETER = 5000, 500  # characters that every store of MLflow takes
_MOST_METRICS = 1000  # in one request


@dataclass(frozen=True)
class Logged:
    """Numbers of MLflow runs that one export created, replaced or kept."""

    created: int = 0
    replaced: int = 0
    kept: int = 0


def write_mlflow(run: FinishedRun, uri: str, experiment: str) -> Logged:
    """Log every training run as an MLflow run; idempotent.

    An MLflow run has the conditions of its checkpoints as parameters, finite scores as metrics at
    the training step, so that they are lines, figures and rows as artifacts, and as tags the
    checkpoint of each step, failures and warnings. A checkpoint without a step has a run of its
    own. Where rows or figures have changed since, the MLflow run is deleted and written again,
    since MLflow keeps all points of a metric.

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

    name: str
    checkpoints: Sequence[ScoredCheckpoint]
    identity: str
    digest: str
    figures: Sequence[str]
    folder: Store

    @property
    def rows(self) -> list[ScoreRow]:
        """Of all checkpoints and extractors."""
        return [row for each in self.checkpoints for row in each.rows.values()]


def _entries(run: FinishedRun) -> Iterator[_Entry]:
    folder = run.store.folder("figures")
    figures = _figures_by_checkpoint(run, folder.sizes())
    checkpoints = scored_checkpoints(run)
    lines: dict[str, list[ScoredCheckpoint]] = {}
    names = lines_of(checkpoints)
    for checkpoint in sorted(checkpoints, key=lambda c: c.step or 0):
        lines.setdefault(names[checkpoint.label], []).append(checkpoint)
    for line, found in lines.items():
        own = {name: size for c in found for name, size in figures.get(c.label, {}).items()}
        rows = [row.to_record() for c in found for row in c.rows.values()]
        first = next(iter(found[0].rows.values()))
        # The first checkpoint of a training run stays where later ones are added.
        identity = [line, first.conditions.checkpoint_sha256, *_conditions(found[:1])]
        untimed = [{k: v for k, v in row.items() if k != "scored_at"} for row in rows]
        yield _Entry(
            found[0].label if len(found) == 1 else _folder(found) or run.store.shown,
            found,
            identity=_sha256(identity)[:32],
            digest=_sha256([untimed, own]),
            figures=[*own],
            folder=folder,
        )


def _folder(checkpoints: Sequence[ScoredCheckpoint]) -> str:
    """The folder that checkpoints share."""
    labels = [each.label for each in checkpoints]
    shorts = without_shared_folder(labels)
    return labels[0][: len(labels[0]) - len(shorts[0])].rstrip("/")


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
    same = client.search_runs([experiment], f"tags.`{_IDENTITY}` = '{entry.identity}'")
    if any(run.data.tags.get(_DIGEST) == entry.digest for run in same):
        return "kept"
    _create(client, experiment, entry)
    for run in same:
        client.delete_run(run.info.run_id)
    return "replaced" if same else "created"


def _create(client: MlflowClient, experiment: str, entry: _Entry) -> None:
    from mlflow.entities import Metric, Param, RunTag

    times = [_milliseconds(row) for row in entry.rows]
    tags = {_IDENTITY: entry.identity, **_said(entry.checkpoints)}
    run = client.create_run(
        experiment,
        start_time=min(times),
        tags={name: text[:_LONGEST_TAG] for name, text in tags.items()},
        run_name=entry.name,
    ).info.run_id
    params = [
        Param(name, text[:_LONGEST_PARAMETER]) for name, text in _conditions(entry.checkpoints)
    ]
    client.log_batch(run, params=params)
    metrics = [
        Metric(tag, value, _milliseconds(next(iter(each.rows.values()))), each.step or 0)
        for each in entry.checkpoints
        for tag, value in each.scalars().items()
    ]
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
    _log_artifacts(client, run, entry)
    # Written last, so that an interrupted run is written again.
    client.log_batch(run, tags=[RunTag(_DIGEST, entry.digest)])
    failed = all(each.failures for each in entry.checkpoints)
    client.set_terminated(run, "FAILED" if failed else "FINISHED", end_time=max(times))


def _said(checkpoints: Sequence[ScoredCheckpoint]) -> dict[str, str]:
    """Tags: the checkpoint of each step, and what is to be said of them."""
    said = {f"{_CHECKPOINT}{each.step or 0}": each.label for each in checkpoints}
    failed = [f"{each.label}: {why}" for each in checkpoints for why in each.failures]
    warned = [f"{each.label}: {why}" for each in checkpoints for why in each.warnings]
    said["status"] = f"{len({f.partition(': ')[0] for f in failed})} of {len(checkpoints)} failed"
    more = {"reasons": "; ".join(failed), "warnings": "; ".join(warned)}
    return said | {name: text for name, text in more.items() if text}


def _conditions(checkpoints: Sequence[ScoredCheckpoint]) -> Iterator[tuple[str, str]]:
    """Conditions as parameters, with all values where they differ; those of an extractor end so."""
    found: dict[str, dict[str, None]] = {}
    for each in checkpoints:
        for extractor, row in each.rows.items():
            held = {name: getattr(row.conditions, name) for name in _SHARED}
            held |= {f"{name}/{extractor}": getattr(row.conditions, name) for name in _OWN}
            for name, value in {**held, "version": row.provenance.version}.items():
                if value is not None:
                    found.setdefault(name, {})[str(value)] = None
    for name, values in found.items():
        yield name, ", ".join(values)


def _milliseconds(row: ScoreRow) -> int:
    """When the row was scored."""
    return int(datetime.datetime.fromisoformat(row.provenance.scored_at).timestamp() * 1000)


def _log_artifacts(client: MlflowClient, run: str, entry: _Entry) -> None:
    rows = [{name: _plain(value) for name, value in row.to_record().items()} for row in entry.rows]
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
