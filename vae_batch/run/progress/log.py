"""Logging: which records of ``vae_batch`` are shown, and the log file of a run.

Modules log to ``logging.getLogger(__name__)``. A command and a worker call :func:`set_up_logging`,
or the log is the caller's: whoever uses the package as a library configures ``logging`` alone.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, TextIO

from vae_batch.plan.credentials import without_credentials

if TYPE_CHECKING:
    from vae_batch.storage import Store

#: Set to 1, everything is logged, on workers too; the flag ``--debug`` sets it.
DEBUG_VARIABLE = "VAE_BATCH_DEBUG"

#: The log of all runs of a local output folder. At :data:`_LARGEST` bytes it becomes ``log.txt.1``.
LOG_FILE = "log.txt"
_LARGEST = 5_000_000

_PACKAGE = logging.getLogger("vae_batch")
_FULL = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SHORT = "%(levelname)s: %(message)s"


def is_debug() -> bool:
    """Whether this process logs everything."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def set_up_logging() -> logging.Handler:
    """Send the package's records to stderr, for the life of this process.

    Warnings and errors in one line each; with ``VAE_BATCH_DEBUG=1`` all records, with tracebacks.

    Returns:
        The handler that does so.
    """
    handler = _StderrHandler()
    handler.setLevel(logging.DEBUG if is_debug() else logging.WARNING)
    handler.setFormatter(_Formatter(_FULL) if is_debug() else _OneLine(_SHORT))
    _PACKAGE.addHandler(handler)
    _PACKAGE.setLevel(logging.DEBUG if is_debug() else logging.INFO)
    _PACKAGE.propagate = False  # libraries put handlers on the root logger that would repeat it
    return handler


@contextmanager
def logging_set_up() -> Iterator[None]:
    """Log as :func:`set_up_logging` within the block; a command's."""
    level, propagate = _PACKAGE.level, _PACKAGE.propagate
    handler = set_up_logging()
    try:
        yield
    finally:
        _PACKAGE.removeHandler(handler)
        _PACKAGE.setLevel(level)
        _PACKAGE.propagate = propagate


@contextmanager
def run_log(store: Store) -> Iterator[None]:
    """Append the package's records to ``log.txt`` of a local output folder, tracebacks too.

    Object stores cannot append, so nothing is written there. Whoever calls this holds the lease
    of the folder. Errors of the disk are ignored: a log is not worth a run.

    Args:
        store: Of the output folder.
    """
    if store.local_folder is None:
        yield
        return
    handler = _LogFile(
        store.local_folder / LOG_FILE, maxBytes=_LARGEST, backupCount=1, encoding="utf-8",
        delay=True,
    )  # fmt: skip
    handler.setLevel(logging.DEBUG if is_debug() else logging.INFO)
    handler.setFormatter(_Formatter(_FULL))
    _PACKAGE.addHandler(handler)
    try:
        yield
    finally:
        _PACKAGE.removeHandler(handler)
        handler.close()


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is ``sys.stderr`` at the moment: a progress display replaces it.

    Lines then appear above the display, and do not disturb it.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LogFile(RotatingFileHandler):
    """Ignores errors of the disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


class _Formatter(logging.Formatter):
    """Shows no credentials of URIs."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


class _OneLine(_Formatter):
    """Leaves tracebacks to the log file and to ``--debug``."""

    def format(self, record: logging.LogRecord) -> str:
        brief = copy.copy(record)
        brief.exc_info = brief.exc_text = brief.stack_info = None
        return super().format(brief)
