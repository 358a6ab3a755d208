"""How every command ends (exit code, one sentence for an error), and its flag ``--debug``.

0 success, 1 an unexpected error, 2 bad input, 3 something failed (a checkpoint, a finding of
``doctor``, a damaged file), 4 a nightly regression beyond the tolerance, 5 the Ray cluster was
lost, 6 nothing became better (``watch --patience``), 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, get_type_hints

import typer

from vae_batch.commands.output import own_streams, results_apart, say
from vae_batch.installation import missing
from vae_batch.plan import ClusterLostError, InputError
from vae_batch.plan.credentials import without_secrets
from vae_batch.run.execute.signals import SENTENCE, stoppable
from vae_batch.run.execute.worker_environment import set_for_this_process
from vae_batch.run.progress.log import DEBUG_VARIABLE, is_debug, logging_set_up

SCORED, UNEXPECTED, BAD_INPUT, SOME_FAILED, REGRESSED, CLUSTER_LOST = 0, 1, 2, 3, 4, 5
NO_BETTER = 6

_log = logging.getLogger(__name__)


@contextmanager
def exit_codes() -> Iterator[None]:
    """End a command whose block raises: one sentence on stderr and an exit code.

    Finished work is kept. Tracebacks are shown with ``--debug``; without it that of an unexpected
    error is written to a file, which the sentence names.

    Raises:
        typer.Exit: The block raised; with the codes that the module lists.
    """
    with stoppable() as stop, results_apart(), logging_set_up():
        try:
            yield
        except (typer.Exit, typer.Abort, typer.BadParameter):  # typer's to handle
            raise
        except InputError as error:
            _log.debug("bad input", exc_info=True)
            say_error(str(error))
            raise typer.Exit(BAD_INPUT) from None
        except ModuleNotFoundError as error:
            _log.debug("not installed", exc_info=True)
            say_error(missing(error))
            raise typer.Exit(BAD_INPUT) from None
        except ClusterLostError as error:
            _log.debug("the cluster was lost", exc_info=True)
            say_error(f"{error}; finished work is kept: run the same command again")
            raise typer.Exit(CLUSTER_LOST) from None
        except OSError as error:
            _log.debug("the system refused", exc_info=True)
            say_error(f"{error}; finished work is kept: fix this and run the same command again")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            say(SENTENCE)
            raise typer.Exit(stop.exit_code) from None
        except Exception as error:  # the last place where a sentence can be made of it
            _log.debug("unexpected error", exc_info=True)
            say_error(_unexpected(error))
            raise typer.Exit(UNEXPECTED) from None


def say_error(sentence: str) -> None:
    """Print an error to stderr."""
    say(f"error: {sentence}")


def _unexpected(error: Exception) -> str:
    what = f"unexpected {type(error).__name__}: {error}; this is probably a bug"
    if is_debug():
        return what
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vae-batch-", suffix=".txt", encoding="utf-8", delete=False
        ) as file:
            file.write(without_secrets(traceback.format_exc()))
    except OSError:
        return f"{what}; run the command again with --debug to see where"
    return f"{what}; its traceback is in {file.name} (--debug shows it here)"


def run_process(command: Callable[[], object]) -> NoReturn:
    """Run a command and end the process with its exit code.

    Threads of native libraries (Ray's core, gRPC, TensorFlow) outlive Python, and sometimes abort
    while the interpreter is torn down. A finished run would then end with 134, which cron and
    Kubernetes take for a failure. So exit functions are called, and then the process ends at once.

    Args:
        command: Ends by SystemExit, as typer's do. Other exceptions are raised, but for those of
            the system, such as a full disk below stdout: bad input.
    """
    own_streams()
    set_for_this_process()
    try:
        command()
        code = 0
    except SystemExit as ended:
        code = _code(ended)
    except OSError as error:
        code = _not_printed(error)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = max(code, _not_printed(error))
    sys.stderr.flush()
    os._exit(code)


def _not_printed(error: OSError) -> int:
    say_error(f"stdout could not be written: {error}")
    return BAD_INPUT


def _code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1


_OPTION = Annotated[
    bool,
    typer.Option(
        "--debug",
        help=f"Log everything, on workers too, with tracebacks (also: {DEBUG_VARIABLE}=1).",
        show_default=False,
    ),
]


def with_debug_flag(command: Callable[..., None]) -> Callable[..., None]:
    """A command of typer with the option ``--debug``, which sets ``VAE_BATCH_DEBUG``."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    flag = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_OPTION
    )

    def wrapper(*, debug: bool, **values: Any) -> None:  # noqa: ANN401
        if debug:
            os.environ[DEBUG_VARIABLE] = "1"  # read by this process and by its workers
        command(**values)

    wrapper.__signature__ = inspect.Signature([*own, flag])  # type: ignore[attr-defined]
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper
