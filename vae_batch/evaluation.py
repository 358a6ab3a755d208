"""The whole job: input checked, everything scored and compared, the report written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import EvaluationSpec
from vae_batch.plan.location import Location
from vae_batch.report.bundle import write_report
from vae_batch.report.drawn import is_drawn
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.compare.selection import (
    CONFIRMATION,
    CONFIRMATION_SEED,
    Selection,
    confirmed,
    select_best,
    write_selection,
)
from vae_batch.run.cost.meter import Meter
from vae_batch.run.execute.driver import run
from vae_batch.run.execute.executor import Executor, SerialExecutor
from vae_batch.run.execute.signals import stoppable, uninterrupted
from vae_batch.run.output.lease import Lease, output_lease
from vae_batch.run.output.prune import prune
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.output.summary import RunSummary
from vae_batch.run.planning.prepare import claim, plan_of, prepare, rows_to_score
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.display import ProgressDisplay
from vae_batch.run.progress.thread import Pulse
from vae_batch.run.race.race import is_over, run_race
from vae_batch.run.race.record import RaceOutcome


@dataclass(frozen=True)
class Evaluation:
    """What the job did, which checkpoint it found best, and how a race went if there was one."""

    summary: RunSummary
    selection: Selection | None
    race: RaceOutcome | None = None


def evaluate(spec: EvaluationSpec, progress: ProgressDisplay) -> Evaluation:
    """Score every checkpoint of a spec, compare them, and write table, figures and page.

    Raises:
      InputError: Something given cannot be used, another run is at work in the same output
        folder, or a store is full or out of reach; nothing already done is lost.
      KeyboardInterrupt: A stop was asked for (Ctrl-C, SIGTERM); the same call goes on from here.
    """
    meter = Meter()
    with stoppable():
        with meter.phase("plan"):
            plan = plan_of(spec, progress)
        return evaluate_plan(plan, progress, meter)


def evaluate_plan(
    plan: RunPlan, progress: ProgressDisplay, meter: Meter | None = None
) -> Evaluation:
    """What `evaluate` does with the plan of a spec, which may have been narrowed.

    Args:
      plan: To be carried out.
      progress: Told what happens.
      meter: Of the run; None where its planning was not measured.

    Raises:
      InputError: As `evaluate`.
    """
    out = plan.stores.out
    with (
        stoppable(),
        output_lease(out, wait_s=plan.spec.wait, tell=progress.say) as lease,
        storage_faults(out),
    ):
        return _evaluate(claim(plan), lease, progress, meter or Meter())


def _evaluate(plan: RunPlan, lease: Lease, progress: ProgressDisplay, meter: Meter) -> Evaluation:
    """All that writes into the output folder, by the one holder of its lease."""
    spec, out = plan.spec, plan.stores.out
    summary, outcome = _run(plan, lease, progress, meter)
    with meter.phase("compare"), uninterrupted():  # short, and its tables and pages belong together
        lease.require()
        selection = select_best(compare_run(spec.out), spec)
    if selection is not None and spec.confirm and selection.second is not None:
        with meter.phase("confirm"):
            said = _confirmation(spec, selection, lease, progress)
        selection = replace(selection, confirmation=said)
    with meter.phase("report"), uninterrupted():
        lease.require()
        if selection is not None:
            write_selection(out, selection)
        if not is_drawn(out):
            progress.say("drawing figures and page")
            write_report(out)
    _retain(spec, selection, progress)
    cost = meter.write(out, lease.require)
    return Evaluation(replace(summary, cost=cost), selection, outcome)


def _retain(spec: EvaluationSpec, selection: Selection | None, progress: ProgressDisplay) -> None:
    """Delete the activations that the spec does not keep; nothing needs them any more."""
    if spec.keep_activations == "best" and selection is None:
        progress.say("no checkpoint could be selected as best, so all activations are kept")
        return
    with uninterrupted():
        done = prune(spec.out, spec.keep_activations)
    if done.files:
        kept = f"activations kept: {spec.keep_activations}"
        progress.say(f"{kept}; {done.files} files deleted, {done.size / 1e6:.1f} MB")


def make_executor(spec: EvaluationSpec) -> Executor:
    """Serial for ``workers = 0``, else Ray."""
    if spec.workers == 0:
        from vae_batch.run.execute.worker_environment import set_for_this_process

        set_for_this_process()
        return SerialExecutor()
    from vae_batch.run.execute.worker_environment import set_ray_authentication

    set_ray_authentication(spec.address)
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    return RayExecutor(spec)


def _run(
    plan: RunPlan, lease: Lease, progress: ProgressDisplay, meter: Meter
) -> tuple[RunSummary, RaceOutcome | None]:
    # Where nothing is left to score no cluster is started, so that an idle night costs seconds.
    open_rows = not is_over(plan) if plan.spec.race else bool(rows_to_score(plan))
    found = make_executor(plan.spec) if open_rows else SerialExecutor()
    with meter.entered(found, plan) as executor:
        progress.say(f"{len(plan.rows)} rows, on {executor.description}")
        with Pulse(progress, executor, plan.stores.out, lease.require) as pulse:
            if plan.spec.race is None:
                return run(plan, executor, pulse, lease.require), None
            return run_race(plan, executor, pulse, lease.require)


def _confirmation(
    spec: EvaluationSpec, selection: Selection, lease: Lease, progress: ProgressDisplay
) -> str:
    """The best and the second, scored again on fresh seeds in a run of their own.

    The winner of many is best partly by the luck of its draws; other draws do not share it.
    """
    fresh = spec.model_copy(
        update={
            "seed": (spec.seed + CONFIRMATION_SEED) % 2**63,
            "out": (Location.parse(spec.out) / CONFIRMATION).address,
            "metrics": (METRICS[selection.metric].group,),
            "race": None,
            "reference_cache": spec.reference_cache
            or (Location.parse(spec.out) / "reference").address,
        }
    )
    plan = prepare(fresh, progress)
    wanted = {selection.best, selection.second}
    rows = tuple(row for row in plan.rows if row.checkpoint.label in wanted)
    progress.say(f"confirming on fresh seeds: {' and '.join(sorted(map(str, wanted)))}")
    _run(replace(plan, rows=rows), lease, progress, Meter())
    said = confirmed(selection, compare_run(fresh.out))
    if spec.keep_activations != "all":
        with uninterrupted():
            prune(fresh.out, "none")
    return said
