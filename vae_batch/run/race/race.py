"""A race before a run: who leaves it is scored by the samples that it left at, and no further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vae_batch.run.execute.driver import make_ready, run
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.run_record import claim_output
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.output.summary import RunSummary
from vae_batch.run.planning.prepare import rows_to_score
from vae_batch.run.planning.run_plan import RunPlan, shortened
from vae_batch.run.progress.events import EventSink, say
from vae_batch.run.race.record import RaceOutcome, read_race, write_race
from vae_batch.run.race.rounds import Racing, run_of


@dataclass(frozen=True)
class RacedPlan:
    """A plan after its race.

    Attributes:
      plan: Rows of those that left are of the samples that they left at.
      outcome: Of the race.
      given_up: Identifiers of checkpoints that failed in it.
      shards: Computed by it.
    """

    plan: RunPlan
    outcome: RaceOutcome
    given_up: frozenset[str] = frozenset()
    shards: int = 0


def run_race(
    plan: RunPlan,
    executor: Executor,
    emit: EventSink,
    guard: Callable[[], None] = lambda: None,
) -> tuple[RunSummary, RaceOutcome]:
    """What `driver.run` does, with a race before it: those that left it are scored no further.

    Args and errors are those of `driver.run`.
    """
    raced = race(plan, executor, emit, guard)
    summary = run(raced.plan, executor, emit, guard, raced.given_up)
    return replace(
        summary,
        shards_before=summary.shards_before - raced.shards,
        shards_computed=summary.shards_computed + raced.shards,
    ), raced.outcome


def is_over(plan: RunPlan) -> bool:
    """Whether the plan's race has been run, and every row been scored as it was decided."""
    known = _known(plan)
    return known is not None and not rows_to_score(_shortened(plan, known))


def race(
    plan: RunPlan,
    executor: Executor,
    emit: EventSink,
    guard: Callable[[], None] = lambda: None,
) -> RacedPlan:
    """Race the checkpoints of a plan, and shorten the rows of those that left.

    Args:
      plan: Of `prepare`, with ``race`` in its spec.
      executor: Entered.
      emit: Takes the events of the race.
      guard: Called before anything is written; raises to end the run.

    Raises:
      InputError: As `driver.run`; or a Fréchet distance is to be raced by too few samples.
      KeyboardInterrupt: A stop was asked for.
    """
    with storage_faults(plan.stores.out):
        plan = make_ready(plan, executor)
        known = _known(plan)
        if known is not None:
            say(emit, known.sentence)
            return RacedPlan(_recorded(_shortened(plan, known), guard), known)
        raced = Racing(plan, executor, emit, guard)
        outcome = raced.run()
        say(emit, outcome.sentence)
        raced.write_failures()
        with uninterrupted():
            guard()
            write_race(plan.stores.out, outcome)
        narrowed = _recorded(_shortened(plan, outcome), guard)
        return RacedPlan(narrowed, outcome, frozenset(raced.failed), raced.computed)


def _known(plan: RunPlan) -> RaceOutcome | None:
    """The outcome of the same race, where it was run before and nothing failed in it."""
    known = read_race(plan.stores.out)
    return known if known is not None and known.run_of == run_of(plan) else None


def _shortened(plan: RunPlan, outcome: RaceOutcome) -> RunPlan:
    """The plan with shorter rows for those that left and are not scored in full already."""
    open_rows = {row.key for row in rows_to_score(plan)}
    # Of equal checkpoints one has raced, and the others left with it.
    identifiers = {row.checkpoint.label: row.job.identifier for row in plan.rows}
    counts = {identifiers[label]: count for label, count in outcome.left_at.items()}
    rows = tuple(
        shortened(row, counts[row.job.identifier])
        if row.job.identifier in counts and row.key in open_rows
        else row
        for row in plan.rows
    )
    return replace(plan, rows=rows)


def _recorded(plan: RunPlan, guard: Callable[[], None]) -> RunPlan:
    """The plan, written into the record of its folder."""
    with uninterrupted():
        guard()
        claim_output(plan)
    return plan
