"""A worker: checkpoints that fail are loaded once, and two shards are in flight."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import rows_of, score

from vae_batch.plan import CheckpointError, InputError, Shard, Unit
from vae_batch.run.execute import worker as shard_worker
from vae_batch.run.execute.worker import ShardWorker
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import Store, write_with_receipt

_WAIT = 20.0


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


def test_a_checkpoint_that_fails_to_load_is_loaded_once_in_a_run(
    toy_settings: dict[str, Any], tmp_path: Path, loads: list[str]
) -> None:
    bad = tmp_path / "bad-0002.keras"
    bad.write_bytes(b"no zip")
    checkpoints = [*toy_settings["checkpoints"], str(bad)]
    summary = score(toy_settings | {"checkpoints": checkpoints, "metrics": "losses,fid"})
    rows = rows_of(summary)
    assert "is a text file, not a model" in rows.pop(str(bad))["reason"]
    assert {row["status"] for row in rows.values()} == {"scored"}
    assert loads.count("bad-0002.keras") == 1
    assert len(loads) == 3 + 1


def test_an_unforeseen_error_is_not_met_again_either(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fails(config: Any, vae: Any, reading: Any, shard: Shard) -> Any:
        tried.append(shard)
        raise TypeError("unforeseen")

    monkeypatch.setattr(shard_worker, "losses_of_checkpoint", fails)
    summary = score(toy_settings | {"metrics": "losses"})
    assert [row.reason.text for row in summary.rows] == ["TypeError: unforeseen"] * 3
    assert len(tried) == 3


def test_a_worker_tries_to_load_a_checkpoint_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shard that is in flight already when the load fails ends at once, with the same reason."""
    tried = []

    def fails(config: Any, job: Any) -> Any:
        tried.append(job)
        raise CheckpointError("cut short")

    monkeypatch.setattr(shard_worker, "load_job", fails)
    store = Store.open(str(tmp_path))
    spec = SimpleNamespace(shard_timeout=600.0, settled_batch_size=16, batch_size=16)
    config: Any = SimpleNamespace(
        spec=spec,
        stores=RunStores(store, store),
        jobs={"a": None},
        in_batches_of=lambda size: config,
        given={},
    )
    worker = ShardWorker(config)
    outcomes = [
        worker.run(Unit(f"{kind}/a", kind, "f", 1, 1, "a"), Shard(f"{kind}/a", 0, 1))
        for kind in ("description", "losses")
    ]
    assert len(tried) == 1
    assert {(o.status, o.reason) for o in outcomes} == {("checkpoint_failed", "cut short")}
    assert all("CheckpointError: cut short" in outcome.traceback for outcome in outcomes)


class Stage:
    """Stands for computing and writing: each shard waits at gates that the test opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.events: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self._changed = threading.Condition()
        stores = RunStores(Store.open(str(root)), Store.open(str(root)))
        spec = SimpleNamespace(shard_timeout=600.0, settled_batch_size=16)
        config: Any = SimpleNamespace(spec=spec, stores=stores, given={})
        self.worker = ShardWorker(config)
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


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CheckpointError("cut short"), "unit_failed"),
        (InputError("no such set"), "bad_input"),
        (TypeError("unforeseen"), "unit_failed"),
    ],
)
def test_a_failed_shard_releases_both_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, status: str
) -> None:
    stage = Stage(monkeypatch, tmp_path)

    def fails(*_: object) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(stage.worker, "_compute", fails)
        unit = Unit("a", "losses", "f", 64, 64, "a")
        outcome = stage.worker.run(unit, Shard("a", 0, 64))
    assert outcome.status == status
    assert str(error) in outcome.reason
    assert ("Traceback" in outcome.traceback) == (status == "unit_failed")
    stage.start(Shard("b", 0, 64)).join(_WAIT)
    assert stage.events == ["compute b", "write b"]


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
    assert "No space left on device; finished files stay" in outcome.reason


def test_a_shard_that_a_lost_worker_finished_is_not_computed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = Stage(monkeypatch, tmp_path)
    unit, shard = Unit("a", "losses", "f", 64, 64, "a"), Shard("a", 0, 64)
    write_with_receipt(Store.open(str(tmp_path)), unit, shard.name, b"x", rows=64)
    assert stage.worker.run(unit, shard, may_be_done=True).status == "done"
    assert stage.events == []
    stage.worker.run(unit, shard)
    assert stage.events == ["compute a", "write a"]
