"""The pulse: displays are shown while a run works, and its folder says how far it is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.runs.planned_rows import new_tally, planned_row

from vae_batch.plan import InputError
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.progress import thread as pulse
from vae_batch.run.progress.activity import Activity
from vae_batch.run.progress.counters import Tally
from vae_batch.run.progress.display import Silent
from vae_batch.run.progress.progress_file import PROGRESS_FILE, read_progress, write_progress
from vae_batch.run.progress.thread import Pulse
from vae_batch.storage import Store

_PATIENCE = 30


class Shown(Silent):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.beats = threading.Semaphore(0)

    def start(self, tally: Tally) -> None:
        self.told.append("start")

    def show(self) -> None:
        self.beats.release()

    def end(self) -> None:
        self.told.append("end")


class Lossy(SerialExecutor):
    """Has lost a worker, and does not always answer."""

    def __init__(self) -> None:
        self.asked = 0

    def activity(self) -> Activity:
        self.asked += 1
        if self.asked == 1:
            raise TimeoutError("busy")
        return Activity(2, 1, {"workers lost": 1})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BEAT", "_ASKED", "_WRITTEN"):
        monkeypatch.setattr(pulse, name, 0.001)


def test_it_beats_between_start_and_end(store: Store, fast: None) -> None:
    display, row = Shown(), planned_row("a")
    tally = new_tally([row])
    with Pulse(display, Lossy(), store) as beating:
        beating.start(tally)
        for _ in range(3):
            assert display.beats.acquire(timeout=_PATIENCE)
        found = read_progress(store)
        assert found is not None
        assert found.state == "under way"
        tally.finished(row.units["losses"], 10, 1.0)
    assert display.told == ["start", "end"]
    found = read_progress(store)
    assert found is not None
    assert found.state == "ended"
    assert found.standing.shards_done == 1
    assert found.standing.under_way == tally.standing().under_way
    assert found.standing.activity == Activity(2, 1, {"workers lost": 1})


def test_what_broke_a_run_off_is_on_record(store: Store) -> None:
    secret = "s3://key:secret@bucket/run is full"

    def broken_off(error: BaseException) -> None:
        with Pulse(Silent(), Lossy(), store) as beating:
            beating.start(new_tally([planned_row("a")]))
            raise error

    for error, reason in (
        (KeyboardInterrupt(), "stopped"),
        (InputError(secret), "s3://bucket/run is full"),
        (MemoryError(), "MemoryError"),
    ):
        with pytest.raises(type(error)):
            broken_off(error)
        found = read_progress(store)
        assert found is not None
        assert (found.state, found.reason) == ("broken off", reason)


def test_an_idle_run_shows_and_writes_nothing(store: Store) -> None:
    display = Shown()
    with Pulse(display, SerialExecutor(), store) as beating:
        beating.start(Tally([planned_row("a")], [], {}))
    assert display.told == []
    assert not store.exists(PROGRESS_FILE)


def test_who_has_lost_the_folder_writes_nothing_into_it(store: Store) -> None:
    def refuse() -> None:
        raise InputError("taken over")

    with Pulse(Silent(), SerialExecutor(), store, refuse) as beating:
        beating.start(new_tally([planned_row("a")]))
    assert not store.exists(PROGRESS_FILE)


def test_a_full_disk_ends_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Store, path: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    with Pulse(Silent(), SerialExecutor(), store) as beating:
        beating.start(new_tally([planned_row("a")]))
    assert read_progress(store) is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"at": 1', b'{"at": 1, "standing": {}}', b"[1]"])
def test_a_damaged_file_says_nothing(store: Store, content: bytes) -> None:
    store.write(PROGRESS_FILE, content)
    assert read_progress(store) is None


def test_a_thousand_checkpoints_under_way_make_a_small_file(store: Store) -> None:
    rows = [planned_row(f"{i:04d}") for i in range(1000)]
    tally = new_tally(rows)
    for row in rows:
        tally.finished(row.units["losses"], 10, 1.0)
    write_progress(store, tally.standing(), "under way")
    assert store.sizes()[PROGRESS_FILE] < 10_000
    found = read_progress(store)
    assert found is not None
    assert found.standing.waiting == 0
