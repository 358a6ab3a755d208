"""A shard that exceeds its time limit ends its worker, so that another one can try it."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vae_batch.plan import Shard

#: Exit status of a worker that ended itself.
STUCK = 75

#: The process's stderr as a descriptor, whatever stands in its place by now.
_LOG = 2

#: Seconds that the driver has to be notified before the process ends all the same.
_MARGIN = 20.0


class Watchdog:
    """Ends this process when a shard is stuck.

    Threads cannot be ended from outside, so the process must go. Only for workers that somebody
    replaces: a serial run has no such protection.
    """

    def __init__(self, seconds: float, note: Callable[[Shard, float], None]) -> None:
        """Watch nothing yet.

        Args:
            seconds: Time limit of a shard.
            note: Called with the shard and the limit before the process ends.
        """
        self._seconds, self._note = seconds, note

    @contextmanager
    def watching(self, shard: Shard) -> Iterator[None]:
        """End this process if the block takes too long; threads may watch one shard each."""
        timer = threading.Timer(self._seconds, self._end, (shard,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def watching_native(self, shard: Shard) -> Iterator[None]:
        """The same, and also where native code holds Python's own lock; one block at a time."""
        faulthandler.dump_traceback_later(self._seconds + _MARGIN, exit=True, file=_LOG)
        try:
            with self.watching(shard):
                yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _end(self, shard: Shard) -> None:
        # Needs no lock of Python's, in case `note` never returns.
        faulthandler.dump_traceback_later(_MARGIN, exit=True, file=_LOG)
        print(
            f"{shard.unit} {shard.name} is not done after {self._seconds:g} s: this worker ends",
            file=sys.__stderr__,
            flush=True,
        )
        faulthandler.dump_traceback(file=_LOG)
        try:
            self._note(shard, self._seconds)
        finally:
            os._exit(STUCK)
