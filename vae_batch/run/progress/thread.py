"""The pulse of a run: while it works its display is kept moving, and its folder says how far it is.

Shards may take minutes, and a run whose workers are all lost ends none: so this is a thread of its
own, which asks the workers, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from vae_batch.run.execute.executor import Executor
from vae_batch.run.progress.counters import Tally
from vae_batch.run.progress.display import ProgressDisplay
from vae_batch.run.progress.progress_file import State, write_progress
from vae_batch.storage import Store

#: Seconds between drawings, between questions to the workers, and between writings.
_BEAT, _ASKED, _WRITTEN = 1.0, 5.0, 10.0

#: Seconds that the end of a run waits for the thread, which may be waiting for the cluster.
_LAST_BEAT = 1.0


class Pulse:
    """A display for `driver.run` that shows the one it is given, about once a second."""

    def __init__(
        self,
        display: ProgressDisplay,
        executor: Executor,
        store: Store,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing beats until a run starts.

        Args:
          display: Told what a run tells this one.
          executor: Entered; asked what its workers are at.
          store: The run's output folder.
          guard: Called before anything is written there; raises where it must not be.
        """
        self._display, self._executor = display, executor
        self._store, self._guard = store, guard
        self._tally: Tally | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, message: str) -> None:
        """See ``ProgressDisplay``."""
        self._display.say(message)

    def start(self, tally: Tally) -> None:
        """See ``ProgressDisplay``; a run that has nothing to do is not shown."""
        if tally.is_idle:
            return
        self._stop_beating()  # of the round before
        self._tally, self._over = tally, threading.Event()
        self._display.start(tally)
        beat = threading.Thread(
            target=self._beat, args=(tally, self._over), name="pulse", daemon=True
        )
        beat.start()
        self._thread = beat

    def show(self) -> None:
        """See ``ProgressDisplay``."""
        self._display.show()

    def end(self) -> None:
        """See ``ProgressDisplay``."""
        self._display.end()

    def __enter__(self) -> Self:
        """Nothing beats yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and write how the run ended."""
        if self._tally is None or self._thread is None:
            return
        self._stop_beating()
        if error is None:  # else the cluster may not answer, and the process is to end soon
            self._ask(self._tally)
        self._display.end()
        if error is None:
            self._write(self._tally, "ended")
        else:
            self._write(self._tally, "broken off", _reason(error))

    def _stop_beating(self) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join(_LAST_BEAT)

    def _beat(self, tally: Tally, over: threading.Event) -> None:
        asked = written = -_WRITTEN
        while not over.wait(_BEAT):
            now = time.monotonic()
            if now >= asked + _ASKED:
                asked = now
                self._ask(tally)
            if now >= written + _WRITTEN:
                written = now
                self._write(tally, "under way")
            if not over.is_set():
                self._display.show()

    def _ask(self, tally: Tally) -> None:
        with suppress(Exception):  # a cluster that does not answer is asked again
            tally.note(self._executor.activity())

    def _write(self, tally: Tally, state: State, reason: str = "") -> None:
        with suppress(Exception):  # not worth a run
            self._guard()
            write_progress(self._store, tally.standing(), state, reason)


def _reason(error: BaseException) -> str:
    return "stopped" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
