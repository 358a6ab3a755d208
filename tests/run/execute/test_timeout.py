"""A process ends itself when a shard is stuck, and leaves where it stood in its log."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.runs.driver_processes import PATIENCE

from vae_batch.plan import Shard
from vae_batch.run.execute.timeout import STUCK, Watchdog

SHARD = Shard("losses/checkpoint=a", 0, 64)

PROGRAM = """
import ctypes, sys, threading, time
from vae_batch.plan import Shard
from vae_batch.run.execute import timeout as watchdog
watchdog._MARGIN = {"plain": 600.0, "note": 3.0, "native": 0.5}[sys.argv[1]]

def note(shard, seconds):
    print("noted", shard.name, seconds, flush=True)
    if "note" in sys.argv:
        time.sleep(600)

def hang():
    if "native" in sys.argv:
        ctypes.PyDLL(None).sleep(600)  # holds Python's own lock
    time.sleep(600)

with watchdog.Watchdog(0.3, note).watching_native(Shard("losses/checkpoint=a", 0, 64)):
    hang()
"""


def hang(how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False,
        timeout=PATIENCE,
    )  # fmt: skip


def test_a_stuck_process_notes_the_shard_and_ends() -> None:
    done = hang("plain")
    assert done.returncode == STUCK
    assert done.stdout == "noted 00000000-00000064 0.3\n"
    said = "losses/checkpoint=a 00000000-00000064 is not done after 0.3 s: this worker ends"
    assert said in done.stderr
    assert "in hang" in done.stderr  # where each thread stood


@pytest.mark.parametrize("how", ["note", "native"])
def test_it_ends_also_when_the_note_or_python_itself_is_stuck(how: str) -> None:
    done = hang(how)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert (done.stdout != "") == (how == "note")


def test_what_ends_in_time_is_left_alone() -> None:
    """Its timers are called off, and would have ended the process."""

    def timers() -> set[threading.Timer]:
        return {found for found in threading.enumerate() if isinstance(found, threading.Timer)}

    others = timers()
    dog = Watchdog(600.0, lambda shard, seconds: None)
    for _ in range(3):
        with dog.watching_native(SHARD), dog.watching(SHARD):
            started = timers() - others
            assert len(started) == 2
        for timer in started:
            timer.join(PATIENCE)
            assert not timer.is_alive()
