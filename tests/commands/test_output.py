"""Streams of a command: only results on stdout, and no stream ends finished work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import SCORE, write_spec
from support.runs.serial_runs import files_of, score

ROOT = Path(__file__).parents[2]

COMMAND = """
import os, subprocess, sys, typer
from vae_batch.commands.exit_codes import exit_codes, run_process
from vae_batch.commands.output import are_read, print_json, print_parts, print_text, say
from rich.text import Text

def command():
    with exit_codes():
        {body}
    raise typer.Exit(3)

run_process(lambda: typer.run(command))
"""

#: What a library may do while a command is at work.
STRAY = """
        print("of Python")
        os.write(1, b"of native code\\n")
        subprocess.run(["echo", "of a child"], check=True)
        print_json(["the result"])
"""

WORDS = 'print_text("sigma ± 1 ≈ 2"); print_parts([Text("─ ∑")]); say("é")'


def shell(body: str, redirected: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A command whose streams a shell has redirected."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, COMMAND.format(body=body)],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_results_reach_stdout() -> None:
    done = shell(STRAY.strip())
    assert (done.returncode, json.loads(done.stdout)) == (3, ["the result"]), done.stderr
    assert sorted(done.stderr.splitlines()) == ["of Python", "of a child", "of native code"]


@pytest.mark.parametrize(("encoding", "first"), [("ascii", "\\xb1"), ("latin-1", "±")])
def test_characters_that_the_encoding_lacks_are_escaped(encoding: str, first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(body=WORDS)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout.decode(encoding) == f"sigma {first} 1 \\u2248 2\n\\u2500 \\u2211\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_end_a_command(closed: str, tmp_path: Path) -> None:
    """Nor does a file that is opened later get the number of a stream."""
    body = f'file = open({str(tmp_path / "file")!r}, "w"); {WORDS}; os.write(1, b"stray")'
    done = shell(f"{body}; assert file.fileno() > 2", closed)
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "file").read_text() == ""


def test_a_full_disk_below_stdout_is_bad_input_and_below_stderr_nothing() -> None:
    done = shell('print_text("result")', ">/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("error: [Errno 28] No space left on device")
    late = "import atexit; atexit.register(lambda: print('late'))"
    done = shell(late, ">/dev/full")
    assert done.stderr.startswith("error: stdout could not be written: [Errno 28] No space left")
    assert shell(WORDS, "2>/dev/full").returncode == 3


GONE = """
        print_text("x" * 100)
        sys.stdin.readline()
        print_text("x" * 1000)
        assert not are_read()
        say("x" * 1000)
"""


@pytest.mark.parametrize("with_stderr", [False, True])
def test_a_reader_that_has_gone_changes_no_exit_code(with_stderr: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(body=GONE.strip())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if with_stderr else None,
        cwd=ROOT,
    ) as command:
        assert command.stdin is not None
        assert command.stdout is not None
        assert command.stdout.readline() == b"x" * 100 + b"\n"
        command.stdout.close()
        command.stdin.write(b"go on\n")
        command.stdin.close()
        assert command.wait() == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirected",
    [
        ">&- 2>&-",
        pytest.param(">/dev/null 2>/dev/full", marks=pytest.mark.long),
        pytest.param("| true", marks=pytest.mark.long),
    ],
)
def test_a_run_is_finished_whatever_its_streams_are(
    redirected: str, toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = toy_settings | {"metrics": "losses,fid"}
    spec = write_spec(tmp_path / "spec.toml", settings)
    code = 'exec "$0" "$1" "$2" '
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", code + redirected, sys.executable, str(SCORE), str(spec)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = files_of(Path(settings["out"]) / "generated")
    assert score(settings).shards_computed == 0
    assert files_of(Path(settings["out"]) / "generated") == before
