"""The driver: plan, missing shards, reductions, rows; nothing done twice, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import InputError, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.background_tasks import LightWork
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.failures import Failure, write_traceback
from vae_batch.run.execute.signals import raise_if_stopped, uninterrupted
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.output.summary import RunSummary as RunSummary
from vae_batch.run.output.summary import row_sentence, rows_of
from vae_batch.run.planning.prepare import claim, rows_to_score, settle_batch_size
from vae_batch.run.planning.prepare import prepare as prepare
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.planning.work_queue import WorkQueue
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import (
    EventSink,
    FaultMet,
    Message,
    PartDamaged,
    RowFailed,
    RowScored,
    ShardDone,
    ShardsQueued,
    UnitReduced,
    WorkBegan,
    WorkEnded,
)
from vae_batch.run.reference.images import mend_images
from vae_batch.run.scoring.reduction import reduce_unit
from vae_batch.run.scoring.row import failed_row, score_row
from vae_batch.run.scoring.stored import Damaged
from vae_batch.storage import REDUCTION, Reason, ReasonCode, ScoreRow, ScoreWriter, forget

#: Passes over the missing shards: a first one, and more only where stored files were damaged.
_PASSES = 4

#: Seconds that light tasks have after a stop was asked for; `ray job stop` gives 3 in all.
_LAST_MOMENT = 1.0


def run(
    plan: RunPlan,
    executor: Executor,
    emit: EventSink,
    guard: Callable[[], None] = lambda: None,
    given_up: Collection[str] = (),
) -> RunSummary:
    """Score every row of a plan that is not scored yet.

    Args:
      plan: Of `prepare`.
      executor: Entered.
      emit: Takes the events of the run.
      guard: Called before anything is taken or written; raises to end the run.
      given_up: Identifiers of checkpoints that have failed just now, and are not tried again.

    Raises:
      InputError: Files are not seen by every machine, an extractor or the reference turned out to
        be unusable on the workers, or a store to be full or out of reach.
      KeyboardInterrupt: A stop was asked for; rows that were ready have been written.
    """
    with storage_faults(plan.stores.out):
        plan = make_ready(plan, executor)
        rows = [row for row in rows_to_score(plan) if row.job.identifier not in given_up]
        return Driver(plan, rows, executor, emit, guard).run()


def make_ready(plan: RunPlan, executor: Executor) -> RunPlan:
    """The plan with its batch size, when every machine of the workers sees its files.

    Raises:
      InputError: Some machine does not, or the batch size could not be probed.
    """
    executor.require_visible(plan)
    if plan.spec.batch_size is None:
        return claim(settle_batch_size(plan, executor))
    return plan


class Driver:
    """Rows of a plan on their way: every missing shard, every reduction, and what rows are for.

    Here that is a score in the table; a subclass may make something else of a row.
    """

    #: Kinds of activations whose reductions no row needs.
    _unreduced: tuple[Kind, ...] = ()

    def __init__(
        self,
        plan: RunPlan,
        rows: Iterable[PlannedRow],
        executor: Executor,
        emit: EventSink,
        guard: Callable[[], None],
    ) -> None:
        """Work on ``rows`` of ``plan``; the others are done. See :func:`run`."""
        self._plan, self._executor = plan, executor
        self._emit = emit
        self._guard = guard
        self._queue = WorkQueue(plan.stores, rows, self._unreduced)
        self._scores = ScoreWriter(plan.stores.out)
        #: What a row's score needs of the plan: light tasks travel, and are many.
        self._terms = replace(plan, rows=())
        self._light = LightWork(executor, self._fail)
        self._computed = self._redone = 0

    def run(self) -> RunSummary:
        """Do all of it.

        Raises:
          InputError, KeyboardInterrupt: As :func:`run`.
        """
        began = time.monotonic()
        total, before = self._queue.count()
        open_rows, missing = self._queue.open_rows(), self._queue.missing_counts()
        self._emit(WorkBegan(self._plan.rows, tuple(open_rows), missing))
        try:
            self._score_all()
            self._write_scores()
        except KeyboardInterrupt:
            self._take_what_is_ready()
            raise
        except Exception:
            with suppress(Exception):
                self._write_scores()
            raise
        self._emit(WorkEnded())
        faults = dict(self._executor.faults)
        if self._redone:
            faults["damaged files made again"] = self._redone
        seconds = time.monotonic() - began
        return RunSummary(rows_of(self._plan), total, before, self._computed, seconds, faults)

    def _score_all(self) -> None:
        for _ in range(_PASSES):
            tasks = self._queue.missing()
            self._emit(ShardsQueued(tuple(tasks)))
            self._advance()
            for outcome in self._executor.run_shards(tasks, self._config()):
                raise_if_stopped()
                self._guard()
                if isinstance(outcome, FaultMet):
                    self._emit(outcome)
                    continue
                self._take(outcome)
                self._collect(wait=False)
                self._write_scores_if_due()
            self._collect(wait=True)
            if not self._queue.open_rows():
                return
        for row in self._queue.open_rows():
            failure = Failure("stored files were damaged again and again", code="damaged_files")
            self._fail(row.job.identifier, failure)

    def _take_what_is_ready(self) -> None:
        """Let light tasks that end within a moment write their rows; nothing new is begun."""
        deadline = time.monotonic() + _LAST_MOMENT
        with suppress(Exception):
            self._guard()
            while self._light.is_under_way and time.monotonic() < deadline:
                self._light.receive_ready(wait=False)
                time.sleep(0.02)
            self._write_scores()

    def _config(self) -> WorkerConfig:
        rows = self._plan.rows
        return WorkerConfig(
            self._plan.spec,
            self._plan.stores,
            self._plan.reference,
            self._plan.training,
            {row.job.identifier: row.job for row in rows},
            {extractor_folder(row.extractor): row.extractor for row in rows},
        )

    def _take(self, outcome: ShardOutcome) -> None:
        unit = self._queue.unit(outcome.unit)
        if outcome.status == "damaged":
            self._mend_images(outcome.damaged_unit, outcome.damaged_part)
        elif outcome.status == "done":
            self._computed += 1
            done = outcome.seconds, outcome.device, outcome.size
            self._emit(ShardDone(unit, outcome.shard, *done))
            if self._queue.finish(unit, outcome.shard):
                self._advance()
        elif outcome.status == "bad_input" or unit.checkpoint is None:
            raise InputError(outcome.reason)
        else:
            is_checkpoints = outcome.status == "checkpoint_failed"
            code: ReasonCode = "checkpoint_error" if is_checkpoints else "unexpected"
            self._fail(unit.checkpoint, Failure(outcome.reason, outcome.traceback, code))

    def _advance(self) -> None:
        """Start every reduction and score whose parts are there."""
        while self._queue.has_ready():
            for unit in self._queue.take_reducible():
                splits = self._plan.spec.splits if unit.kind == "generated" else 1
                store = self._plan.stores.holding(unit)
                receive = self._after_reduction(unit)
                self._light.submit(unit.checkpoint, receive, reduce_unit, store, unit, splits)
            for row in self._queue.take_scorable():
                checkpoint, receive = row.job.identifier, self._after_row(row)
                self._light.submit(checkpoint, receive, self._of_row, self._terms, row)

    def _after_reduction(self, unit: Unit) -> Callable[[Damaged | None, float], None]:
        def receive(damage: Damaged | None, seconds: float) -> None:
            if damage is not None:
                self._redo(damage)
            else:
                self._emit(UnitReduced(unit, seconds))
                self._queue.reduced(unit)

        return receive

    def _after_row(self, row: PlannedRow) -> Callable[[Any, float], None]:
        def receive(result: Any, seconds: float) -> None:  # noqa: ANN401
            if isinstance(result, Damaged):
                self._queue.reopen(row)
                self._redo(result)
            else:
                said = self._accept(row, result)
                self._queue.close(row)
                if isinstance(result, ScoreRow) and result.reason is not None:
                    self._emit(RowFailed(row, result.reason.text, result.traceback))
                    self._emit(Message(said))
                else:
                    self._emit(RowScored(row, said, seconds))

        return receive

    @property
    def _of_row(self) -> Callable[[RunPlan, PlannedRow], Any]:
        """What is made of a row whose parts are there, as a light task."""
        return score_row

    def _accept(self, row: PlannedRow, result: Any) -> str:  # noqa: ANN401
        """Take what was made of it; gives its sentence."""
        self._write_rows([result])
        return row_sentence(result)

    def _redo(self, damage: Damaged) -> None:
        unit = damage.unit
        if unit.kind == "images":
            self._mend_images(unit.path, damage.name)
            return
        forget(self._plan.stores.holding(unit), unit, damage.name)
        self._queue.forget(unit, damage.name)
        self._note_redone(unit, damage.name, is_shard=damage.name != REDUCTION)

    def _mend_images(self, path: str, name: str) -> None:
        """Store damaged reference images again; what needs them is still missing, and is redone."""
        plan = self._plan
        for facts in (plan.reference, plan.training):
            if facts is not None and facts.unit.path == path:
                if mend_images(plan.spec, plan.stores.reference, facts, name):
                    self._note_redone(facts.unit, name)
                return

    def _note_redone(self, unit: Unit, name: str, *, is_shard: bool = False) -> None:
        self._redone += 1
        self._emit(PartDamaged(unit, name, is_shard))
        self._emit(Message(f"{unit.path}: part {name} is damaged and is made again"))

    def _fail(self, checkpoint: str, failure: Failure) -> None:
        rows = self._queue.fail(checkpoint)
        if rows:
            label, out = rows[0].checkpoint.label, self._plan.stores.out
            trace = write_traceback(out, label, failure.traceback) if failure.traceback else None
            reason = Reason(failure.code, failure.reason)
            self._write_rows([failed_row(self._plan, row, reason, trace) for row in rows])
            for row in rows:
                self._emit(RowFailed(row, failure.reason, trace))
            for label in {row.checkpoint.label for row in rows}:
                self._emit(Message(f"{label}: failed: {failure.reason}"))

    def _write_rows(self, rows: list[ScoreRow]) -> None:
        self._scores.add(rows)
        self._write_scores_if_due()

    def _write_scores_if_due(self) -> None:
        if self._scores.is_due:
            self._write_scores()

    def _write_scores(self) -> None:
        self._guard()
        with uninterrupted():
            self._scores.write()

    def _collect(self, *, wait: bool) -> None:
        """Take the results of light tasks, and start what they make possible."""
        while self._light.receive_ready(wait=wait):
            self._advance()
