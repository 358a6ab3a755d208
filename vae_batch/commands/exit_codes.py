"""How every command ends: a sentence on stderr and an exit code, never a traceback for bad input.

0 all is well, 2 bad input, 3 something failed (a checkpoint, or a finding of ``doctor``), 4 a
nightly regression beyond the tolerance, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from vae_batch.plan import InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.run.execute.signals import SENTENCE, stoppable

SCORED, BAD_INPUT, SOME_FAILED, REGRESSED = 0, 2, 3, 4


@contextmanager
def exit_codes() -> Iterator[None]:
    """Bad input ends with a sentence and 2, a stop with 130 or 143; nothing done is lost."""
    with stoppable() as stop:
        try:
            yield
        except InputError as error:
            say_error(str(error))
            raise typer.Exit(BAD_INPUT) from None
        except BrokenPipeError:  # who read stdout has seen enough; typer ends quietly
            raise
        except OSError as error:
            say_error(f"{error}; what is finished stays, so mend it and run the same again")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            stderr_console().print(SENTENCE, highlight=False)
            raise typer.Exit(stop.exit_code) from None


def say_error(sentence: str) -> None:
    """Print one error as every command does."""
    said = f"error: {without_credentials(sentence)}"
    stderr_console().print(said, markup=False, highlight=False, soft_wrap=True)


def stderr_console() -> Console:
    """A console on stderr, where all goes that is not a result."""
    return Console(file=sys.stderr)
