"""Scoring the open rows of a run: the goal of the driver that ends in the score table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from vae_batch.plan.shards import Kind
from vae_batch.run.execute.driver import Driver, RowTask
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.failures import Failure, write_traceback
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.planning.open_run import Run, open_run, settle
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.progress.events import EventSink, RowFailed, RowScored, say
from vae_batch.run.progress.snapshot import faults_in_words
from vae_batch.run.scoring.row import failed_row, score_row
from vae_batch.storage import Reason, ScoreRow, ScoreWriter, read_score_rows


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
        rows = read_score_rows(run.plan.stores.out)
        self._failed_before = {row.key: row for row in rows if row.status == "failed"}

    def task(self, row: PlannedRow, failure: Failure | None) -> RowTask:
        """See ``Goal.task``."""
        if failure is None:
            return score_row, (self._terms, row)
        out, label = self._terms.stores.out, row.checkpoint.label
        trace = write_traceback(out, label, failure.traceback) if failure.traceback else None
        return failed_row, (self._terms, row, Reason(failure.code, failure.reason), trace)

    def accept(self, row: PlannedRow, result: ScoreRow, seconds: float) -> None:
        """See ``Goal.accept``; a row that fails as it did before stays, and its report with it."""
        before = self._failed_before.get(result.key, result)
        same_time = replace(before.provenance, scored_at=result.provenance.scored_at)
        self._writer.add([before if replace(before, provenance=same_time) == result else result])
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


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
      rows: Rows of this run's checkpoints and extractors, in the score table's order.
      shards_total: Shards of the rows that were not scored before.
      shards_before: Of those, finished before this run.
      shards_computed: Finished by this run.
      seconds: Wall time.
      faults: Faults that the run survived, counted by their kind.
    """

    rows: tuple[ScoreRow, ...]
    shards_total: int
    shards_before: int
    shards_computed: int
    seconds: float
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(row.status == "failed" for row in self.rows)

    @property
    def faults_survived(self) -> str:
        """The faults in words, such as ``2 workers lost``; empty where there were none."""
        return faults_in_words(self.faults)


def rows_of(plan: RunPlan) -> tuple[ScoreRow, ...]:
    """The rows of a plan, as the score table holds them."""
    planned = {row.key for row in plan.rows}
    return tuple(row for row in read_score_rows(plan.stores.out) if row.key in planned)


def row_sentence(row: ScoreRow) -> str:
    """A row's main scores in a sentence; undefined ones are omitted."""
    if row.reason is not None:
        return f"{row.checkpoint}: failed: {row.reason.text}"
    found = {
        "ELBO {:.2f} nats": row.value("elbo"),
        f"FID[{row.conditions.extractor}] {{:.4g}}": row.value("fid"),
        "IS {:.3f}": row.value("inception_score"),
    }
    scores = [text.format(value) for text, value in found.items() if value is not None]
    return f"{row.checkpoint}: {', '.join(scores) or 'scored'}"
