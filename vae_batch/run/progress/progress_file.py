"""``progress.json``: how far the last run of an output folder is, for other processes.

It is information, not a result: no score depends on it, and a run goes on if it cannot be written.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from vae_batch.plan.credentials import values_without_credentials
from vae_batch.plan.quantities import Seconds
from vae_batch.run.progress.counters import Counters
from vae_batch.run.progress.events import Event, PhaseBegan, Tick
from vae_batch.run.progress.snapshot import Snapshot
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_as, encode_checked

PROGRESS_FILE = "progress.json"

#: State of a run as it says itself; a run that died still says ``running``.
SaidState = Literal["running", "finished", "interrupted"]

#: Seconds between two writings.
_PERIOD = 10.0

#: Running checkpoints that are listed; there may be thousands.
_LISTED = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastProgress:
    """Content of ``progress.json``.

    Attributes:
        at: When it was written, in seconds since 1970 by the writer's clock.
        state: State of the run at that time.
        reason: Why it was interrupted; ``stopped`` for Ctrl-C and SIGTERM.
        snapshot: How far the run was.
    """

    at: Seconds
    state: SaidState
    reason: str
    snapshot: Snapshot


class ProgressFile:
    """A reader of events that keeps ``progress.json`` up to date; a context manager.

    Nothing is written by a run that had nothing to do.
    """

    def __init__(self, store: Store, guard: Callable[[], None] = lambda: None) -> None:
        """Nothing is written yet.

        Args:
            store: The output folder.
            guard: Called before each writing; raises if the folder has been taken over.
        """
        self._store, self._guard = store, guard
        self._counters = Counters()
        self._written = -_PERIOD

    def __call__(self, event: Event) -> None:
        """Count an event; write the file if it is due."""
        self._counters(event)
        due = isinstance(event, Tick) and time.monotonic() >= self._written + _PERIOD
        if due or isinstance(event, PhaseBegan):
            self._write("running")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write how the run ended."""
        if error is None:
            self._write("finished")
        else:
            self._write("interrupted", _reason(error))

    def _write(self, state: SaidState, reason: str = "") -> None:
        if not self._counters.has_work:
            return
        self._written = time.monotonic()
        try:
            self._guard()
            write_progress(self._store, self._counters.snapshot(), state, reason)
        except Exception:  # information that is not worth a run
            _log.debug("%s was not written", PROGRESS_FILE, exc_info=True)


def write_progress(store: Store, snapshot: Snapshot, state: SaidState, reason: str = "") -> None:
    """Write the file.

    Raises:
        OSError: It cannot be written.
    """
    shown = dataclasses.replace(snapshot, running=snapshot.running[:_LISTED])
    fields = dataclasses.asdict(LastProgress(time.time(), state, reason, shown))
    store.write(PROGRESS_FILE, encode_checked(values_without_credentials(fields)))


def read_progress(store: Store) -> LastProgress | None:
    """Content of the file; None if there is none, or if it is damaged or of an older version.

    Raises:
        OSError: The store cannot be read.
    """
    try:
        return decode_as(LastProgress, store.read(PROGRESS_FILE))
    except (FileNotFoundError, ValueError):
        return None


def _reason(error: BaseException) -> str:
    return "stopped" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
