"""How every command ends: a sentence on stderr and an exit code, never a traceback for bad input.

0 all is well, 2 bad input, 3 something failed (a checkpoint, or a finding of ``doctor``), 130
interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from vae_batch.plan import InputError

SCORED, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130


@contextmanager
def exit_codes() -> Iterator[None]:
    """Bad input ends with a sentence and 2, an interrupt with 130; nothing done is lost."""
    try:
        yield
    except InputError as error:
        say_error(str(error))
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        stderr_console().print("stopped; the same command goes on from here", highlight=False)
        raise typer.Exit(INTERRUPTED) from None


def say_error(sentence: str) -> None:
    """Print one error as every command does."""
    stderr_console().print(f"error: {sentence}", markup=False, highlight=False, soft_wrap=True)


def stderr_console() -> Console:
    """A console on stderr, where all goes that is not a result."""
    return Console(file=sys.stderr)
