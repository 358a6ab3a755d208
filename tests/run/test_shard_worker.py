"""A worker: checkpoints that fail are loaded once, two shards in flight, suspects alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import rows_of, score

from vae_batch.plan import CheckpointError, InputError, Shard, Unit
from vae_batch.run.execute import worker as shard_worker
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.retry_ledger import Attempts, Place
from vae_batch.run.execute.scheduling import Task
from vae_batch.run.execute.worker import ShardOutcome, ShardWorker
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.storage import Store

_WAIT = 20.0


class TwoWorkers(SerialExecutor):
    """Two workers take turns; they share a ledger as those of a cluster do."""

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        ledger = Attempts()
        workers = [ShardWorker(config, ledger), ShardWorker(config, ledger)]
        for turn, (unit, shard) in enumerate(tasks):
            yield workers[turn % 2].run(unit, shard)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of checkpoints, once for each time that one is loaded."""
    counted: list[str] = []
    load = shard_worker.load_job

    def counting(config: Any, job: Any) -> Any:
        counted.append(Path(job.checkpoint.label).name)
        return load(config, job)

    monkeypatch.setattr(shard_worker, "load_job", counting)
    return counted


@pytest.mark.parametrize("executor", [SerialExecutor, TwoWorkers])
def test_a_checkpoint_that_fails_to_load_is_loaded_once_in_a_run(
    executor: type[SerialExecutor],
    toy_settings: dict[str, Any],
    tmp_path: Path,
    loads: list[str],
) -> None:
    bad = tmp_path / "bad-0002.keras"
    bad.write_bytes(b"no zip")
    checkpoints = [*toy_settings["checkpoints"], str(bad)]
    summary = score(
        toy_settings | {"checkpoints": checkpoints, "metrics": "losses,fid"}, executor()
    )
    rows = rows_of(summary)
    assert "is a text file, not a model" in rows.pop(str(bad))["reason"]
    assert {row["status"] for row in rows.values()} == {"scored"}
    assert loads.count("bad-0002.keras") == 1
    healthy = [name for name in loads if name != "bad-0002.keras"]
    assert len(healthy) == (3 if executor is SerialExecutor else 6)  # once on each worker


