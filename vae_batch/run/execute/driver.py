"""The driver: one loop that computes missing shards, reduces units and settles rows."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.models.formats.user_modules import given_objects
from vae_batch.plan import ClusterLostError, InputError, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.executor import Executor, Handle
from vae_batch.run.execute.failures import Failure, failure_of
from vae_batch.run.execute.signals import raise_if_stopped
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.open_run import Run
from vae_batch.run.planning.run_plan import PlannedRow
from vae_batch.run.planning.work_queue import WorkQueue
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import (
    FaultMet,
    PartDamaged,
    ShardDone,
    ShardsQueued,
    UnitFailed,
    UnitReduced,
    WorkBegan,
    WorkEnded,
    say,
)
from vae_batch.run.reference.images import mend_images
from vae_batch.run.reference.precomputed import store_precomputed
from vae_batch.run.scoring.stored import Damaged, reduce_unit
from vae_batch.storage import REDUCTION, forget

#: Tasks that are asked for their results at a time.
_LOOKED_AT = 32


@dataclass(frozen=True)
class _Task:
    handle: Handle
    receive: Callable[[Any, float], None]
    fail: Callable[[Failure], None]


class BackgroundTasks:
    """Tasks of one run; a store that is full or out of reach ends the run, other errors do not."""

    def __init__(self, executor: Executor) -> None:
        """Run tasks on ``executor``."""
        self._executor = executor
        self._under_way: list[_Task] = []

    @property
    def are_under_way(self) -> bool:
        """Whether any result has not been taken yet."""
        return bool(self._under_way)

    def submit(
        self,
        receive: Callable[[Any, float], None],
        fail: Callable[[Failure], None],
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> None:
        """Start a task; where it has ended by then, its result is taken at once.

        Args:
            receive: Takes the result, and the seconds that the task took where it ran.
            fail: Takes the failure of a task that raised, or ended its process.
            function: To be called, elsewhere.
            *arguments: Of it.
        """
        task = _Task(self._executor.submit(timed, function, *arguments), receive, fail)
        if task.handle.is_ready():  # a serial run's: its row must not wait for the next one
            self._receive(task)
        else:
            self._under_way.append(task)

    def receive_ready(self, *, wait: bool) -> bool:
        """Take results that are there, or all; whether there were any."""
        # Each question is a call to the cluster. Tasks end roughly in order: the first ones tell.
        looked_at = self._under_way if wait else self._under_way[:_LOOKED_AT]
        ready = [task for task in looked_at if wait or task.handle.is_ready()]
        for task in ready:
            self._under_way.remove(task)
            self._receive(task)
        return bool(ready)

    def _receive(self, task: _Task) -> None:
        try:
            seconds, result = task.handle.result()
        except (OSError, InputError, ClusterLostError):
            raise
        except Exception as error:  # isolation: such as a task that ended its process
            _log.exception("a reduction or score failed")
            task.fail(failure_of(error))
        else:
            task.receive(result, seconds)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:  # noqa: ANN401
    """Seconds that a call took where it was made, and its return value."""
    began = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - began, value


_log = logging.getLogger(__name__)

#: Passes over the missing shards: a first one, and more only where stored files were damaged.
_PASSES = 4

#: Seconds that background tasks have after a stop was asked for; `ray job stop` gives 3 in all.
_LAST_MOMENT = 1.0

#: A function and its arguments.
RowTask = tuple[Callable[..., Any], tuple[Any, ...]]


class Goal(Protocol):
    """What rows are completed for: a score in the table, or a look in a race."""

    @property
    def unreduced(self) -> Collection[Kind]:
        """Kinds of activations whose reductions no row needs."""
        ...

    def task(self, row: PlannedRow, failure: Failure | None) -> RowTask | None:
        """The background task of a row whose units are settled; None where there is none.

        Args:
            row: Its units are complete, but for those that have failed.
            failure: Why the row fails; None where it does not.
        """
        ...

    def accept(self, row: PlannedRow, result: Any, seconds: float) -> None:  # noqa: ANN401
        """Take the task's result, and the seconds that it took."""
        ...

    def save(self, *, force: bool) -> None:
        """Write results that are due, or all of them."""
        ...


