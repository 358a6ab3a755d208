"""The whole job: input checked, everything scored and compared, the report written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vae_batch.metrics import METRICS
from vae_batch.plan import EvaluationSpec
from vae_batch.report.bundle import write_report
from vae_batch.run.comparing import compare_run
from vae_batch.run.driver import RunSummary, prepare, rows_to_score, run
from vae_batch.run.executor import Executor, SerialExecutor
from vae_batch.run.lease import output_lease
from vae_batch.run.plan import RunPlan
from vae_batch.run.progress import ProgressDisplay
from vae_batch.run.selecting import (
    CONFIRMATION_SEED,
    Selection,
    confirmed,
    select_best,
    write_selection,
)

#: Folder of the confirmation's own run, below the output folder.
CONFIRMATION = "confirmation"


@dataclass(frozen=True)
class Evaluation:
    """What the job did, and which checkpoint it found best."""

    summary: RunSummary
    selection: Selection | None


def evaluate(spec: EvaluationSpec, progress: ProgressDisplay) -> Evaluation:
    """Score every checkpoint of a spec, compare them, and write table, figures and page.

    Raises:
      InputError: Something given cannot be used, or another run is at work in the same output
        folder; nothing already done is lost.
    """
    plan = prepare(spec, progress)
    with output_lease(plan.stores.out):
        return _evaluate(plan, progress)


def _evaluate(plan: RunPlan, progress: ProgressDisplay) -> Evaluation:
    """All that writes into the output folder, by the one holder of its lease."""
    spec = plan.spec
    summary = _run(plan, progress)
    selection = select_best(compare_run(spec.out), spec)
    if selection is not None:
        if spec.confirm and selection.second is not None:
            selection = replace(selection, confirmation=_confirmation(spec, selection, progress))
        write_selection(plan.stores.out, selection)
    write_report(plan.stores.out)
    return Evaluation(summary, selection)


def make_executor(spec: EvaluationSpec) -> Executor:
    """Serial for ``workers = 0``, else Ray."""
    if spec.workers == 0:
        from vae_batch.run.worker_environment import set_for_this_process

        set_for_this_process()
        return SerialExecutor()
    from vae_batch.run.on_ray.executor import RayExecutor

    return RayExecutor(spec)


def _run(plan: RunPlan, progress: ProgressDisplay) -> RunSummary:
    # Where nothing is left to score no cluster is started, so that an idle night costs seconds.
    with make_executor(plan.spec) if rows_to_score(plan) else SerialExecutor() as executor:
        progress.say(f"{len(plan.rows)} rows, on {executor.description}")
        return run(plan, executor, progress)


def _confirmation(spec: EvaluationSpec, selection: Selection, progress: ProgressDisplay) -> str:
    """The best and the second, scored again on fresh seeds in a run of their own.

    The winner of many is best partly by the luck of its draws; other draws do not share it.
    """
    fresh = spec.model_copy(
        update={
            "seed": (spec.seed + CONFIRMATION_SEED) % 2**63,
            "out": _below(spec.out, CONFIRMATION),
            "metrics": (METRICS[selection.metric].group,),
            "reference_cache": spec.reference_cache or _below(spec.out, "reference"),
        }
    )
    plan = prepare(fresh, progress)
    wanted = {selection.best, selection.second}
    rows = tuple(row for row in plan.rows if row.checkpoint.label in wanted)
    progress.say(f"confirming on fresh seeds: {' and '.join(sorted(map(str, wanted)))}")
    _run(replace(plan, rows=rows), progress)
    return confirmed(selection, compare_run(fresh.out))


def _below(location: str, name: str) -> str:
    path, mark, query = location.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"
