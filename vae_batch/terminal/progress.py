"""Progress on stderr: a display that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vae_batch.plan.credentials import without_secrets
from vae_batch.plan.printable import printable_lines
from vae_batch.plan.quantities import duration, plural
from vae_batch.report.labels import elide, printable
from vae_batch.run.progress.counters import Counters
from vae_batch.run.progress.events import Event, Message, RowScored, Tick, WorkBegan, WorkEnded
from vae_batch.run.progress.snapshot import Part, Snapshot
from vae_batch.terminal import words

#: Seconds between plain lines.
_PLAIN_INTERVAL = 15.0

#: Running checkpoints that are named; the others are counted.
_NAMED = 6


class TerminalProgress:
    """A reader of events that shows a run; a context manager.

    On a terminal: running checkpoints, counts of the others, a bar, images per second, time left,
    workers and faults survived, in a few lines that disappear at the end. Elsewhere (a pipe, a
    file, the logs of a job, cron's mail): one line every 15 seconds. Messages stay in both.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is shown yet.

        Args:
            console: Where to show it; None for stderr.
            clock: Gives seconds.
        """
        self._console, self._clock = console or Console(file=sys.stderr), clock
        self._counters = Counters(clock)
        self._live: Live | None = None
        self._is_working = False
        self._last_line = clock()

    @property
    def snapshot(self) -> Snapshot:
        """How far the run is."""
        return self._counters.snapshot()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Erase the lines that move; messages stay."""
        self._end()

    def __call__(self, event: Event) -> None:
        """Count an event, and show what it changes."""
        self._counters(event)
        match event:
            case Message():
                self._print(event.text)
            case RowScored() if event.sentence:
                self._print(event.sentence)
            case WorkBegan() if event.open_rows:
                self._begin()
            case WorkEnded():
                self._end()
            case Tick() if self._is_working:
                self._show()

    def _print(self, text: str) -> None:
        shown = printable_lines(without_secrets(text))
        self._console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def _begin(self) -> None:
        self._end()
        snapshot = self.snapshot
        done = f", {snapshot.shards_done:,} of them done before" if snapshot.shards_done else ""
        self._print(f"{plural(snapshot.shards_total, 'shard')}{done}")
        self._is_working, self._last_line = True, self._clock()
        if moves(self._console):
            self._live = Live(
                get_renderable=lambda: drawn(self.snapshot),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._live.start()

    def _show(self) -> None:
        if self._live is not None:
            self._live.refresh()
        elif self._clock() - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = self._clock()
            snapshot = self.snapshot
            self._print(f"{duration(snapshot.seconds)}: {words.one_line(snapshot)}")

    def _end(self) -> None:
        live, self._live, self._is_working = self._live, None, False
        if live is not None:
            live.stop()


def moves(console: Console) -> bool:
    """Whether a console is a terminal on which lines can be drawn again.

    ``FORCE_COLOR`` and the like make rich treat a file as a terminal: it then gets colours, but no
    lines that move.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def drawn(snapshot: Snapshot) -> RenderableType:
    """The lines that move: about ten at most, however many checkpoints there are."""
    named, more = snapshot.running[:_NAMED], len(snapshot.running) - _NAMED
    lines: list[RenderableType] = [_part_line(part) for part in named]
    if more > 0:
        lines.append(_line(f"and {more} more running"))
    lines.append(_line(words.checkpoints(snapshot)))
    lines.append(_bar_line(snapshot))
    workers = words.workers(snapshot)
    return Group(*lines, *([_line(workers)] if workers else []))


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _part_line(part: Part) -> Table:
    """A long label is shortened in its middle: both ends identify a checkpoint."""
    line = Table.grid(padding=(0, 2))
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True)
    line.add_row(Text(elide(printable(part.label), 44), style="cyan"), Text(words.shards(part)))
    return line


def _bar_line(snapshot: Snapshot) -> Table:
    line = Table.grid(padding=(0, 2), expand=False)
    for _ in range(3):
        line.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, snapshot.shards_total), completed=snapshot.shards_done, width=24)
    done = f"{snapshot.shards_done}/{snapshot.shards_total} shards"
    line.add_row(bar, Text(done), Text(words.pace(snapshot), overflow="ellipsis"))
    return line
