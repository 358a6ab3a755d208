"""Whom a run tells how far it is: the contract of displays, and the one that shows nothing."""

from __future__ import annotations

from typing import Protocol

from vae_batch.run.progress.counters import Tally
from vae_batch.run.progress.events import (
    Event,
    EventSink,
    Message,
    PartDamaged,
    RowFailed,
    RowScored,
    ShardDone,
    WorkBegan,
)


class ProgressDisplay(Protocol):
    """Shows a run under way.

    ``say`` and ``start`` are called by the thread that drives the run, ``show`` by another one.
    """

    def say(self, message: str) -> None:
        """A line that stays, such as a scored checkpoint."""
        ...

    def start(self, tally: Tally) -> None:
        """A run begins; ``tally`` says how far it is, now and later."""
        ...

    def show(self) -> None:
        """Called about once a second while the run is under way."""
        ...

    def end(self) -> None:
        """The run that was started is over; another one may follow."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, message: str) -> None:
        """See ``ProgressDisplay``."""

    def start(self, tally: Tally) -> None:
        """See ``ProgressDisplay``."""

    def show(self) -> None:
        """See ``ProgressDisplay``."""

    def end(self) -> None:
        """See ``ProgressDisplay``."""


def display_sink(display: ProgressDisplay) -> EventSink:
    """A reader of a run's events that keeps a tally and shows it on ``display``."""
    tally = Tally((), (), {})

    def read(event: Event) -> None:
        nonlocal tally
        match event:
            case Message():
                display.say(event.text)
            case WorkBegan():
                tally = Tally(event.rows, event.open_rows, event.missing)
                display.start(tally)
            case ShardDone():
                tally.finished(event.unit, event.images, event.seconds)
            case PartDamaged() if event.is_shard:
                tally.redone(event.unit)
            case RowScored():
                tally.scored(event.row)
                if event.sentence:
                    display.say(event.sentence)
            case RowFailed():
                tally.failed(event.row)

    return read
