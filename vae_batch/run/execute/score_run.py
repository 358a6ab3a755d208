"""Scoring the open rows of a run: the goal of the driver that ends in the score table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace

from vae_batch.plan.shards import Kind
from vae_batch.run.execute.driver import Driver, RowTask
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.failures import Failure, write_traceback
from vae_batch.run.execute.run_summary import RunSummary, row_sentence, rows_of
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.planning.open_run import Run, open_run, settle
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.progress.events import EventSink, RowFailed, RowScored, say
from vae_batch.run.scoring.row import failed_row, score_row
from vae_batch.storage import Reason, ScoreRow, ScoreWriter


class Scoring:
    """Every row gets its line in the score table; a failed one keeps what could be scored."""

    unreduced: Collection[Kind] = ()

    def __init__(self, run: Run) -> None:
        """Write into the run's score table."""
        self._emit, self._guard = run.emit, run.guard
        #: What a row's score needs of the plan: background tasks travel, and are many.
        self._terms = replace(run.plan, rows=())
        self._writer = ScoreWriter(run.plan.stores.out)
        self._said: set[str] = set()

    def task(self, row: PlannedRow, failure: Failure | None) -> RowTask:
        """See ``Goal.task``."""
        if failure is None:
            return score_row, (self._terms, row)
        out, label = self._terms.stores.out, row.checkpoint.label
        trace = write_traceback(out, label, failure.traceback) if failure.traceback else None
        return failed_row, (self._terms, row, Reason(failure.code, failure.reason), trace)

    def accept(self, row: PlannedRow, result: ScoreRow, seconds: float) -> None:
        """See ``Goal.accept``."""
        self._writer.add([result])
        self.save(force=False)
        sentence = row_sentence(result)
        if result.reason is None:
            self._emit(RowScored(row, sentence, seconds))
            return
        self._emit(RowFailed(row, result.reason.text, result.traceback))
        if sentence not in self._said:  # once for all extractors
            self._said.add(sentence)
            say(self._emit, sentence)

    def save(self, *, force: bool) -> None:
        """See ``Goal.save``."""
        if force or self._writer.is_due:
            self._guard()
            with uninterrupted():
                self._writer.write()


def score_rows(run: Run, driver: Driver) -> RunSummary:
    """Score every open row of a run.

    Raises:
        InputError, KeyboardInterrupt: As ``Driver.complete``.
    """
    began, computed = time.monotonic(), driver.computed
    total, finished = driver.complete(run.open_rows, Scoring(run), run.plan.rows)
    return RunSummary(
        rows_of(run.plan),
        total,
        finished - computed,
        driver.computed,
        time.monotonic() - began,
        driver.faults,
    )


def score_run(run: Run, executor: Executor) -> RunSummary:
    """Settle the batch size of a run, and score its open rows.

    Raises:
        InputError: Files are not seen by every machine, an extractor or the reference turned out
            to be unusable on the workers, or a store is full or out of reach.
        KeyboardInterrupt: A stop was asked for; rows that were ready have been written.
    """
    with storage_faults(run.plan.stores.out):
        run = settle(run, executor)
        return score_rows(run, Driver(run, executor))


def run(
    plan: RunPlan,
    executor: Executor,
    emit: EventSink,
    guard: Callable[[], None] = lambda: None,
) -> RunSummary:
    """Open a run and score it, without a comparison or a page.

    Args:
        plan: Of `prepare`.
        executor: Entered.
        emit: Takes the events of the run.
        guard: Called before anything is taken or written; raises to end the run.

    Raises:
        InputError, KeyboardInterrupt: As `open_run` and `score_run`.
    """
    return score_run(open_run(plan, emit, guard), executor)
