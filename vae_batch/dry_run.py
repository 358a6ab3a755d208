"""What a run would do and cost; nothing is computed nor written."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import EvaluationSpec, Unit
from vae_batch.run.cost.cost_file import RunCost, read_costs
from vae_batch.run.cost.default_rates import light_work
from vae_batch.run.cost.estimate import Devices, Estimate, Work, estimate, work_of
from vae_batch.run.cost.measured_rates import known_rates, terms_of
from vae_batch.run.cost.meter import joins_cluster
from vae_batch.run.output.run_record import require_own_output
from vae_batch.run.output.stores import RunStores, storage_faults
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE, with_recorded_batch_size
from vae_batch.run.planning.devices import devices_of, local_devices
from vae_batch.run.planning.prepare import rows_to_score, share_files
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan, make_plan
from vae_batch.run.planning.work_queue import WorkQueue
from vae_batch.run.progress.display import ProgressDisplay
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.images import describe_references
from vae_batch.storage import finished_shards, is_activations, is_reduced


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
      out: Where, without credentials.
      rows: All rows of its plan.
      open_rows: Those that it would score.
      shards_done: Shards of these that are there already.
      estimate: Of the others.
      is_race: Whether checkpoints may leave a race before all of that is computed.
      last: What the last run into the folder has cost; None where nobody noted it.
    """

    out: str
    rows: int
    open_rows: int
    shards_done: int
    estimate: Estimate
    is_race: bool
    last: RunCost | None


def dry_run(spec: EvaluationSpec, progress: ProgressDisplay) -> DryRun:
    """Plan a run as `evaluate` does, and say what it would cost.

    A running Ray cluster that the spec names is asked what it has; a local one is not started.

    Raises:
      InputError: Something given cannot be used, as it could not be by the run.
    """
    stores = RunStores.of(spec)
    with storage_faults(stores.out):
        reference, training = describe_references(spec)
        for note in reference.notes:
            progress.say(note)
        settled = with_recorded_batch_size(spec, stores.out)
        if settled.batch_size is None:
            settled = settled.model_copy(update={"batch_size": CPU_BATCH_SIZE})
        plan = share_files(make_plan(settled, stores, reference, training))
        require_own_output(plan)
        return _cost_of(plan, found_devices(spec), spec.race is not None)


def found_devices(spec: EvaluationSpec) -> Devices:
    """This machine's, or those of the cluster that a run would join.

    Raises:
      InputError: The cluster cannot be reached.
    """
    if not joins_cluster(spec):
        return local_devices(spec.workers)
    from vae_batch.evaluation import make_executor

    with make_executor(spec) as executor:
        return devices_of(executor, is_local=False)


def _cost_of(plan: RunPlan, devices: Devices, is_race: bool) -> DryRun:
    rows = rows_to_score(plan)
    queue = WorkQueue(plan.stores, rows)
    tasks, terms = queue.missing(), terms_of(plan)
    _, done = queue.count()
    missing_parts = {unit.path for unit, _ in tasks}
    reductions = [unit for unit in _activations(rows) if _is_open(plan, unit, missing_parts)]
    scored = [(plan.spec.samples, row.units["reference"].extractor or "") for row in rows]
    light = light_work(reductions, scored, plan.spec.metrics, terms)
    work = [*_images(plan, rows), *work_of(tasks, terms)]
    found = estimate(work, known_rates(plan, devices), light, terms, devices)
    costs = read_costs(plan.stores.out)
    last = costs[-1] if costs else None
    return DryRun(plan.stores.out.shown, len(plan.rows), len(rows), done, found, is_race, last)


def _activations(rows: list[PlannedRow]) -> list[Unit]:
    """Units of activations, each once."""
    units = {unit.path: unit for row in rows for unit in row.units.values()}
    return [unit for unit in units.values() if is_activations(unit)]


def _is_open(plan: RunPlan, unit: Unit, missing: set[str]) -> bool:
    return unit.path in missing or not is_reduced(plan.stores.holding(unit), unit)


def _images(plan: RunPlan, rows: list[PlannedRow]) -> list[Work]:
    """Reference and training images that the store does not hold yet; the driver writes them."""
    sets = [facts for facts in (plan.reference, plan.training) if facts is not None and rows]
    found = [_images_of(plan, facts) for facts in sets]
    return [work for work in found if work.shards]


def _images_of(plan: RunPlan, facts: ReferenceFacts) -> Work:
    done = set(finished_shards(plan.stores.reference, facts.unit))
    missing = [shard for shard in facts.unit.shards() if shard not in done]
    height, width, channels = facts.shape
    images = sum(map(len, missing))
    size = float(images * height * width * channels)
    return Work("images", None, len(missing), images, images, size)
