"""How far a run is: kept by its driver, read by whoever shows it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.planning.run_plan import PlannedRow
from vae_batch.run.progress.activity import Activity
from vae_batch.run.progress.pace import Pace

#: What these make is no image, or one that nobody waits for.
_NO_IMAGES: frozenset[Kind] = frozenset({"description", "gallery"})


@dataclass(frozen=True)
class Part:
    """The reference, or a checkpoint under way.

    Attributes:
      label: Of the checkpoint; ``reference``.
      done: Finished shards.
      total: All shards.
      retried: Shards begun again after a fault.
    """

    label: str
    done: int
    total: int
    retried: int


@dataclass(frozen=True)
class Standing:
    """How far a run was at one moment; counts of checkpoints, not of rows.

    Attributes:
      seconds: Since its begin.
      shards_done: Finished shards, those of earlier runs among them.
      shards_total: Of all rows that were not scored before, but for those of failed checkpoints
        that nobody computes any more.
      checkpoints: All of the plan.
      scored: With all rows in the score table.
      failed: With a row that failed.
      waiting: With nothing finished yet.
      under_way: The others; the reference before them while it is not finished.
      images_a_second: Over the last minute; None where nothing has ended yet.
      seconds_left: Until the last shard ends; None where that cannot be told yet.
      activity: Of the workers; None where nobody has asked them.
    """

    seconds: float
    shards_done: int
    shards_total: int
    checkpoints: int
    scored: int
    failed: int
    waiting: int
    under_way: tuple[Part, ...]
    images_a_second: float | None
    seconds_left: float | None
    activity: Activity | None


@dataclass(eq=False)
class _JobCounts:
    """The reference or a checkpoint, and what is left of it."""

    label: str
    done: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    open_rows: int = 0
    redone: int = 0
    has_failed: bool = False

    @property
    def total(self) -> int:
        return self.done + self.missing.total()

    @property
    def state(self) -> str:
        if self.has_failed:
            return "failed"
        if not self.open_rows:
            return "scored"
        return "under way" if self.done else "waiting"


class Tally:
    """Counts of one run; may be read by other threads than the one that keeps it."""

    def __init__(
        self,
        rows: Iterable[PlannedRow],
        open_rows: Iterable[PlannedRow],
        missing: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now.

        Args:
          rows: Of the plan.
          open_rows: Those of them that are not scored yet.
          missing: Number of missing shards, by the path of their unit.
          clock: Gives seconds.
        """
        self._clock, self._began = clock, clock()
        self._pace = Pace(clock)
        self._lock = threading.Lock()
        self._activity: Activity | None = None
        self._reference = _JobCounts("reference")
        self._jobs = {row.job.identifier: _JobCounts(row.checkpoint.label) for row in rows}
        self._of_unit: dict[str, _JobCounts] = {}
        self._kinds: dict[str, Kind] = {}
        self._left: Counter[str] = Counter()
        for row in open_rows:
            self._jobs[row.job.identifier].open_rows += 1
            for unit in row.units.values():
                if unit.path not in self._of_unit:
                    self._add(unit, missing.get(unit.path, 0))
        self._states = Counter(job.state for job in self._jobs.values())
        self._under_way = {s: None for s in self._jobs.values() if s.state == "under way"}

    def _add(self, unit: Unit, missing: int) -> None:
        job = self._jobs.get(unit.checkpoint or "", self._reference)
        self._of_unit[unit.path] = job
        job.missing[unit.path] += missing
        job.done += sum(1 for _ in unit.ranges()) - missing
        self._kinds[unit.path] = unit.kind
        self._left[unit.kind] += missing

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do from the beginning."""
        return not self._of_unit

    def finished(self, unit: Unit, images: int, seconds: float) -> None:
        """A shard has been computed, in so many seconds of its worker."""
        with self._lock, self._changing(job := self._of_unit[unit.path]):
            self._pace.took(unit.kind, 0 if unit.kind in _NO_IMAGES else images, seconds)
            if job.missing[unit.path]:  # else its checkpoint was given up before it ended
                self._miss(job, unit.path, -1)

    def redone(self, unit: Unit) -> None:
        """A finished shard has turned out to be damaged, and is missing again."""
        with self._lock, self._changing(job := self._of_unit[unit.path]):
            self._miss(job, unit.path, 1)
            job.redone += 1

    def scored(self, row: PlannedRow) -> None:
        """A row has been scored."""
        with self._lock, self._changing(job := self._jobs[row.job.identifier]):
            job.open_rows -= 1

    def failed(self, row: PlannedRow) -> None:
        """A row has failed, and with it its checkpoint: nobody computes its other shards."""
        with self._lock, self._changing(job := self._jobs[row.job.identifier]):
            job.open_rows -= 1
            job.has_failed = True
            for path, count in job.missing.items():
                self._left[self._kinds[path]] -= count
            job.missing = Counter(dict.fromkeys(job.missing, 0))

    def note(self, activity: Activity) -> None:
        """What the workers are at now."""
        with self._lock:
            self._activity = activity

    def standing(self) -> Standing:
        """How far the run is now."""
        with self._lock:
            jobs = [self._reference, *self._jobs.values()]
            done = sum(job.done for job in jobs)
            under_way = [s for s in (self._reference,) if s.missing.total()] + [*self._under_way]
            return Standing(
                seconds=self._clock() - self._began,
                shards_done=done,
                shards_total=done + self._left.total(),
                checkpoints=len(self._jobs),
                scored=self._states["scored"],
                failed=self._states["failed"],
                waiting=self._states["waiting"],
                under_way=tuple(self._part(job) for job in under_way),
                images_a_second=self._pace.images_a_second(),
                seconds_left=self._pace.seconds_left(self._left),
                activity=self._activity,
            )

    def _miss(self, job: _JobCounts, path: str, count: int) -> None:
        job.missing[path] += count
        job.done -= count
        self._left[self._kinds[path]] += count

    @contextmanager
    def _changing(self, job: _JobCounts) -> Iterator[None]:
        """Keep the counts of states, and who is under way, while a job changes."""
        before = job.state
        yield
        if job is not self._reference and job.state != before:
            self._states[before] -= 1
            self._states[job.state] += 1
            self._under_way.pop(job, None)
            if job.state == "under way":
                self._under_way[job] = None

    def _part(self, job: _JobCounts) -> Part:
        begun_again = self._activity.retried if self._activity else {}
        retried = job.redone + sum(begun_again.get(path, 0) for path in job.missing)
        return Part(job.label, job.done, job.total, retried)
