"""How processes end: by their own exit code, with all they printed and all exit functions run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, ctypes, os, sys
from vae_batch.commands.process import run_process

class Aborts:
    def __del__(self, abort=os.abort):
        abort()

kept = Aborts()  # goes when the interpreter is torn down, as native libraries do
atexit.register(lambda: print("at exit"))

def command():
    print("done")
    {ending}

run_process(command)
"""


def ended(ending: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ending=ending)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("return", 0, ""),
        ("sys.exit('no')", 1, "no\n"),
    ],
)
def test_an_abort_in_the_teardown_changes_nothing(ending: str, code: int, said: str) -> None:
    done = ended(ending)
    assert (done.returncode, done.stdout, done.stderr) == (code, "done\nat exit\n", said)


def test_other_errors_are_seen() -> None:
    done = ended("raise RuntimeError('a bug')")
    assert done.returncode != 0
    assert "RuntimeError: a bug" in done.stderr