class Driver:
    """Completes rows, one goal after another; what failed once is not tried again.

    Attributes:
        computed: Shards that were computed.
        faults: Faults that were survived, by their kind.
    """

    def __init__(self, run: Run, executor: Executor) -> None:
        """Work on a run.

        Args:
            run: Of which `settle` has chosen the batch size.
            executor: Entered.
        """
        self._plan, self._emit, self._guard = run.plan, run.emit, run.guard
        self._executor = executor
        self._config = WorkerConfig(
            run.plan.spec,
            run.plan.stores,
            run.plan.reference,
            run.plan.training,
            {row.job.identifier: row.job for row in run.plan.rows},
            {extractor_folder(row.extractor): row.extractor for row in run.plan.rows},
            given_objects(m for row in run.plan.rows for m in row.job.modules),
        )
        self._failures: list[tuple[Unit, Failure]] = []
        self.computed = 0
        self.faults: Counter[str] = Counter()

    def complete(
        self, rows: Sequence[PlannedRow], goal: Goal, plan_rows: Iterable[PlannedRow]
    ) -> tuple[int, int]:
        """Compute what rows miss, and give the goal each row whose units are settled.

        Args:
            rows: To be completed.
            goal: What for.
            plan_rows: All rows that readers of events count, ``rows`` among them.

        Returns:
            Shards of the rows, and how many of them were finished before.

        Raises:
            InputError: Something turned out to be unusable on the workers, or a store is full or
                out of reach.
            KeyboardInterrupt: A stop was asked for; rows that were ready have been written.
        """
        self._goal, self._tasks = goal, BackgroundTasks(self._executor)
        self._queue = WorkQueue(self._plan.stores, rows, goal.unreduced)
        total, before = self._queue.count()
        for unit, failure in self._failures:
            self._queue.fail(unit, failure)
        missing = self._queue.missing_counts()
        self._emit(WorkBegan(tuple(plan_rows), tuple(self._queue.open_rows()), missing))
        try:
            self._complete_all()
            goal.save(force=True)
        except KeyboardInterrupt:
            self._take_what_is_ready()
            raise
        except Exception:
            with suppress(Exception):
                goal.save(force=True)
            raise
        self._emit(WorkEnded())
        return total, before

    def _complete_all(self) -> None:
        for _ in range(_PASSES):
            tasks = self._queue.missing()
            self._emit(ShardsQueued(tuple(tasks)))
            self._advance()
            for outcome in self._executor.run_shards(tasks, self._config):
                raise_if_stopped()
                self._guard()
                self._take(outcome)
                self._collect(wait=False)
                self._goal.save(force=False)
            self._collect(wait=True)
            if not self._queue.open_rows():
                return
        damaged = Failure("stored files were damaged again and again", code="damaged_files")
        for row in self._queue.open_rows():
            self._settle(row, damaged)
        self._collect(wait=True)

    def _take_what_is_ready(self) -> None:
        """Let background tasks that end within a moment write their rows; nothing new is begun."""
        deadline = time.monotonic() + _LAST_MOMENT
        with suppress(Exception):
            self._guard()
            while self._tasks.are_under_way and time.monotonic() < deadline:
                self._tasks.receive_ready(wait=False)
                time.sleep(0.02)
            self._goal.save(force=True)

    def _take(self, outcome: ShardOutcome | FaultMet) -> None:
        if isinstance(outcome, FaultMet):
            self._note(outcome)
            return
        unit = self._queue.unit(outcome.unit)
        if outcome.status == "damaged":
            self._mend_images(outcome.damaged_unit, outcome.damaged_part)
        elif outcome.status == "done":
            self.computed += 1
            done = outcome.seconds, outcome.device, outcome.size
            self._emit(ShardDone(unit, outcome.shard, *done))
            if self._queue.finish(unit, outcome.shard):
                self._advance()
        elif outcome.status == "bad_input" or unit.checkpoint is None:
            raise InputError(outcome.reason)
        else:
            is_whole = outcome.status == "checkpoint_failed"
            failed = self._queue.unfinished(unit.checkpoint) if is_whole else [unit]
            for each in failed:
                self._fail(each, outcome.failure)
            self._advance()

    def _fail(self, unit: Unit, failure: Failure) -> None:
        """A unit cannot be computed; the checkpoint's other units still are."""
        self._failures.append((unit, failure))
        self._queue.fail(unit, failure)
        self._emit(UnitFailed(unit, failure.reason, failure.traceback))
        _log.info("%s failed: %s\n%s", unit.path, failure.reason, failure.traceback)

    def _advance(self) -> None:
        """Start every reduction, and settle every row, whose parts are there."""
        while self._queue.has_ready():
            for unit in self._queue.take_reducible():
                self._reduce(unit)
            for row in self._queue.take_scorable():
                self._settle(row, self._queue.failure_of(row))

    def _reduce(self, unit: Unit) -> None:
        def receive(damage: Damaged | None, seconds: float) -> None:
            if damage is not None:
                self._redo(damage)
            else:
                self._emit(UnitReduced(unit, seconds))
                self._queue.reduced(unit)

        def fail(failure: Failure) -> None:
            if unit.checkpoint is None:
                raise InputError(f"the reference cannot be reduced: {failure.reason}")
            self._fail(unit, replace(failure, reason=f"it cannot be reduced: {failure.reason}"))

        splits = min(self._plan.spec.splits, unit.samples) if unit.kind == "generated" else 1
        store = self._plan.stores.holding(unit)
        self._tasks.submit(receive, fail, reduce_unit, store, unit, splits)

    def _settle(self, row: PlannedRow, failure: Failure | None) -> None:
        """Start what the goal makes of a row."""
        task = self._goal.task(row, failure)
        if task is None:
            self._queue.close(row)
            return

        def receive(result: Any, seconds: float) -> None:  # noqa: ANN401
            if isinstance(result, Damaged):
                self._queue.reopen(row)
                self._redo(result)
            else:
                self._goal.accept(row, result, seconds)
                self._queue.close(row)

        def fail(error: Failure) -> None:
            if not row.units:  # not even the row without scores could be made
                raise InputError(f"{row.checkpoint.label}: {error.reason}")
            said = replace(error, reason=f"it cannot be scored: {error.reason}")
            self._settle(replace(row, units={}), failure or said)

        function, arguments = task
        self._tasks.submit(receive, fail, function, *arguments)

    def _redo(self, damage: Damaged) -> None:
        unit = damage.unit
        if unit.kind == "images":
            self._mend_images(unit.path, damage.name)
            return
        plan = self._plan
        forget(plan.stores.holding(unit), unit, damage.name)
        self._queue.forget(unit, damage.name)
        if plan.reference.kind != "images" and unit.kind == "reference":
            self._store_precomputed(unit)
        self._note_redone(unit, damage.name, is_shard=damage.name != REDUCTION)

    def _store_precomputed(self, unit: Unit) -> None:
        """Write again what is damaged of a reference of features or statistics."""
        plan = self._plan
        store_precomputed(plan.spec, plan.stores.reference, plan.reference, [unit])
        for shard in unit.shards():
            self._queue.finish(unit, shard)
        if not unit.samples:
            self._queue.reduced(unit)

    def _mend_images(self, path: str, name: str) -> None:
        """Store damaged reference images again; shards that need them are still missing."""
        plan = self._plan
        sets = [facts.unit for facts in (plan.reference, plan.training) if facts is not None]
        for unit in (unit for unit in sets if unit.path == path):
            images = plan.stores.reference, plan.reference, plan.training
            if mend_images(plan.spec, *images, (unit, name)):
                self._note_redone(unit, name, is_shard=False)

    def _note_redone(self, unit: Unit, name: str, *, is_shard: bool) -> None:
        self._note(PartDamaged(unit, name, is_shard))
        say(self._emit, f"{unit.path}: part {name} is damaged and is made again")

    def _note(self, fault: FaultMet | PartDamaged) -> None:
        self.faults[fault.kind] += 1
        self._emit(fault)

    def _collect(self, *, wait: bool) -> None:
        """Take the results of background tasks, and start what they make possible."""
        while self._tasks.receive_ready(wait=wait):
            self._advance()
