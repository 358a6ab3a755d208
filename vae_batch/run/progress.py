"""Live progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between plain lines where there is no terminal.
_PLAIN_INTERVAL = 15.0


class ProgressDisplay(Protocol):
    """What the driver reports while it works."""

    def start(self, total: int, done: int) -> None:
        """A run of ``total`` shards begins, of which ``done`` were finished before."""
        ...

    def advance(self, images: int) -> None:
        """One more shard has ended, with so many images."""
        ...

    def say(self, message: str) -> None:
        """A line that stays, such as a scored checkpoint."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, total: int, done: int) -> None:
        """See ``ProgressDisplay``."""

    def advance(self, images: int) -> None:
        """See ``ProgressDisplay``."""

    def say(self, message: str) -> None:
        """See ``ProgressDisplay``."""


class TerminalProgress:
    """Shards, images a second and time left; a context manager."""

    def __init__(self, console: Console) -> None:
        """Show on ``console``, which should write to stderr."""
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} shards"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._total = self._done = self._images = 0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        self._task = self._bar.add_task("scoring", total=None, start=False, rate="", visible=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away; lines stay."""
        self._bar.stop()

    def start(self, total: int, done: int) -> None:
        """See ``ProgressDisplay``."""
        self._total, self._done, self._images = total, done, 0
        self._began = self._last_line = time.monotonic()
        self._bar.reset(self._task, total=total, completed=done, visible=True, rate="")
        before = f", {done} done before" if done else ""
        self.say(f"{total} shards{before}")

    def advance(self, images: int) -> None:
        """See ``ProgressDisplay``."""
        self._done += 1
        self._images += images
        self._bar.update(self._task, completed=self._done, rate=self._rate())
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = now
            self.say(f"{self._done}/{self._total} shards, {self._rate()}, {self._time_left()}")

    def say(self, message: str) -> None:
        """See ``ProgressDisplay``."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def _rate(self) -> str:
        return f"{self._images / max(time.monotonic() - self._began, 1e-9):.1f} images/s"

    def _time_left(self) -> str:
        return f"about {self._seconds_left():.0f} s left"

    def _seconds_left(self) -> float:
        per_image = (time.monotonic() - self._began) / max(self._images, 1)
        images_a_shard = self._images / max(self._done, 1)
        return per_image * images_a_shard * (self._total - self._done)
