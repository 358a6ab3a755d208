"""``progress.json`` and the ticker: a run's folder says how far it is while it works."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.runs.planned_rows import new_counters, planned_row, shard_done, work_of

from vae_batch.plan import InputError
from vae_batch.run.progress import progress_file
from vae_batch.run.progress.events import Event, PhaseBegan, Tick, WorkBegan, ticking
from vae_batch.run.progress.progress_file import (
    PROGRESS_FILE,
    LastProgress,
    ProgressFile,
    read_progress,
    write_progress,
)
from vae_batch.storage import Store

_PATIENCE = 30


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def said(store: Store) -> LastProgress:
    found = read_progress(store)
    assert found is not None
    return found


def test_ticks_come_from_a_thread_and_survive_workers_that_do_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vae_batch.run.progress.events._TICK_PERIOD", 0.001)
    answers = [TimeoutError("busy"), 1]
    events: list[Event] = []
    ticked = threading.Semaphore(0)

    def at_work() -> int:
        answer = answers[min(len(events), 1)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(event: Event) -> None:
        events.append(event)
        ticked.release()

    with ticking(read, at_work):
        for _ in range(3):
            assert ticked.acquire(timeout=_PATIENCE)
    assert events[:3] == [Tick(None), Tick(1), Tick(1)]
    count = len(events)
    assert not ticked.acquire(timeout=0.05) or len(events) == count, "no tick after the block"


def test_the_file_follows_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_file, "_PERIOD", 0.0)
    row = planned_row("a")
    with ProgressFile(store) as read:
        read(PhaseBegan("work"))
        assert read_progress(store) is None, "there is no work yet"
        read(work_of([row]))
        read(Tick(1))
        assert (said(store).state, said(store).snapshot.phase) == ("running", "work")
        read(shard_done(row.units["losses"]))
        assert said(store).snapshot.shards_done == 0, "it is written when a tick comes"
        read(Tick(1))
        found = said(store).snapshot
        assert found.shards_done == 1
        assert found.running[-1].label == "runs/a"
        read(PhaseBegan("report"))
        assert (said(store).state, said(store).snapshot.phase) == ("running", "report")
    assert said(store).state == "finished"


def test_the_file_is_not_written_with_every_tick(store: Store) -> None:
    row = planned_row("a")
    with ProgressFile(store) as read:
        read(work_of([row]))
        read(Tick(1))
        read(shard_done(row.units["losses"]))
        read(Tick(1))
        assert said(store).snapshot.shards_done == 0


def test_the_reason_of_an_interrupted_run_is_on_record(store: Store) -> None:
    secret = "s3://key:secret@bucket/run is full"

    def interrupted(error: BaseException) -> None:
        with ProgressFile(store) as read:
            read(work_of([planned_row("a")]))
            raise error

    for error, reason in (
        (KeyboardInterrupt(), "stopped"),
        (InputError(secret), "s3://bucket/run is full"),
        (MemoryError(), "MemoryError"),
    ):
        with pytest.raises(type(error)):
            interrupted(error)
        assert (said(store).state, said(store).reason) == ("interrupted", reason)


def test_a_run_that_has_nothing_to_do_writes_nothing(store: Store) -> None:
    with ProgressFile(store) as read:
        read(WorkBegan((planned_row("a"),), (), {}))
        read(Tick(1))
        read(PhaseBegan("report"))
    assert not store.exists(PROGRESS_FILE)


def test_a_run_that_has_lost_the_folder_writes_nothing_to_it(store: Store) -> None:
    def refuse() -> None:
        raise InputError("taken over")

    with ProgressFile(store, refuse) as read:
        read(work_of([planned_row("a")]))
        read(Tick(1))
    assert not store.exists(PROGRESS_FILE)


def test_a_full_disk_ends_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Store, path: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    with ProgressFile(store) as read:
        read(work_of([planned_row("a")]))
        read(Tick(1))
    assert read_progress(store) is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"at": 1', b'{"at": 1, "snapshot": {}}', b"[1]"])
def test_a_damaged_file_says_nothing(store: Store, content: bytes) -> None:
    store.write(PROGRESS_FILE, content)
    assert read_progress(store) is None


def test_a_thousand_running_checkpoints_make_a_small_file(store: Store) -> None:
    rows = [planned_row(f"{i:04d}") for i in range(1000)]
    counters = new_counters(rows)
    for row in rows:
        counters(shard_done(row.units["losses"]))
    write_progress(store, counters.snapshot(), "running")
    assert store.sizes()[PROGRESS_FILE] < 10_000
    assert said(store).snapshot.waiting == 0
    assert said(store).snapshot.work == counters.snapshot().work
