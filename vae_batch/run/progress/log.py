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
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from vae_batch.plan.credentials import without_secrets
from vae_batch.plan.printable import printable, printable_lines
from vae_batch.plan.quantities import plural
from vae_batch.run.progress.events import (
    Event,
    FaultMet,
    Message,
    PhaseBegan,
    PhaseEnded,
    RowFailed,
    RowScored,
    ShardDone,
    UnitReduced,
    WorkBegan,
)

if TYPE_CHECKING:
    from vae_batch.storage import Store

#: Set to 1, everything is logged, on workers too; the flag ``--debug`` sets it.
DEBUG_VARIABLE = "VAE_BATCH_DEBUG"

#: The log of all runs of a local output folder. At :data:`_LARGEST` bytes it becomes ``log.txt.1``.
LOG_FILE = "log.txt"
_LARGEST = 5_000_000

_PACKAGE = logging.getLogger("vae_batch")
_log = logging.getLogger(__name__)
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


class RunLog:
    """A reader of events that appends them to ``log.txt`` of a local output folder.

    Within the block the records of the package are appended too, with tracebacks. Object stores
    cannot append, so nothing is written there. The holder of the folder's lease is the only
    writer. Errors of the disk are ignored: a log is not worth a run.
    """

    def __init__(self, store: Store) -> None:
        """Nothing is written yet.

        Args:
            store: The output folder.
        """
        self._handler: logging.Handler = logging.NullHandler()
        if store.local_folder is not None:
            self._handler = _LogFile(
                store.local_folder / LOG_FILE, maxBytes=_LARGEST, backupCount=1, encoding="utf-8",
                delay=True,
            )  # fmt: skip
        self._handler.setLevel(logging.DEBUG if is_debug() else logging.INFO)
        self._handler.setFormatter(_Formatter(_FULL))

    def __call__(self, event: Event) -> None:
        """Log an event."""
        level, text = _described(event)
        if not text:
            return
        record = _log.makeRecord(_log.name, level, "", 0, text, (), None)
        record.is_displayed = isinstance(event, Message | RowScored)
        if _log.isEnabledFor(level):
            _log.handle(record)
        elif level >= self._handler.level:  # a library's user has not set up our logging
            self._handler.handle(record)

    def __enter__(self) -> Self:
        """Begin to append."""
        _PACKAGE.addHandler(self._handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note the error that ended the run, and close the file."""
        if isinstance(error, KeyboardInterrupt):
            self._note(logging.INFO, "the run was stopped; the same command resumes it")
        elif error is not None:
            said = f"the run was interrupted by {type(error).__name__}: {error}"
            self._note(logging.ERROR, said, (type(error), error, trace))
        _PACKAGE.removeHandler(self._handler)
        self._handler.close()

    def _note(self, level: int, text: str, info: Any = None) -> None:  # noqa: ANN401
        self._handler.handle(_log.makeRecord(_log.name, level, "", 0, text, (), info))


def _described(event: Event) -> tuple[int, str]:
    """Level and text of an event; no text for those that are not logged."""
    match event:
        case Message():
            return event.level, event.text
        case PhaseBegan():
            return logging.INFO, f"phase {event.phase} began"
        case PhaseEnded():
            return logging.INFO, f"phase {event.phase} took {event.seconds:.1f} s"
        case WorkBegan():
            missing = plural(sum(event.missing.values()), "missing shard")
            return logging.INFO, f"{plural(len(event.open_rows), 'row')} to score, {missing}"
        case FaultMet():
            retried = f": shards of {', '.join(event.units)} are retried" if event.units else ""
            return logging.WARNING, f"{event.kind}{retried}"
        case RowScored():
            return logging.INFO, event.sentence
        case RowFailed():
            where = f"; traceback in {event.traceback}" if event.traceback else ""
            return logging.INFO, f"{event.row.checkpoint.label}: failed: {event.reason}{where}"
        case ShardDone():
            said = f"{event.unit.path} {event.shard.name}: {event.seconds:.3f} s on {event.device}"
            return logging.DEBUG, said
        case UnitReduced():
            return logging.DEBUG, f"{event.unit.path}: reduced in {event.seconds:.3f} s"
    return logging.DEBUG, ""


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is ``sys.stderr`` at the moment: a progress display replaces it.

    Lines then appear above the display, and do not disturb it. What the display prints itself is
    not printed again.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "is_displayed", False):
            self.stream = sys.stderr
            super().emit(record)


class _LogFile(RotatingFileHandler):
    """Ignores errors of the disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


class _Formatter(logging.Formatter):
    """Shows no credentials and no control characters; a message is one line."""

    def format(self, record: logging.LogRecord) -> str:
        safe = copy.copy(record)
        safe.msg, safe.args = printable(record.getMessage()), None
        return printable_lines(without_secrets(super().format(safe)))


class _OneLine(_Formatter):
    """Leaves tracebacks to the log file and to ``--debug``."""

    def format(self, record: logging.LogRecord) -> str:
        brief = copy.copy(record)
        brief.exc_info = brief.exc_text = brief.stack_info = None
        return super().format(brief)
