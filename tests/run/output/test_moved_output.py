"""An output folder that goes away while a run is under way: nothing more is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import numbers
from support.runs.serial_runs import files_of, score
from support.stores.faulty_s3 import local_s3, make_bucket, s3_uri

from vae_batch import evaluation
from vae_batch.evaluation import evaluate
from vae_batch.plan import InputError, make_spec
from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.output.lease import LEASE_FILE, output_lease
from vae_batch.run.output.run_record import RUN_FILE
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, store

pytestmark = pytest.mark.usefixtures("no_report")


class Interfering(SerialExecutor):
    """Calls a function after three shards."""

    def __init__(self, interfere: Callable[[], None]) -> None:
        self.interfere = interfere

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        for count, outcome in enumerate(super().run_shards(tasks, config)):
            if count == 2:
                self.interfere()
            yield outcome


def refused(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, interfere: Callable[[], None]
) -> str:
    monkeypatch.setattr(evaluation, "make_executor", lambda _: Interfering(interfere))
    with pytest.raises(InputError) as caught:
        evaluate(make_spec(settings), ignore)
    monkeypatch.setattr(evaluation, "make_executor", lambda _: SerialExecutor())
    return str(caught.value)


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    (runs,) = toy_settings["checkpoints"]
    return toy_settings | {"metrics": "losses", "checkpoints": [f"{runs}/step-0001"]}


def test_a_moved_folder_is_not_made_again_and_goes_on_once_it_is_back(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(settings | {"out": str(tmp_path / "quiet")})
    out, elsewhere = Path(settings["out"]), tmp_path / "elsewhere"
    said = refused(settings, monkeypatch, lambda: out.rename(elsewhere))
    found = f"{out} is no longer the folder of this run: expected its {LEASE_FILE}, found none"
    assert said.startswith(found)
    assert said.endswith("move it back, and run the same command again")
    assert not out.exists()
    elsewhere.rename(out)
    assert evaluate(make_spec(settings), ignore).summary.shards_before >= 2
    assert numbers(out) == numbers(tmp_path / "quiet")


def test_a_deleted_folder_is_not_made_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(settings["out"])
    said = refused(settings, monkeypatch, lambda: shutil.rmtree(out))
    assert f"expected its {LEASE_FILE}, found none" in said
    assert not out.exists()


def test_the_folder_of_another_run_is_left_alone(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = Path(settings["out"]), tmp_path / "other"
    with output_lease(Store.open(str(other)), run="another"):
        before = files_of(other)

        def replace() -> None:
            out.rename(tmp_path / "elsewhere")
            other.rename(out)

        said = refused(settings, monkeypatch, replace)
        assert "taken over by run another" in said
        assert files_of(out) == before


def test_a_folder_without_its_record_is_not_written_to(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(settings["out"])
    left: list[str] = []

    def delete_record() -> None:
        (out / RUN_FILE).unlink()
        left.extend(path for path in files_of(out) if "/" in path)

    said = refused(settings, monkeypatch, delete_record)
    assert f"expected its {RUN_FILE}, found none" in said
    assert [path for path in files_of(out) if "/" in path] == left
    assert not (out / LEASE_FILE).exists()


@pytest.mark.slow
def test_a_bucket_that_was_emptied_stays_empty(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_ANCHOR_SEEN_S", 0.0)
    with local_s3() as server:
        filesystem = make_bucket(server, "runs")
        out = s3_uri(server.removeprefix("http://"), "runs/one")
        said = refused(
            settings | {"out": out}, monkeypatch, lambda: filesystem.delete_dir("runs/one")
        )
        assert f"expected its {LEASE_FILE}, found none" in said
        assert Store.open(out).files() == {}
