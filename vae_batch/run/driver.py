"""The driver: plan, missing shards, reductions, rows; nothing done twice, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vae_batch.models.extractors import extractor_folder
from vae_batch.plan import EvaluationSpec, InputError, Unit
from vae_batch.run.batch_size import choose_batch_size, with_recorded_batch_size
from vae_batch.run.executor import Executor, Handle
from vae_batch.run.plan import PlannedRow, RunPlan, make_plan, with_batch_size
from vae_batch.run.progress import ProgressDisplay
from vae_batch.run.recipe import Recipe
from vae_batch.run.record import claim_output
from vae_batch.run.reference_images import store_reference, store_training
from vae_batch.run.scoring.reduction import reduce_unit
from vae_batch.run.scoring.row import failed_row, score_row
from vae_batch.run.scoring.stored import Damaged
from vae_batch.run.shard_worker import ShardOutcome
from vae_batch.run.stores import RunStores
from vae_batch.run.worklist import Worklist
from vae_batch.storage import forget, read_score_rows, upsert_scores

#: Passes over the missing shards: a first one, and more only where stored files were damaged.
_PASSES = 4


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
      rows: Rows of this run's checkpoints and extractors, in the score table's order.
      shards_total: Shards of the rows that were not scored before.
      shards_before: Of those, finished before this run.
      shards_computed: Finished by this run.
      seconds: Wall time.
    """

    rows: tuple[dict[str, Any], ...]
    shards_total: int
    shards_before: int
    shards_computed: int
    seconds: float

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(row["status"] == "failed" for row in self.rows)


def prepare(spec: EvaluationSpec, progress: ProgressDisplay) -> RunPlan:
    """Check all input, store the reference images and claim the output folder.

    Raises:
      InputError: Something given cannot be used; nothing was computed.
    """
    stores = RunStores.of(spec)
    reference = store_reference(spec, stores.reference)
    for note in reference.notes:
        progress.say(note)
    training = store_training(spec, stores.reference)
    settled = with_recorded_batch_size(spec, stores.out)
    plan = make_plan(settled, stores, reference, training)
    if plan.spec.batch_size is not None:
        claim_output(plan)
    return plan


def run(plan: RunPlan, executor: Executor, progress: ProgressDisplay) -> RunSummary:
    """Score every row of a plan that is not scored yet.

    Raises:
      InputError: An extractor or the reference turned out to be unusable on the workers.
    """
    if plan.spec.batch_size is None:
        plan = _settle_batch_size(plan, executor)
        claim_output(plan)
    return _Driver(plan, executor, progress).run()


