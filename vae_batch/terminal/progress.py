"""Progress on stderr: a display that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vae_batch.plan.credentials import without_credentials
from vae_batch.report.labels import elide, printable
from vae_batch.run.progress.counters import Part, Standing, Tally
from vae_batch.terminal import words

#: Seconds between plain lines.
_PLAIN_INTERVAL = 15.0

#: Checkpoints under way that are named; of more there is a count.
_NAMED = 6


class TerminalProgress:
    """Shows runs under way; a context manager.

    On a terminal: checkpoints under way, counts of the others, a bar, images a second, time left,
    workers and faults survived, in a few lines that go when the run ends. Elsewhere (a pipe, a
    file, the logs of a job, cron's mail): a line each 15 seconds. What is said stays in both.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Show on ``console``, which should write to stderr; ``clock`` gives seconds."""
        self._console, self._clock = console, clock
        self._tally: Tally | None = None
        self._live: Live | None = None
        self._last_line = clock()

    def __enter__(self) -> Self:
        """Nothing is shown yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take away what moves; lines stay."""
        self.end()

    def say(self, message: str) -> None:
        """See ``ProgressDisplay``."""
        shown = printable_lines(without_credentials(message))
        self._console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def start(self, tally: Tally) -> None:
        """See ``ProgressDisplay``."""
        self.end()
        standing = tally.standing()
        before = f", {standing.shards_done} done before" if standing.shards_done else ""
        self.say(f"{standing.shards_total} shards{before}")
        self._tally, self._last_line = tally, self._clock()
        if moves(self._console):
            self._live = Live(
                get_renderable=lambda: drawn(tally.standing()),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._live.start()

    def show(self) -> None:
        """See ``ProgressDisplay``."""
        if self._live is not None:
            self._live.refresh()
        elif self._tally is not None and self._clock() - self._last_line >= _PLAIN_INTERVAL:
            self._last_line = self._clock()
            standing = self._tally.standing()
            self.say(f"{words.duration(standing.seconds)}: {words.one_line(standing)}")

    def end(self) -> None:
        """See ``ProgressDisplay``."""
        live, self._live, self._tally = self._live, None, None
        if live is not None:
            live.stop()


def moves(console: Console) -> bool:
    """Whether a console is a terminal that lines can be drawn anew on.

    ``FORCE_COLOR`` and the like make rich take a file for a terminal: colours, then, but no motion.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def printable_lines(text: str) -> str:
    """A text without control characters but for its line ends: names come from file systems."""
    return "\n".join(printable(line) for line in text.split("\n"))


def drawn(standing: Standing) -> RenderableType:
    """The lines that move; about ten at most, however many checkpoints there are."""
    named, more = standing.under_way[:_NAMED], len(standing.under_way) - _NAMED
    lines: list[RenderableType] = [_part_line(part) for part in named]
    if more > 0:
        lines.append(_line(f"and {more} more under way"))
    lines.append(_line(words.checkpoints(standing)))
    lines.append(_bar_line(standing))
    workers = words.workers(standing.activity)
    return Group(*lines, *([_line(workers)] if workers else []))


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _part_line(part: Part) -> Table:
    """A label cut in its middle where it is long: both ends tell one from another."""
    line = Table.grid(padding=(0, 2))
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True)
    line.add_row(Text(elide(printable(part.label), 44), style="cyan"), Text(words.shards(part)))
    return line


def _bar_line(standing: Standing) -> Table:
    line = Table.grid(padding=(0, 2), expand=False)
    for _ in range(3):
        line.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, standing.shards_total), completed=standing.shards_done, width=24)
    done = f"{standing.shards_done}/{standing.shards_total} shards"
    line.add_row(bar, Text(done), Text(words.pace(standing), overflow="ellipsis"))
    return line
