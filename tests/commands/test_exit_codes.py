"""How commands end: an exit code, a sentence or a traceback, and the end of the process."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from vae_batch.cli import app as whole_app
from vae_batch.commands.exit_codes import exit_codes, with_debug_flag
from vae_batch.plan import ClusterLostError, InputError
from vae_batch.run.progress.log import DEBUG_VARIABLE

SCRIPT = """
import atexit, ctypes, os, sys
from vae_batch.commands.exit_codes import run_process

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


ERRORS = {
    "input": InputError("samples = 0: expected at least 1"),
    "disk": OSError(28, "No space left on device"),
    "lost": ClusterLostError("the Ray cluster was lost: the GCS does not answer"),
    "bug": KeyError("s3://key:secret@bucket/run"),
    "module": ModuleNotFoundError("No module named 'keras'", name="keras"),
    "exit": typer.Exit(3),
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """A command that logs something and raises one of ``ERRORS``."""
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    app = typer.Typer(pretty_exceptions_enable=False)

    def fail(name: str) -> None:
        log = logging.getLogger("vae_batch.toy")
        with exit_codes():
            log.debug("a detail")
            log.warning("a warning")
            raise ERRORS[name]

    app.command()(with_debug_flag(fail))
    return lambda *words: CliRunner().invoke(app, list(words))


def test_what_is_not_a_bug_is_one_sentence(
    call: Callable[..., Result],
) -> None:
    bad = call("input")
    assert bad.exit_code == 2
    assert bad.stderr.splitlines() == [
        "WARNING: a warning",
        "error: samples = 0: expected at least 1",
    ]
    full = call("disk")
    assert full.exit_code == 2
    assert "No space left on device; finished work is kept: fix this and run" in full.stderr
    assert "Traceback" not in full.stderr
    lost = call("lost")
    assert lost.exit_code == 5
    end = "error: the Ray cluster was lost: the GCS does not answer; finished work is kept: run the"
    assert lost.stderr.splitlines()[1] == f"{end} same command again"


def test_a_dependency_that_is_missing_is_named_with_what_to_install(
    call: Callable[..., Result],
) -> None:
    result = call("module")
    assert result.exit_code == 2
    started = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['typer'] = None; "
         "from vae_batch.__main__ import main; main('score')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 2
    for said, what in ((result.stderr, "No module named 'keras'"), (started.stderr, "typer")):
        assert said.splitlines()[-1].startswith("error: ")
        assert what in said
        assert f"in {sys.executable}: expected vae_batch to be installed" in said
        assert "on a Ray cluster every node needs vae_batch and its dependencies" in said
        assert "Traceback" not in said


def test_a_bug_is_one_sentence_and_a_file(call: Callable[..., Result]) -> None:
    result = call("bug")
    assert result.exit_code == 1
    assert "error: unexpected KeyError: 's3://bucket/run'; this is probably a bug" in result.stderr
    assert "Traceback" not in result.stderr
    found = re.search(r"its traceback is in (\S+) ", result.stderr)
    assert found is not None
    text = Path(found[1]).read_text()
    assert "raise ERRORS[name]" in text
    assert "secret" not in text


@pytest.mark.parametrize("name", ["bug", "input", "disk"])
def test_debug_shows_everything(call: Callable[..., Result], name: str) -> None:
    result = call(name, "--debug")
    assert result.exit_code == (1 if name == "bug" else 2)
    assert "DEBUG vae_batch.toy: a detail" in result.stderr
    assert "raise ERRORS[name]" in result.stderr
    assert "secret" not in result.stderr


def test_debug_may_be_set_in_the_environment(
    call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert "a detail" in call("exit").stderr
    assert call("exit").exit_code == 3


def test_every_command_has_the_flag() -> None:
    commands = [
        [c.name or c.callback.__name__] for c in whole_app.registered_commands if c.callback
    ]
    words = [*commands, *(["weights", name] for name in ("list", "verify", "fetch"))]
    assert len(words) == 21
    for command in words:
        assert "--debug" in CliRunner().invoke(whole_app, [*command, "--help"]).stdout, command
