"""The whole job: input checked, everything scored and compared, the report written."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial

from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import ClusterLostError, EvaluationSpec
from vae_batch.plan.location import Location
from vae_batch.plan.quantities import file_size, plural
from vae_batch.run.compare.best_checkpoint import (
    CONFIRMATION,
    CONFIRMATION_SEED,
    Confirmation,
    Selection,
    confirmed,
    select_again,
    sets_of_images,
    write_selection,
)
from vae_batch.run.compare.pairwise import compare_among
from vae_batch.run.execute.executor import Executor, SerialExecutor
from vae_batch.run.execute.score_run import RunSummary, score_run
from vae_batch.run.execute.signals import stoppable, uninterrupted
from vae_batch.run.output.lease import Lease, output_lease
from vae_batch.run.output.prune import prune
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.planning.devices import devices_of, joins_cluster
from vae_batch.run.planning.open_run import Run, open_run, prepare
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.events import (
    CLUSTERS_LOST,
    EventSink,
    FaultMet,
    PhaseEnded,
    WorkersStarted,
    phase,
    say,
    ticking,
    to_all,
    without_phases,
)
from vae_batch.run.progress.log import RunLog
from vae_batch.run.progress.progress_file import ProgressFile
from vae_batch.run.race.record import RaceOutcome
from vae_batch.run.race.rounds import is_over, run_race
from vae_batch.storage import Store, read_score_rows


@dataclass(frozen=True)
class Evaluation:
    """What the job did, which checkpoint it found best, and how a race went if there was one."""

    summary: RunSummary
    selection: Selection | None
    race: RaceOutcome | None = None


def evaluate(spec: EvaluationSpec, emit: EventSink) -> Evaluation:
    """Score every checkpoint of a spec, compare them, and write table, figures and page.

    Whatever is printed meanwhile goes to stderr.

    Args:
        spec: What to score, and how.
        emit: Takes the events of the run.

    Raises:
        InputError: Something given cannot be used, another run is at work in the same output
            folder, or a store is full or out of reach; nothing already done is lost.
        ClusterLostError: The Ray cluster was lost; a local one a second time.
        KeyboardInterrupt: A stop was asked for (Ctrl-C, SIGTERM); the same call goes on from here.
    """
    began = time.monotonic()
    # Ray prints of its servers and workers to sys.stdout, which is the caller's.
    with stoppable(), redirect_stdout(sys.stderr):
        plan = prepare(spec, emit)
        return evaluate_plan(plan, emit, time.monotonic() - began)


def evaluate_plan(
    plan: RunPlan,
    emit: EventSink,
    planning_seconds: float = 0.0,
    executor: Executor | None = None,
) -> Evaluation:
    """What `evaluate` does with the plan of a spec, which may have been narrowed.

    Args:
        plan: To be carried out.
        emit: Takes the events of the run.
        planning_seconds: That the plan took.
        executor: An entered one of the same spec, whose workers stay; None for one of its own.

    Raises:
        InputError: As `evaluate`.
    """
    out = plan.stores.out
    with (
        stoppable(),
        output_lease(out, wait_s=plan.spec.wait, tell=partial(say, emit)) as lease,
        storage_faults(out),
        RunLog(out) as log,
        ProgressFile(out, lease.require) as progress,
    ):
        shown = to_all(emit, log)
        readers = to_all(shown, progress)
        plan = replace(plan, stores=plan.stores.anchored(lease.anchor))
        readers(PhaseEnded("plan", planning_seconds))
        return _evaluate(open_run(plan, readers, lease.require), lease, shown, executor)


def _evaluate(run: Run, lease: Lease, shown: EventSink, held: Executor | None) -> Evaluation:
    """All that writes into the output folder, by the one holder of its lease.

    Events of a confirmation are ``shown``, and not counted in the run's ``progress.json``.
    """
    emit, spec, out = run.emit, run.plan.spec, run.plan.stores.out
    summary, outcome = _score(run, held)
    with phase(emit, "compare"), uninterrupted():  # short, and its tables and pages belong together
        lease.require()
        selection = select_again(spec.out, spec)
    if selection is not None and spec.confirm:
        with phase(emit, "confirm"):
            said = _confirmation(spec, selection, lease, shown, held)
        selection = replace(selection, confirmation=said)
    with phase(emit, "report"), uninterrupted():
        from vae_batch.report.bundle import is_drawn, write_report  # matplotlib is slow to import

        lease.require()
        if selection is not None:
            write_selection(out, selection)
        if not is_drawn(out):
            say(emit, "drawing figures and page")
            write_report(out)
    _retain(spec, selection, emit)
    return Evaluation(summary, selection, outcome)


def _retain(spec: EvaluationSpec, selection: Selection | None, emit: EventSink) -> None:
    """Delete the activations that the spec does not keep; nothing needs them any more."""
    if spec.keep_activations == "best" and selection is None:
        say(emit, "no checkpoint could be selected as best, so all activations are kept")
        return
    with uninterrupted():
        done = prune(spec.out, spec.keep_activations)
    if done.files:
        deleted = f"{plural(done.files, 'file')} deleted, {file_size(done.size)}"
        say(emit, f"activations kept: {spec.keep_activations}; {deleted}")


def make_executor(spec: EvaluationSpec) -> Executor:
    """Serial for ``workers = 0``, else Ray."""
    if spec.workers == 0:
        from vae_batch.run.execute.worker_environment import set_for_this_process

        set_for_this_process()
        return SerialExecutor()
    from vae_batch.run.execute.worker_environment import set_ray_environment

    set_ray_environment(spec.address)
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    return RayExecutor(spec)


def _score(run: Run, held: Executor | None) -> tuple[RunSummary, RaceOutcome | None]:
    spec = run.plan.spec
    # Where nothing is left to score no cluster is started, so that an idle night costs seconds.
    has_work = not is_over(run) if spec.race else bool(run.open_rows)
    executor = (held or make_executor(spec)) if has_work else SerialExecutor()
    try:
        return _score_on(run, executor)
    except ClusterLostError as error:
        if held is not None or not executor.can_start_again:
            raise
        run.emit(FaultMet(CLUSTERS_LOST))
        say(
            run.emit,
            f"{error}; it is started again, once, and the run goes on from its finished shards",
        )
    summary, outcome = _score_on(open_run(run.plan, run.emit, run.guard), make_executor(spec))
    return replace(summary, faults={CLUSTERS_LOST: 1, **summary.faults}), outcome


def _score_on(run: Run, executor: Executor) -> tuple[RunSummary, RaceOutcome | None]:
    emit, spec = run.emit, run.plan.spec
    with ExitStack() as stack:
        with phase(emit, "start"):
            stack.enter_context(executor)
        emit(_workers_of(spec, executor))
        say(emit, _opening(run.plan, executor))
        stack.enter_context(phase(emit, "work"))
        stack.enter_context(ticking(emit, executor.at_work))
        if spec.race is None:
            return score_run(run, executor), None
        return run_race(run, executor)


def _workers_of(spec: EvaluationSpec, executor: Executor) -> WorkersStarted:
    is_local = not joins_cluster(spec)
    devices = devices_of(executor, is_local=is_local)
    workers = 0 if devices.is_serial else devices.workers
    cores = devices.cores if is_local and not devices.gpu else 0
    return WorkersStarted(devices.words, workers, cores)


def _opening(plan: RunPlan, executor: Executor) -> str:
    """Such as ``Scoring 3 checkpoints in this process``."""
    where = "in" if isinstance(executor, SerialExecutor) else "on"
    checkpoints = plural(len({row.job.identifier for row in plan.rows}), "checkpoint")
    return f"Scoring {checkpoints} {where} {executor.description}"


def _confirmation(
    spec: EvaluationSpec,
    selection: Selection,
    lease: Lease,
    emit: EventSink,
    held: Executor | None,
) -> Confirmation:
    """The best and the second, scored again on fresh seeds in a run of their own.

    The winner of many is best partly by the luck of its draws; other draws do not share it.
    """
    rows = read_score_rows(Store.open(spec.out))
    if selection.second is None or sets_of_images(selection, rows):
        return confirmed(selection, (), rows)
    fresh = spec.model_copy(
        update={
            "seed": (spec.seed + CONFIRMATION_SEED) % 2**63,
            "out": (Location.parse(spec.out) / CONFIRMATION).address,
            "metrics": (METRICS[selection.decided_by.metric].group,),
            "select": None,
            "tolerance": {},
            "race": None,
            "reference_cache": spec.reference_cache
            or (Location.parse(spec.out) / "reference").address,
        }
    )
    plan = prepare(fresh, emit)
    wanted = {selection.best, selection.second}
    chosen = tuple(row for row in plan.rows if row.checkpoint.label in wanted)
    stores = plan.stores.anchored(lease.anchor)
    say(emit, f"confirming on fresh seeds: {' and '.join(sorted(map(str, wanted)))}")
    run = open_run(replace(plan, rows=chosen, stores=stores), without_phases(emit), lease.require)
    _score(run, held)
    pair, decider = [row.checkpoint.label for row in chosen], selection.decided_by
    compared = compare_among(fresh.out, pair, decider.metric, decider.extractor)
    said = confirmed(selection, compared, rows)
    if spec.keep_activations != "all":
        with uninterrupted():
            prune(fresh.out, "none")
    return said
