"""`vae-batch watch`: checkpoints are scored as they come, and something ends it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.toy_models import save_single
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.commands.exit_codes import NO_BETTER
from vae_batch.evaluation import Evaluation
from vae_batch.keras_callback import ScoreCheckpoints
from vae_batch.models.extractors.registry import load_extractor
from vae_batch.plan import InputError, make_spec
from vae_batch.results import Results
from vae_batch.run.compare.best_checkpoint import Selection, SelectionStep
from vae_batch.run.execute import worker
from vae_batch.run.progress.events import ignore
from vae_batch.watch import POLL, Ends, Progress, Watched, watch

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(toy_settings: dict[str, Any], runs: Path) -> dict[str, Any]:
    few = {"metrics": "losses", "samples": 40, "reference_samples": 40, "splits": 2}
    return toy_settings | few | {"checkpoints": [str(runs)]}


def add(runs: Path, step: int, seed: int = 1) -> None:
    """A checkpoint that nobody has written to for a minute."""
    path = runs / f"step-{step:04d}.keras"
    save_single(path, seed=seed)
    os.utime(path, (time.time() - 60,) * 2)


def watched(
    settings: dict[str, Any], events: Iterator[Callable[[], object]], **ends: Any
) -> tuple[Watched, list[list[str]]]:
    """A watch with something happening before each look, and which rows were scored each time."""
    scored: list[list[str]] = []

    def sleep(seconds: float) -> None:
        if seconds == POLL:
            next(events)()

    def note(evaluation: Evaluation) -> None:
        rows = evaluation.summary.rows
        scored.append([f"{row.checkpoint.rpartition('/')[2]} {row.status}" for row in rows])

    return watch(make_spec(settings), ignore, Ends(**ends), note, sleep), scored


def test_each_checkpoint_is_scored_when_it_is_complete(
    settings: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    ended = tmp_path / "ended"
    second = runs / "step-0002.keras"

    def begin() -> None:
        second.write_bytes(b"PK half")  # just now

    def finish() -> None:
        add(runs, 2, seed=2)

    def end() -> None:
        save_single(runs / "step-0003.keras", seed=3)  # just now, but nobody writes any more
        ended.touch()

    events = iter([lambda: add(runs, 1), begin, lambda: None, finish, lambda: None, end])
    found, scored = watched(settings, events, until=ended)
    first, both = ["step-0001.keras scored"], ["step-0001.keras scored", "step-0002.keras scored"]
    assert scored == [first, both, [*both, "step-0003.keras scored"]]
    assert found.ended_by == f"{ended} is there: the training has ended"
    assert found.evaluation is not None
    assert found.evaluation.selection is not None
    assert found.evaluation.selection.compared == 3


def test_a_broken_file_costs_its_row_and_is_tried_again_when_it_changes(
    settings: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    add(runs, 1)
    broken, ended = runs / "step-0002.keras", tmp_path / "ended"
    broken.write_bytes(b"no model")
    os.utime(broken, (time.time() - 60,) * 2)
    events = iter([lambda: None, lambda: add(runs, 2), ended.touch])
    _, scored = watched(settings, events, until=ended)
    one = "step-0001.keras scored"
    assert scored == [[one, "step-0002.keras failed"], [one, "step-0002.keras scored"]]


def test_extractors_stay_between_checkpoints(
    settings: dict[str, Any], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(identity: Any, batch_size: int) -> Any:
        loaded.append(identity.name)
        return load_extractor(identity, batch_size)

    monkeypatch.setattr(worker, "load_extractor", load)
    add(runs, 1)
    ended = tmp_path / "ended"
    events = iter([lambda: add(runs, 2, seed=2), ended.touch])
    _, scored = watched(settings | {"metrics": "fid"}, events, until=ended)
    assert [len(rows) for rows in scored] == [1, 2]
    assert len(loaded) == 1


def test_it_ends_when_nothing_becomes_better(settings: dict[str, Any], runs: Path) -> None:
    add(runs, 1)
    first = runs / "step-0001.keras"
    same = (lambda s=s: shutil.copy2(first, runs / f"step-{s:04d}.keras") for s in range(2, 9))
    found, scored = watched(settings, iter(same), patience=2)
    assert found.no_better
    assert found.ended_by.startswith("nothing significantly better than ")
    assert found.ended_by.endswith("step-0001.keras in the last 2 checkpoints")
    assert len(scored) == 3


def test_it_ends_when_nothing_comes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 40))
    monkeypatch.setattr("vae_batch.watch.time.monotonic", lambda: float(next(now)))
    found, scored = watched(settings, iter([lambda: None] * 9), idle=100.0)
    assert (found.evaluation, scored) == (None, [])
    assert found.ended_by.startswith("no new checkpoint for 2 min")


def test_a_bad_spec_is_refused_at_once(settings: dict[str, Any], runs: Path) -> None:
    add(runs, 1)
    with pytest.raises(InputError, match="a race needs all checkpoints at its start"):
        watched(settings | {"race": "elbo"}, iter(()))
    with pytest.raises(InputError, match="nowhere"):
        watched(settings | {"reference": "nowhere.npz"}, iter(()))


def test_better_means_significantly_better() -> None:
    def selection(leader: str, *level: str) -> Selection:
        step = SelectionStep("elbo", None, leader, -1.0, 10, (leader, *level))
        return Selection((step,), 3, None, "")

    progress = Progress()
    for found, count, best, since in [
        (None, 1, None, 0),
        (selection("a"), 1, "a", 0),
        (selection("b", "a"), 1, "a", 1),  # ahead of it, but not distinguishable
        (selection("c", "b"), 1, "c", 0),
        (selection("c", "d"), 2, "c", 2),
    ]:
        progress.add(found, count)
        assert (progress.best, progress.since) == (best, since)


def test_the_command_s_exit_codes(spec_file: Path, runs: Path, tmp_path: Path) -> None:
    add(runs, 1)
    (tmp_path / "ended").touch()
    done = CliRunner().invoke(app, ["watch", str(spec_file), "--until", str(tmp_path / "ended")])
    assert done.exit_code == 0, done.stderr
    assert "is there: the training has ended" in done.stderr
    (runs / "step-0002.keras").write_bytes(b"no model")
    failed = CliRunner().invoke(app, ["watch", str(spec_file), "--until", str(tmp_path / "ended")])
    assert failed.exit_code == 3


@pytest.fixture
def spec_file(settings: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text("\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    return path


def fit(callback: ScoreCheckpoints, runs: Path, epochs: int) -> int:
    """A training that writes a checkpoint after each epoch; how many epochs there were."""
    import keras

    class Save(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            save_single(runs / f"step-{epoch + 1:04d}.keras", seed=1)

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = np.zeros((4, 2)), np.zeros((4, 1))
    done = model.fit(*data, epochs=epochs, callbacks=[Save(), callback], verbose=0)
    return len(done.epoch)


@pytest.mark.long
@pytest.mark.slow
def test_a_callback_scores_beside_the_training(
    spec_file: Path, settings: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    callback = ScoreCheckpoints(spec_file, tensorboard=tmp_path / "board")
    assert fit(callback, runs, epochs=3) == 3
    assert callback.exit_code == 0, callback.log.read_text()
    results = Results.open(settings["out"])
    assert list(results.table["step"]) == [1, 2, 3]
    assert set(results.table["status"]) == {"scored"}
    assert list((tmp_path / "board").rglob("events.out.tfevents.*"))


@pytest.mark.slow
@pytest.mark.long
def test_a_callback_ends_a_training_that_gets_no_better(spec_file: Path, runs: Path) -> None:
    callback = ScoreCheckpoints(spec_file, patience=1)
    assert fit(callback, runs, epochs=10_000) < 10_000
    assert callback.exit_code == NO_BETTER


def test_a_callback_names_what_is_wrong(spec_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ScoreCheckpoints(tmp_path / "none.toml")
    callback = ScoreCheckpoints(spec_file)
    callback.log.write_text("watching\nerror: the disk is full\n")
    callback.exit_code = 2
    with pytest.raises(InputError, match="vae-batch watch ended with 2: error: the disk is full"):
        callback.on_train_end()
