"""A process ends itself when a shard is stuck, and leaves where it stood in its log."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vae_batch.plan import Shard
from vae_batch.run.execute.timeout import STUCK, Watchdog

SHARD = Shard("losses/checkpoint=a", 0, 64)

PROGRAM = """
import ctypes, sys, threading, time
from vae_batch.plan import Shard
from vae_batch.run.execute import timeout as watchdog
watchdog._MARGIN = 0.5

def note(shard, seconds):
    print("noted", shard.name, seconds, flush=True)
    if "note" in sys.argv:
        time.sleep(60)

def hang():
    if "native" in sys.argv:
        ctypes.PyDLL(None).sleep(60)  # holds Python's own lock
    time.sleep(60)

with watchdog.Watchdog(0.3, note).watching_native(Shard("losses/checkpoint=a", 0, 64)):
    hang()
"""


def hang(how: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True, text=True, timeout=40, cwd=Path(__file__).parents[3], check=False,
    )  # fmt: skip
    return done, time.monotonic() - began


def test_a_stuck_process_notes_the_shard_and_ends() -> None:
    done, seconds = hang("plain")
    assert done.returncode == STUCK
    assert done.stdout == "noted 00000000-00000064 0.3\n"
    said = "losses/checkpoint=a 00000000-00000064 is not done after 0.3 s: this worker ends"
    assert said in done.stderr
    assert "in hang" in done.stderr  # where each thread stood
    assert seconds < 30


@pytest.mark.parametrize("how", ["note", "native"])
def test_it_ends_also_when_the_note_or_python_itself_is_stuck(how: str) -> None:
    done, seconds = hang(how)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert (done.stdout != "") == (how == "note")
    assert seconds < 30


def test_what_ends_in_time_is_left_alone() -> None:
    noted: list[Shard] = []
    dog = Watchdog(0.2, lambda shard, seconds: noted.append(shard))
    for _ in range(3):
        with dog.watching_native(SHARD), dog.watching(SHARD):
            time.sleep(0.1)
    time.sleep(0.3)
    assert noted == []
