"""A clean stop after Ctrl-C or SIGTERM (a spot notice, ``ray job stop``).

The first signal raises ``KeyboardInterrupt`` in the main thread, except inside a write that is
:func:`uninterrupted`: there it waits for the end of the write. A second signal is never delayed.
After SIGTERM the process ends within :data:`GRACE` seconds, killed if necessary, which damages no
file: files are whole or absent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Seconds from SIGTERM to the end of the process; spot machines give 30, Kubernetes 30.
GRACE = 17.0

SENTENCE = "stopped; the same command goes on from here"


class Stop:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.number: int | None = None
        self._held = 0
        self._waiting = False
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """What a process ends with that a signal stopped: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def install(self) -> None:
        """Take the signals, unless they are ignored; again, where a library has taken them."""
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, self._receive):
                self._before.setdefault(number, handler)
                signal.signal(number, self._receive)

    def uninstall(self) -> None:
        """Give the signals back to who had them at first."""
        for number, handler in self._before.items():
            if handler is not None:  # one that is not Python's cannot be set again
                signal.signal(number, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let a first signal wait until the end of the block."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._waiting and not self._held:
                self._waiting = False
                raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self.number = self.number is None, number
        if first and number == signal.SIGTERM:
            timer = threading.Timer(GRACE, self._end)
            timer.daemon = True
            timer.start()
        if first and self._held:
            self._waiting = True
            return
        raise KeyboardInterrupt

    def _end(self) -> None:
        print(SENTENCE, file=sys.stderr, flush=True)
        os._exit(self.exit_code)


#: Signals belong to the process, and so does this.
_active: Stop | None = None


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Meet Ctrl-C and SIGTERM as the module says, inside the block; may be nested.

    Outside the main thread signals cannot be taken; nothing changes there.
    """
    global _active
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield _active or Stop()
        return
    _active = Stop()
    _active.install()
    try:
        yield _active
    finally:
        _active.uninstall()
        _active = None


def take_signals() -> None:
    """Take the signals again after a library (``ray.init``) has set its own handlers."""
    if _active is not None and threading.current_thread() is threading.main_thread():
        _active.install()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish what belongs together, such as a table and its twin, before a stop is met."""
    if _active is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _active.hold():
        yield


def raise_if_stopped() -> None:
    """Meet a stop whose exception was lost, as exceptions in finalizers are.

    Raises:
        KeyboardInterrupt: A stop was asked for.
    """
    if _active is not None and _active.number is not None:
        raise KeyboardInterrupt
