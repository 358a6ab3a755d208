"""The whole job: input checked, everything scored, the report written."""

from __future__ import annotations

from vae_batch.plan import EvaluationSpec
from vae_batch.report.bundle import write_report
from vae_batch.run.driver import RunSummary, prepare, rows_to_score, run
from vae_batch.run.executor import Executor, SerialExecutor
from vae_batch.run.progress import ProgressDisplay


def evaluate(spec: EvaluationSpec, progress: ProgressDisplay) -> RunSummary:
    """Score every checkpoint of a spec and write table, figures and page.

    Raises:
      InputError: Something given cannot be used; nothing already done is lost.
    """
    plan = prepare(spec, progress)
    # Where nothing is left to score no cluster is started, so that an idle night costs seconds.
    with make_executor(spec) if rows_to_score(plan) else SerialExecutor() as executor:
        progress.say(f"{len(plan.rows)} rows, on {executor.description}")
        summary = run(plan, executor, progress)
    write_report(plan.stores.out)
    return summary


def make_executor(spec: EvaluationSpec) -> Executor:
    """Serial for ``workers = 0``, else Ray."""
    if spec.workers == 0:
        from vae_batch.run.worker_environment import set_for_this_process

        set_for_this_process()
        return SerialExecutor()
    from vae_batch.run.ray_executor import RayExecutor

    return RayExecutor(spec)