class _Driver:
    """One run under way."""

    def __init__(self, plan: RunPlan, executor: Executor, progress: ProgressDisplay) -> None:
        self._plan, self._executor, self._progress = plan, executor, progress
        self._worklist = Worklist(plan.stores, rows_to_score(plan))
        self._under_way: list[tuple[Handle, Callable[[Any], None]]] = []
        self._computed = 0

    def run(self) -> RunSummary:
        began = time.monotonic()
        total, before = self._worklist.count()
        self._progress.start(total, before)
        for _ in range(_PASSES):
            tasks = self._worklist.missing()
            self._advance()
            for outcome in self._executor.run_shards(tasks, self._recipe()):
                self._take(outcome)
                self._collect(wait=False)
            self._collect(wait=True)
            if not self._worklist.open_rows():
                break
        for row in self._worklist.open_rows():
            self._fail(row.subject.identifier, "stored files were damaged again and again")
        return RunSummary(
            _rows_of(self._plan), total, before, self._computed, time.monotonic() - began
        )

    def _recipe(self) -> Recipe:
        rows = self._plan.rows
        return Recipe(
            self._plan.spec,
            self._plan.stores,
            self._plan.reference,
            self._plan.training,
            {row.subject.identifier: row.subject for row in rows},
            {extractor_folder(row.extractor): row.extractor for row in rows},
        )

    def _take(self, outcome: ShardOutcome) -> None:
        unit = self._worklist.unit(outcome.unit)
        if outcome.status == "done":
            self._computed += 1
            self._progress.advance(0 if unit.kind == "gallery" else len(outcome.shard))
            if self._worklist.finish(unit, outcome.shard):
                self._advance()
        elif outcome.status == "bad_input" or unit.checkpoint is None:
            raise InputError(outcome.reason)
        else:
            self._progress.advance(0)
            self._fail(unit.checkpoint, outcome.reason)

    def _advance(self) -> None:
        """Start every reduction and score whose parts are there."""
        for unit in self._worklist.take_reducible():
            splits = self._plan.spec.splits if unit.kind == "generated" else 1
            store = self._plan.stores.holding(unit)
            self._submit(self._after_reduction(unit), reduce_unit, store, unit, splits)
        for row in self._worklist.take_scorable():
            self._submit(self._after_score(row), score_row, self._plan, row)

    def _after_reduction(self, unit: Unit) -> Callable[[Damaged | None], None]:
        def receive(damage: Damaged | None) -> None:
            if damage is not None:
                self._redo(damage)
            else:
                self._worklist.reduced(unit)

        return receive

    def _after_score(self, row: PlannedRow) -> Callable[[dict[str, Any] | Damaged], None]:
        def receive(result: dict[str, Any] | Damaged) -> None:
            if isinstance(result, Damaged):
                self._worklist.reopen(row)
                self._redo(result)
            else:
                upsert_scores(self._plan.stores.out, [result])
                self._worklist.close(row)
                self._progress.say(_line(result))

        return receive

    def _redo(self, damage: Damaged) -> None:
        unit = damage.unit
        forget(self._plan.stores.holding(unit), unit, damage.name)
        self._worklist.forget(unit, damage.name)
        self._progress.say(f"{unit.path}: part {damage.name} is damaged and is computed again")

    def _fail(self, checkpoint: str, reason: str) -> None:
        rows = self._worklist.fail(checkpoint)
        if rows:
            failed = [failed_row(self._plan, row, reason) for row in rows]
            upsert_scores(self._plan.stores.out, failed)
            for label in {row.checkpoint.label for row in rows}:
                self._progress.say(f"{label}: failed: {reason}")

    def _submit(
        self,
        receive: Callable[[Any], None],
        function: Callable[..., Any],
        *arguments: Any,  # noqa: ANN401
    ) -> None:
        self._under_way.append((self._executor.submit(function, *arguments), receive))

    def _collect(self, *, wait: bool) -> None:
        """Take the results of light tasks, and start what they make possible."""
        while ready := [pair for pair in self._under_way if wait or pair[0].is_ready()]:
            for handle, receive in ready:
                self._under_way.remove((handle, receive))
                receive(handle.result())
            self._advance()


def _settle_batch_size(plan: RunPlan, executor: Executor) -> RunPlan:
    """The plan with a batch size, which moves bits and so belongs to its identity."""
    extractors = [row.extractor for row in plan.rows]
    size = choose_batch_size(executor, extractors, plan.reference.shape)
    return with_batch_size(plan, size)


def rows_to_score(plan: RunPlan) -> list[PlannedRow]:
    """Rows that the score table does not hold as scored under the same fingerprint."""
    scored = {
        (row["checkpoint"], row["extractor"]): row["fingerprint"]
        for row in read_score_rows(plan.stores.out)
        if row["status"] == "scored"
    }
    return [row for row in plan.rows if scored.get(row.key) != row.fingerprint]


def _rows_of(plan: RunPlan) -> tuple[dict[str, Any], ...]:
    planned = {row.key for row in plan.rows}
    rows: Iterable[dict[str, Any]] = read_score_rows(plan.stores.out)
    return tuple(row for row in rows if (row["checkpoint"], row["extractor"]) in planned)


def _line(row: dict[str, Any]) -> str:
    """A row's main numbers, in a sentence; what is undefined is left out."""
    if row["status"] == "failed":
        return f"{row['checkpoint']}: failed: {row['reason']}"
    found = {
        "ELBO {:.2f} nats": row.get("elbo"),
        f"FID[{row['extractor']}] {{:.4g}}": row.get("fid"),
        "IS {:.3f}": row.get("inception_score"),
    }
    scores = [text.format(value) for text, value in found.items() if value is not None]
    return f"{row['checkpoint']}: {', '.join(scores) or 'scored'}"
