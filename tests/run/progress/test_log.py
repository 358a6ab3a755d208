"""Logging: the log file of a run, its tracebacks, and what a library's user sees of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.runs.planned_rows import planned_row, row_scored, shard_done, work_of

from vae_batch.run.progress import log as run_log
from vae_batch.run.progress.events import FaultMet, Message, PhaseEnded, RowFailed
from vae_batch.run.progress.log import DEBUG_VARIABLE, LOG_FILE, RunLog, logging_set_up
from vae_batch.storage import Store

ROW = planned_row("a")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    return Store.open(str(tmp_path))


def lines(tmp_path: Path) -> list[str]:
    """Lines of the log without their time."""
    return [line.split(" ", 2)[-1] for line in (tmp_path / LOG_FILE).read_text().splitlines()]


def write_some(store: Store) -> None:
    with RunLog(store) as log:
        log(Message("Scoring 1 checkpoint in this process"))
        log(work_of([ROW]))
        log(shard_done(ROW.units["losses"]))
        log(FaultMet("workers lost", ("losses/checkpoint=a",)))
        log(row_scored(ROW, "runs/a: FID 3"))
        log(RowFailed(ROW, "it is broken", "tracebacks/a.txt"))
        log(PhaseEnded("work", 1.25))


WRITTEN = [
    "INFO vae_batch.run.progress.log: Scoring 1 checkpoint in this process",
    "INFO vae_batch.run.progress.log: 1 row to score, 6 missing shards",
    "WARNING vae_batch.run.progress.log: workers lost: shards of losses/checkpoint=a are retried",
    "INFO vae_batch.run.progress.log: runs/a: FID 3",
    "INFO vae_batch.run.progress.log: runs/a: failed: it is broken; traceback in tracebacks/a.txt",
    "INFO vae_batch.run.progress.log: phase work took 1.2 s",
]


def test_events_are_appended(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_some(store)
    assert lines(tmp_path) == WRITTEN
    with logging_set_up():
        write_some(store)
    assert lines(tmp_path) == [*WRITTEN, *WRITTEN]
    assert capsys.readouterr().err.splitlines() == [
        "WARNING: workers lost: shards of losses/checkpoint=a are retried"
    ]


def test_with_debug_shards_are_logged_too(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with logging_set_up():
        write_some(store)
    shown = capsys.readouterr().err
    assert "1.000 s on cpu" in shown
    assert "Scoring 1 checkpoint" not in shown, "the display prints messages"
    done = [line for line in lines(tmp_path) if line.startswith("DEBUG")]
    assert len(done) == 1
    assert "losses/checkpoint=a" in done[0]
    assert done[0].endswith(": 1.000 s on cpu")


def test_tracebacks_of_modules_and_of_the_end_are_kept(store: Store, tmp_path: Path) -> None:
    def run() -> None:
        with RunLog(store):
            try:
                raise KeyError("s3://key:secret@bucket/a")
            except KeyError:
                logging.getLogger("vae_batch.toy").exception("a shard failed")
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        run()
    text = (tmp_path / LOG_FILE).read_text()
    assert "a shard failed\nTraceback" in text
    assert "KeyError: 's3://bucket/a'" in text
    assert "the run was interrupted by RuntimeError: a bug\nTraceback" in text


def test_the_log_is_bounded(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "_LARGEST", 500)
    for _ in range(5):
        write_some(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOG_FILE, f"{LOG_FILE}.1"]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    write_some(Store.open(str(tmp_path / "missing")))
    assert not (tmp_path / "missing").exists()


def test_a_name_forges_no_line_and_shows_no_secret(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\nERROR vae_batch: forged\x1b[2J s3:/KEY:SECRET@bucket"
    with logging_set_up(), RunLog(store) as log:
        log(RowFailed(ROW, name, None))
        logging.getLogger("vae_batch.run").warning("%s", name)
    shown = [(tmp_path / LOG_FILE).read_text(), capsys.readouterr().err]
    for text in shown:
        assert "\x1b" not in text
        assert "SECRET" not in text
        assert r"a\u{a}ERROR vae_batch: forged\u{1b}[2J ***@bucket" in text
    assert [len(text.splitlines()) for text in shown] == [2, 1]
