"""Ctrl-C and SIGTERM: no write is broken off, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import (
    PATIENCE,
    finish,
    numbers,
    receipts,
    start,
    wait_for_receipts,
    write_spec,
)
from support.runs.serial_runs import score

from vae_batch.run.execute.signals import SENTENCE, raise_if_stopped, stoppable, uninterrupted
from vae_batch.run.output.verify import verify_output


def interrupt() -> None:
    """Ctrl-C, and time for the interpreter to notice it."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def test_a_signal_stops_at_once_and_is_remembered() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stoppable() as stop:
        raise_if_stopped()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            raise_if_stopped()
    raise_if_stopped()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_it_waits_for_the_end_of_a_write_and_of_those_around_it() -> None:
    done = []

    def write() -> None:
        with uninterrupted():
            with uninterrupted():
                interrupt()
                done.append("inner")
            done.append("outer")
        done.append("after")

    with stoppable(), pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["inner", "outer"]


def test_a_second_signal_waits_for_nothing() -> None:
    done = []

    def write() -> None:
        with uninterrupted():
            interrupt()
            done.append("first")
            interrupt()
            done.append("second")

    with stoppable(), pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["first"]


def test_nested_and_in_other_threads() -> None:
    codes = []

    def elsewhere() -> None:
        with stoppable() as stop, uninterrupted():
            codes.append(stop.exit_code)

    with stoppable() as outer:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with stoppable() as inner:
            assert inner is outer
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert codes == [130]


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            interrupt()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


HANGS = """
import os, signal, time
from vae_batch.commands.exit_codes import exit_codes
from vae_batch.run.execute import signals as stopping
stopping.GRACE = 0.5
with exit_codes(), stopping.uninterrupted():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)
"""


def test_after_a_while_sigterm_ends_the_process_whatever_it_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (143, f"{SENTENCE}\n")


def stop_and_go_on(
    settings: dict[str, Any], tmp_path: Path, sent: signal.Signals, shards: int
) -> None:
    """Stop a run after so many shards, and let the same spec end it in this process."""
    out = tmp_path / "stopped"
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": str(out)})
    driver = start(spec)
    wait_for_receipts(driver, out, shards)
    driver.send_signal(sent)
    code, said = finish(driver)
    assert code == 128 + sent, said
    assert said.count(SENTENCE) == 1
    assert "Traceback" not in said
    assert not (out / "lease.json").exists()
    if settings["workers"] == 0:  # workers of a cluster may be killed as they write one
        assert not list(out.rglob("*.tmp"))
    before = receipts(out)
    assert verify_output(str(out)).bad == ()
    score(settings | {"out": str(out), "workers": 0})
    after = receipts(out)
    assert {path: after[path] for path in before} == before, "a finished shard was redone"
    assert len(after) > len(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "workers"),
    [(signal.SIGTERM, 1), pytest.param(signal.SIGINT, 0, marks=pytest.mark.long)],
)
def test_a_stopped_run_goes_on_with_the_same_bits(
    toy_settings: dict[str, Any],
    tmp_path: Path,
    sent: signal.Signals,
    workers: int,
) -> None:
    few = {"checkpoints": [f"{toy_settings['checkpoints'][0]}/step-000[12]"]}
    settings = toy_settings | few | {"shard_size": 4, "workers": workers, "metrics": "losses,fid"}
    score(settings | {"out": str(tmp_path / "quiet"), "workers": 0})
    stop_and_go_on(settings, tmp_path, sent, shards=12)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "quiet")
