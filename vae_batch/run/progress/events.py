"""What happens in a run, as typed events: the driver emits them, readers subscribe.

Every event is a frozen dataclass. A reader is any callable that takes an event: the progress
display, ``progress.json``, the log. Readers run in the driver's thread, except for `Tick`; they
must be quick, and decide nothing about the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vae_batch.plan import Shard, Unit

if TYPE_CHECKING:  # it is slow to import, and every command imports the log
    from vae_batch.run.planning.run_plan import PlannedRow

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhaseBegan:
    """The run enters a phase: ``plan``, ``start``, ``work``, ``compare``, ``report``, ..."""

    phase: str


@dataclass(frozen=True)
class PhaseEnded:
    """The run leaves a phase.

    Attributes:
        phase: Its name.
        seconds: Wall time spent in it.
    """

    phase: str
    seconds: float


@dataclass(frozen=True)
class WorkersStarted:
    """Workers can be given shards.

    Attributes:
        devices: Workers and devices in words.
        workers: How many compute at the same time; 0 for one process without Ray.
        cores: CPU cores that they share on this machine; 0 with GPUs or on a cluster.
    """

    devices: str
    workers: int
    cores: int


@dataclass(frozen=True)
class Tick:
    """About a second has passed; emitted by a thread of its own while shards are computed.

    Attributes:
        at_work: Workers that hold a shard; None if unknown.
    """

    at_work: int | None


@dataclass(frozen=True)
class WorkBegan:
    """Rows are to be completed; a race emits one such event per round, and one for the scores.

    Attributes:
        rows: All rows of the plan.
        open_rows: Those that are not scored yet.
        missing: Number of missing shards by path of their unit; 0 for complete units.
    """

    rows: tuple[PlannedRow, ...]
    open_rows: tuple[PlannedRow, ...]
    missing: Mapping[str, int]


@dataclass(frozen=True)
class ShardsQueued:
    """Shards are handed to the workers; damaged files are queued a second time.

    Attributes:
        shards: (unit, shard), in order.
    """

    shards: tuple[tuple[Unit, Shard], ...]


@dataclass(frozen=True)
class ShardDone:
    """A shard has been computed and written.

    Attributes:
        unit: Its unit.
        shard: Its range of samples.
        seconds: Time to compute it on its worker; 0 where cached activations were reused.
        device: Kind of device it was computed on.
        size: Bytes written.
    """

    unit: Unit
    shard: Shard
    seconds: float
    device: str
    size: int

    @property
    def images(self) -> int:
        """Number of samples of the shard."""
        return len(self.shard)


@dataclass(frozen=True)
class PartDamaged:
    """A stored file was found damaged, and is computed again.

    Attributes:
        unit: Its unit; ``images`` are written by the driver, not by workers.
        name: Name of the shard, or of the reduction.
        is_shard: Whether a finished shard is missing again.
    """

    unit: Unit
    name: str
    is_shard: bool
    kind: ClassVar[str] = "damaged files made again"


@dataclass(frozen=True)
class UnitReduced:
    """Activations of a unit have been reduced to moments and label distributions.

    Attributes:
        unit: Its unit.
        seconds: Time of the task where it ran.
    """

    unit: Unit
    seconds: float


@dataclass(frozen=True)
class UnitFailed:
    """A unit of a checkpoint cannot be computed; its other shards are skipped.

    Attributes:
        unit: The unit.
        reason: A sentence.
        traceback: The full traceback; empty where there is none.
    """

    unit: Unit
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class RowScored:
    """A row is scored; in a race, its score by the samples so far is known.

    Attributes:
        row: The planned row.
        sentence: Its main numbers; empty in a race.
        seconds: Time of the task where it ran.
    """

    row: PlannedRow
    sentence: str
    seconds: float


@dataclass(frozen=True)
class RowFailed:
    """A row has failed.

    Attributes:
        row: The planned row.
        reason: A sentence.
        traceback: Path of the traceback's file below the output folder; None where there is none.
    """

    row: PlannedRow
    reason: str
    traceback: str | None = None


#: Kind of a fault that costs a run its whole cluster.
CLUSTERS_LOST = "clusters lost"


@dataclass(frozen=True)
class FaultMet:
    """A fault that the run survives.

    Attributes:
        kind: ``workers lost``, ``machines lost``, ``clusters lost`` or ``shards stuck``.
        units: Paths of the units whose shards are tried again, one per shard.
    """

    kind: str
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkEnded:
    """No work is left: the rows of the last `WorkBegan` are scored or failed."""


@dataclass(frozen=True)
class Message:
    """A sentence for people."""

    text: str
    level: int = logging.INFO


Event = (
    PhaseBegan
    | PhaseEnded
    | WorkersStarted
    | Tick
    | WorkBegan
    | ShardsQueued
    | ShardDone
    | PartDamaged
    | UnitReduced
    | UnitFailed
    | RowScored
    | RowFailed
    | FaultMet
    | WorkEnded
    | Message
)

EventSink = Callable[[Event], None]


def say(emit: EventSink, text: str) -> None:
    """Emit a sentence for people."""
    emit(Message(text))


@contextmanager
def phase(emit: EventSink, name: str) -> Iterator[None]:
    """Emit the begin and the end of a phase, also when the block raises."""
    began = time.monotonic()
    emit(PhaseBegan(name))
    try:
        yield
    finally:
        emit(PhaseEnded(name, time.monotonic() - began))


def to_all(*sinks: EventSink) -> EventSink:
    """One sink that passes every event on to several.

    A reader that fails is logged and skipped: no display may end a run.
    """

    def emit(event: Event) -> None:
        for sink in sinks:
            try:
                sink(event)
            except Exception:  # a reader decides nothing about the run
                _log.exception("a reader of the run's events failed on %s", type(event).__name__)

    return emit


def without_phases(emit: EventSink) -> EventSink:
    """A sink for a run within a phase of another run: its own phases are not passed on."""
    return lambda event: None if isinstance(event, PhaseBegan | PhaseEnded) else emit(event)


def ignore(event: Event) -> None:
    """A sink that reads nothing."""


#: Seconds between two ticks.
_TICK_PERIOD = 1.0

#: Seconds to wait for the thread at the end; it may itself be waiting for the cluster.
_LAST_TICK = 1.0


@contextmanager
def ticking(emit: EventSink, at_work: Callable[[], int]) -> Iterator[None]:
    """Emit a `Tick` about once a second within the block.

    Args:
        emit: Takes the events, from another thread.
        at_work: Number of workers that hold a shard; may raise, as clusters do not always answer.
    """
    over = threading.Event()

    def tick() -> None:
        while not over.wait(_TICK_PERIOD):
            event = Tick(_asked(at_work))
            if not over.is_set():
                emit(event)

    thread = threading.Thread(target=tick, name="ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_TICK)


def _asked(at_work: Callable[[], int]) -> int | None:
    try:
        return at_work()
    except Exception:  # a cluster that does not answer is asked again
        _log.debug("the workers could not be asked", exc_info=True)
        return None
