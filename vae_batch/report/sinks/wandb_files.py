"""A run as offline files of Weights & Biases, which ``wandb sync`` sends to a server."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from vae_batch.installation import pip_install
from vae_batch.plan import InputError
from vae_batch.plan.location import is_uri
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.sinks.scored_checkpoints import pictures
from vae_batch.report.sinks.training_runs import Logged, TrainingRun, training_runs

_DIGEST = "vae_batch.digest"


def write_wandb(run: FinishedRun, folder: str, project: str) -> Logged:
    """Write every training run as an offline run of W&B; idempotent, without network or account.

    A W&B run has the conditions of its checkpoints as configuration, finite scores, the ends of
    their intervals and pictures at the training step, the rows as a table, and in its summary the
    checkpoint of each step, failures and warnings. Its identifier stays where checkpoints are
    added; where rows or figures have changed since, its files are written again.

    Args:
        run: What to write.
        folder: Local folder; the runs are in ``wandb/offline-run-*`` below it.
        project: W&B's project.

    Raises:
        InputError: W&B is not installed, or the folder cannot be written.
    """
    try:
        import wandb
    except ImportError:
        raise InputError(
            f"--wandb needs the package wandb; in the checkout: {pip_install('wandb')}"
        ) from None
    if is_uri(folder):
        raise InputError(f"--wandb {folder}: expected a local folder, which W&B can write")
    files = Path(folder).expanduser().absolute() / "wandb"
    try:
        files.mkdir(parents=True, exist_ok=True)  # W&B takes a temporary folder where it cannot
        wanted = list(training_runs(run))
        words = [_log(run, each, files, project) for each in wanted]
        if wandb.run is None:  # else somebody else uses the library's process, which writes files
            wandb.teardown()
        # Written last, so that what was interrupted is written again.
        for each in wanted:
            (found,) = _runs_of(each, files)
            (found / _DIGEST).write_text(_mark(each, project))
    except (OSError, wandb.Error) as error:
        raise InputError(f"--wandb {folder} cannot be written: {error}") from None
    return Logged.count(words)


def _log(run: FinishedRun, training: TrainingRun, files: Path, project: str) -> str:
    """Write one W&B run, if need be; how it went in one word."""
    same = _runs_of(training, files)
    marks = [found / _DIGEST for found in same]
    if len(same) == 1 and marks[0].exists() and marks[0].read_text() == _mark(training, project):
        return "kept"
    for found in same:  # first, since names of runs differ by second
        shutil.rmtree(found)
    _create(run, training, files, project)
    return "replaced" if same else "created"


def _runs_of(training: TrainingRun, files: Path) -> list[Path]:
    return list(files.glob(f"offline-run-*-{training.identity}"))


def _mark(training: TrainingRun, project: str) -> str:
    return f"{training.digest} {project}"


def _create(run: FinishedRun, training: TrainingRun, files: Path, project: str) -> None:
    """Write one W&B run."""
    import wandb

    tracked = wandb.init(
        project=project,
        id=training.identity,
        name=training.name,
        dir=files.parent,
        config=training.conditions(),
        reinit="create_new",  # a run that the caller's process has open stays open
        settings=wandb.Settings(
            mode="offline",
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,  # of this machine, which did not train
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        ),
    )
    for each in training.checkpoints:
        shown: dict[str, Any] = each.scalars() | each.intervals()
        for tag, picture in pictures(run.gallery(each.label)):
            shown[tag] = wandb.Image(Image.open(io.BytesIO(picture.png)), caption=each.label)
        tracked.log(shown, step=each.step or 0)
    records = training.records
    columns = list(records[0])
    cells = [[record[column] for column in columns] for record in records]
    tracked.log({"rows": wandb.Table(columns, cells, allow_mixed_types=True)})
    tracked.summary.update(training.said())
    tracked.finish(exit_code=int(training.failed))