def test_an_unforeseen_error_is_not_met_again_either(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fails(config: Any, vae: Any, reading: Any, shard: Shard) -> Any:
        tried.append(shard)
        raise TypeError("unforeseen")

    monkeypatch.setattr(shard_worker, "losses_of_checkpoint", fails)
    summary = score(toy_settings | {"metrics": "losses"}, TwoWorkers())
    assert [row["reason"] for row in summary.rows] == ["TypeError: unforeseen"] * 3
    assert len(tried) == 3


class Stage:
    """Stands for computing and writing: each shard waits at gates that the test opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.events: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self._changed = threading.Condition()
        self.ledger = Attempts()
        stores = RunStores(Store.open(str(root)), Store.open(str(root)))
        spec = SimpleNamespace(shard_timeout=600.0, settled_batch_size=16)
        config: Any = SimpleNamespace(spec=spec, stores=stores)
        self.worker = ShardWorker(config, self.ledger)
        monkeypatch.setattr(ShardWorker, "_compute", self._compute)
        monkeypatch.setattr(shard_worker, "write_shard", self._write)
        monkeypatch.setattr(shard_worker, "device_name", lambda: "cpu")

    def start(self, shard: Shard) -> threading.Thread:
        unit = Unit(shard.unit, "losses", "f", 64, 64, shard.unit)
        thread = threading.Thread(target=self.worker.run, args=(unit, shard), daemon=True)
        thread.start()
        return thread

    def hold(self, *events: str) -> None:
        self.gates |= {event: threading.Event() for event in events}

    def wait_for(self, event: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: event in self.events, _WAIT), self.events

    def _pass(self, event: str) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        if event in self.gates:
            assert self.gates[event].wait(_WAIT)

    def _compute(self, unit: Unit, *_: object) -> Any:
        self._pass(f"compute {unit.path}")
        return {"index": np.arange(64)}

    def _write(self, store: Store, unit: Unit, *_: object, **__: object) -> None:
        self._pass(f"write {unit.path}")


def test_one_shard_computes_while_another_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = Stage(monkeypatch, tmp_path)
    stage.hold("write a", "compute b")
    threads = [stage.start(Shard("a", 0, 64))]
    stage.wait_for("write a")
    threads.append(stage.start(Shard("b", 0, 64)))
    stage.wait_for("compute b")
    for gate in stage.gates.values():
        gate.set()
    for thread in threads:
        thread.join(_WAIT)
    assert stage.events == ["compute a", "write a", "compute b", "write b"]
    assert stage.ledger.faults() == {}


def test_a_shard_that_waits_for_the_device_is_not_in_flight(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When the process dies now, the one that computes counts and the one that waits does not."""
    stage = Stage(monkeypatch, tmp_path)
    stage.hold("compute a")
    threads = [stage.start(Shard("a", 0, 64))]
    stage.wait_for("compute a")
    threads.append(stage.start(Shard("b", 0, 64)))
    elsewhere = Place("other", "1")
    assert not stage.ledger.begin(Shard("b", 0, 64), "b", place=elsewhere).alone
    stage.ledger.end(Shard("b", 0, 64))
    assert stage.ledger.begin(Shard("a", 0, 64), "a", place=elsewhere).alone
    stage.gates["compute a"].set()
    for thread in threads:
        thread.join(_WAIT)


def test_a_suspect_has_the_worker_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It begins after its neighbour is written, and the next begins after it is written."""
    stage, suspect = Stage(monkeypatch, tmp_path), Shard("b", 0, 64)
    stage.ledger.begin(suspect, "b", place=Place("other", "1"))  # and that process died
    stage.hold("write a", "write b")
    threads = [stage.start(Shard("a", 0, 64))]
    stage.wait_for("write a")
    threads.append(stage.start(suspect))
    threads.append(stage.start(Shard("c", 0, 64)))
    threads[1].join(0.3)
    assert stage.events == ["compute a", "write a"]
    stage.gates["write a"].set()
    stage.wait_for("write b")
    threads[2].join(0.3)
    assert stage.events[2:] == ["compute b", "write b"]
    stage.gates["write b"].set()
    for thread in threads:
        thread.join(_WAIT)
    assert stage.events[4:] == ["compute c", "write c"]
    assert stage.ledger.faults() == {"workers lost": 1}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CheckpointError("cut short"), "checkpoint_failed"),
        (InputError("no such set"), "bad_input"),
        (TypeError("unforeseen"), "error"),
    ],
)
def test_a_failed_shard_leaves_the_ledger_and_both_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, status: str
) -> None:
    stage = Stage(monkeypatch, tmp_path)

    def fails(*_: object) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(stage.worker, "_compute", fails)
        unit = Unit("a", "losses", "f", 64, 64, "a")
        first, again = (stage.worker.run(unit, Shard("a", 0, 64)) for _ in range(2))
    assert first.status == status
    # Once an unforeseen error has failed the checkpoint, its shards are refused.
    assert again.status == ("checkpoint_failed" if status == "error" else status)
    assert str(error) in first.reason
    assert again.reason == first.reason
    stage.start(Shard("b", 0, 64)).join(_WAIT)
    assert stage.events == ["compute b", "write b"]
    assert stage.ledger.faults() == {}


def test_a_store_that_refuses_ends_the_run_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = Stage(monkeypatch, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_worker, "write_shard", full)
    unit = Unit("a", "losses", "f", 64, 64, "a")
    outcome = stage.worker.run(unit, Shard("a", 0, 64))
    assert outcome.status == "bad_input"
    assert "No space left on device; what is finished there stays" in outcome.reason
    assert not stage.ledger.begin(Shard("a", 0, 64), "a").alone
