"""The counters of a run: the reader of its events that displays, files and sentences rely on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.planning.run_plan import PlannedRow
from vae_batch.run.progress.events import (
    Event,
    FaultMet,
    PartDamaged,
    PhaseBegan,
    PhaseEnded,
    RowFailed,
    RowScored,
    ShardDone,
    Tick,
    UnitReduced,
    WorkBegan,
    WorkersStarted,
)
from vae_batch.run.progress.snapshot import WITHOUT_IMAGES, Part, RowState, Snapshot, Work


@dataclass(eq=False)
class _JobCounts:
    """The reference or a checkpoint, and what is missing of it."""

    label: str
    done: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    open_rows: int = 0
    has_failed: bool = False

    @property
    def total(self) -> int:
        return self.done + self.missing.total()

    @property
    def state(self) -> RowState:
        if self.has_failed:
            return "failed"
        if not self.open_rows:
            return "scored"
        return "running" if self.done else "waiting"


class Counters:
    """Counts the events of one run; may be read by other threads than the one that emits them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._started = WorkersStarted("", 0, 0)
        self._at_work: int | None = None
        self._phase = ""
        self._phases: dict[str, float] = {}
        self._faults, self._retried = Counter[str](), Counter[str]()
        self._work: dict[tuple[str, str | None, str], Work] = {}
        self.has_work = False
        self._begin(WorkBegan((), (), {}))

    def __call__(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            self._count(event)

    def snapshot(self) -> Snapshot:
        """How far the run is now."""
        with self._lock:
            jobs = [self._reference, *self._jobs.values()]
            done = sum(job.done for job in jobs)
            running = [s for s in (self._reference,) if s.missing.total()] + [*self._running]
            return Snapshot(
                seconds=self._clock() - self._began,
                phase=self._phase,
                phases=dict(self._phases),
                shards_done=done,
                shards_total=done + self._left.total(),
                checkpoints=len(self._jobs),
                scored=self._states["scored"],
                failed=self._states["failed"],
                waiting=self._states["waiting"],
                running=tuple(self._part(job) for job in running),
                images_per_second=self._pace.images_per_second(),
                seconds_left=self._pace.seconds_left(self._left),
                at_work=self._at_work,
                faults=dict(self._faults),
                work=tuple(self._work.values()),
                **dataclasses.asdict(self._started),
            )

    def _count(self, event: Event) -> None:
        match event:
            case WorkBegan():
                self._begin(event)
            case ShardDone():
                self._finish(event)
            case UnitReduced():
                self._add_work("reductions", event.unit.extractor, "", seconds=event.seconds)
            case RowScored(row):
                self._add_work("scores", None, "", seconds=event.seconds)
                with self._changing(job := self._jobs[row.job.identifier]):
                    job.open_rows -= 1
            case RowFailed(row):
                self._fail(row)
            case PartDamaged(unit):
                self._faults[event.kind] += 1
                if event.is_shard:
                    self._retried[unit.path] += 1
                    with self._changing(job := self._of_unit[unit.path]):
                        self._miss(job, unit.path, 1)
            case FaultMet():
                self._faults[event.kind] += 1
                self._retried.update(event.units)
            case Tick():
                self._at_work = event.at_work
            case WorkersStarted():
                self._started = event
            case PhaseBegan():
                self._phase = event.phase
            case PhaseEnded():
                self._phases[event.phase] = self._phases.get(event.phase, 0.0) + event.seconds

    def _begin(self, event: WorkBegan) -> None:
        """Count anew: a race has several rounds."""
        self._began = self._clock()
        self._pace = Pace(self._clock)
        self._reference = _JobCounts("reference")
        self._jobs = {row.job.identifier: _JobCounts(row.checkpoint.label) for row in event.rows}
        self._of_unit: dict[str, _JobCounts] = {}
        self._kinds: dict[str, Kind] = {}
        self._left: Counter[str] = Counter()
        for row in event.open_rows:
            self._jobs[row.job.identifier].open_rows += 1
            for unit in row.units.values():
                if unit.path not in self._of_unit:
                    self._add_unit(unit, event.missing.get(unit.path, 0))
        self._states = Counter(job.state for job in self._jobs.values())
        self._running = {job: None for job in self._jobs.values() if job.state == "running"}
        self.has_work |= bool(event.open_rows)

    def _add_unit(self, unit: Unit, missing: int) -> None:
        job = self._jobs.get(unit.checkpoint or "", self._reference)
        self._of_unit[unit.path] = job
        job.missing[unit.path] += missing
        job.done += unit.shard_count - missing
        self._kinds[unit.path] = unit.kind
        self._left[unit.kind] += missing

    def _finish(self, event: ShardDone) -> None:
        unit = event.unit
        with self._changing(job := self._of_unit[unit.path]):
            images = 0 if unit.kind in WITHOUT_IMAGES else event.images
            self._pace.took(unit.kind, images, event.seconds)
            self._add_work(
                unit.kind, unit.extractor, event.device, event.images, event.size, event.seconds
            )
            if job.missing[unit.path]:  # else its checkpoint failed before this shard ended
                self._miss(job, unit.path, -1)

    def _fail(self, row: PlannedRow) -> None:
        """A failed row fails its checkpoint, whose missing shards are skipped."""
        with self._changing(job := self._jobs[row.job.identifier]):
            job.open_rows -= 1
            job.has_failed = True
            for path, count in job.missing.items():
                self._left[self._kinds[path]] -= count
            job.missing = Counter(dict.fromkeys(job.missing, 0))

    def _miss(self, job: _JobCounts, path: str, count: int) -> None:
        job.missing[path] += count
        job.done -= count
        self._left[self._kinds[path]] += count

    @contextmanager
    def _changing(self, job: _JobCounts) -> Iterator[None]:
        """Keep the counts of states, and which jobs run, while a job changes."""
        before = job.state
        yield
        if job is not self._reference and job.state != before:
            self._states[before] -= 1
            self._states[job.state] += 1
            self._running.pop(job, None)
            if job.state == "running":
                self._running[job] = None

    def _add_work(
        self,
        kind: str,
        extractor: str | None,
        device: str,
        images: int = 0,
        size: int = 0,
        seconds: float = 0.0,
    ) -> None:
        key = kind, extractor, device
        old = self._work.get(key) or Work(*key)
        self._work[key] = Work(
            *key, old.count + 1, old.images + images, old.size + size, old.seconds + seconds
        )

    def _part(self, job: _JobCounts) -> Part:
        retried = sum(self._retried[path] for path in job.missing)
        return Part(job.label, job.done, job.total, retried)


#: Seconds over which the pace is taken, so that it is the present one.
_WINDOW = 60.0

#: Smallest number of shards over which it is taken; shards may take minutes.
_FEWEST = 16

#: Number of shards of a kind whose mean time is used, the last ones.
_REMEMBERED = 64

#: Shards that must have ended before the time left is estimated with kinds that have not ended
#: yet: the first ones load networks, and are of the reference.
_ENOUGH = 8


@dataclass(frozen=True)
class _Ended:
    """A shard that has ended: when, its images, and its seconds on a worker."""

    at: float
    images: int
    seconds: float


class Pace:
    """Images per second and time left.

    Shards of different kinds take different times. So the time left is the mean time of each
    kind's shards, summed over the missing ones, divided by how many run at the same time: busy
    seconds of all workers per second of the clock, which includes waiting for the driver.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._since = clock()
        self._ended: deque[_Ended] = deque()
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    def took(self, kind: str, images: int, seconds: float) -> None:
        """Note that a shard has ended."""
        self._ended.append(_Ended(self._clock(), images, seconds))
        self._seconds[kind].append(seconds)

    def images_per_second(self) -> float | None:
        """Images of the last minute per second; None before the first shard has ended."""
        span = self._span()
        return sum(ended.images for ended in self._ended) / span if span else None

    def seconds_left(self, shards: Mapping[str, int]) -> float | None:
        """Time that missing shards take, counted by kind; None if it cannot be estimated yet."""
        span = self._span()
        at_once = sum(ended.seconds for ended in self._ended) / span if span else 0.0
        kinds = {kind for kind, count in shards.items() if count}
        if not at_once or (len(self._ended) < _ENOUGH and kinds - self._seconds.keys()):
            return None
        return sum(shards[kind] * self._mean_seconds(kind) for kind in kinds) / at_once

    def _mean_seconds(self, kind: str) -> float:
        """Seconds of a shard; the mean over all kinds if none of this one has ended."""
        known = self._seconds.get(kind) or [s for kept in self._seconds.values() for s in kept]
        return sum(known) / len(known)

    def _span(self) -> float:
        """Seconds in which the kept shards have ended; 0 if there are none."""
        now = self._clock()
        while len(self._ended) > _FEWEST and self._ended[0].at < now - _WINDOW:
            self._since = self._ended.popleft().at
        return max(now - self._since, 1e-9) if self._ended else 0.0
