"""The state of a run, from the files of its output folder."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from support.models.toy_models import save_classifier, save_pair
from support.runs.planned_rows import new_counters, planned_row
from support.runs.serial_runs import score

from vae_batch.plan import InputError
from vae_batch.run.output.lease import LEASE_FILE, Holder, holder_of
from vae_batch.run.progress.events import PhaseBegan
from vae_batch.run.progress.progress_file import PROGRESS_FILE, write_progress
from vae_batch.run.progress.status import RunState, run_state
from vae_batch.storage import Store
from vae_batch.storage.checked_json import encode_checked

_HOUR = 3600.0
_NOBODY = 2**22 + 1  # beyond the largest process number of Linux


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run that has scored one checkpoint."""
    folder = tmp_path_factory.mktemp("state")
    save_pair(folder / "runs/step-0001", seed=1)
    save_classifier(folder / "classifier.keras")
    settings = {
        "checkpoints": [str(folder / "runs")],
        "reference": "digits",
        "reference_samples": 20,
        "extractors": [str(folder / "classifier.keras")],
        "samples": 32,
        "batch_size": 16,
        "splits": 2,
        "workers": 0,
        "metrics": "losses,fid",
        "out": str(folder / "out"),
    }
    score(settings)
    return settings


@pytest.fixture
def store(finished: dict[str, Any]) -> Any:
    """The finished run's folder; the lease and the progress of a test are taken away."""
    store = Store.open(finished["out"])
    yield store
    for name in (LEASE_FILE, PROGRESS_FILE):
        store.delete(name)


def hold(store: Store, age: float = 0.0, **changed: Any) -> Holder:
    """A lease whose last heartbeat is so many seconds old."""
    now = time.time()
    values = {
        "token": "t",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "user": "ann",
        "run": "nightly",
        "since": "2020-01-01T00:00:00+00:00",
        "heartbeat": now - age,
        "period": 15.0,
    }
    holder = Holder(**(values | changed))
    store.write(LEASE_FILE, encode_checked(dataclasses.asdict(holder)))
    os.utime(Path(store.root, LEASE_FILE), (now - age, now - age))
    return holder


def progress(store: Store, state: Any, reason: str = "", phase: str = "work") -> None:
    counters = new_counters([planned_row("a")])
    counters(PhaseBegan(phase))
    write_progress(store, counters.snapshot(), state, reason)


def state_of(store: Store) -> RunState:
    return run_state(store.root)


def test_a_finished_run_without_word_of_itself(store: Store) -> None:
    state = state_of(store)
    assert (state.state, state.is_alive, state.heard) == ("finished", False, None)
    assert state.counts == {"scored": 1}
    assert state.is_complete


def test_a_running_run(store: Store) -> None:
    holder = hold(store)
    found = holder_of(store)
    assert found is not None
    assert dataclasses.replace(found, heartbeat=holder.heartbeat) == holder
    assert found.heartbeat == pytest.approx(holder.heartbeat, abs=1e-3)
    assert (state_of(store).state, state_of(store).phase) == ("running", "plan")
    progress(store, "running")
    assert (state_of(store).state, state_of(store).phase) == ("running", "work")
    progress(store, "running", phase="report")
    assert (state_of(store).state, state_of(store).phase) == ("running", "report")


def test_progress_of_an_earlier_run_is_ignored(store: Store) -> None:
    progress(store, "finished", phase="report")
    hold(store, since="2999-01-01T00:00:00+00:00")
    state = state_of(store)
    assert (state.state, state.phase) == ("running", "plan")
    assert state.last is None


def test_a_lease_without_heartbeat_is_of_a_dead_run(store: Store) -> None:
    progress(store, "running")
    hold(store, age=_HOUR, host="elsewhere")
    state = state_of(store)
    assert (state.state, state.phase, state.is_alive) == ("died", "", False)
    assert state.heard is not None
    assert state.heard < _HOUR, "its progress is the later sign of life"


@pytest.mark.parametrize(
    ("age", "changed", "is_alive"),
    [
        (5, {"pid": _NOBODY}, True),  # may be in another container of the same name
        (30, {"pid": _NOBODY}, False),  # and misses a heartbeat, too
        (30, {}, True),  # late, but its process is there
        (30, {"pid": _NOBODY, "host": "elsewhere"}, True),
        (61, {}, False),  # four periods of 15 s
    ],
)
def test_who_is_alive(store: Store, age: float, changed: dict[str, Any], is_alive: bool) -> None:
    hold(store, age, **changed)
    assert state_of(store).is_alive == is_alive


@pytest.mark.parametrize(("age", "is_alive"), [(10, True), (61, False)])
def test_a_clock_that_is_wrong_by_a_day_keeps_no_run_alive(
    store: Store, age: float, is_alive: bool
) -> None:
    for wrong in (-86400, 86400):
        hold(store, age, heartbeat=time.time() + wrong, host="elsewhere")
        state = state_of(store)
        assert state.is_alive == is_alive
        assert state.heard == pytest.approx(age, abs=5)


def test_a_run_that_was_interrupted_or_killed(store: Store) -> None:
    progress(store, "interrupted", "stopped")
    state = state_of(store)
    assert state.state == "interrupted"
    assert state.last is not None
    assert state.last.reason == "stopped"
    progress(store, "running")  # its lease is gone, and it said nothing at its end
    assert state_of(store).state == "died"


def test_a_run_whose_plan_is_not_on_record_yet(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with pytest.raises(InputError, match="holds no run"):
        run_state(store.root)
    hold(store)
    state = run_state(store.root)
    assert (state.phase, state.rows) == ("plan", ())
    hold(store, age=_HOUR)
    with pytest.raises(InputError, match="holds no run"):
        run_state(store.root)
