"""From a spec to a plan that its output folder has on record; nothing is computed yet."""

from __future__ import annotations

from vae_batch.plan import EvaluationSpec
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.run_record import claim_output, read_record
from vae_batch.run.output.stores import RunStores, storage_faults
from vae_batch.run.planning.batch_size import choose_batch_size, with_recorded_batch_size
from vae_batch.run.planning.run_plan import (
    PlannedRow,
    RunPlan,
    make_plan,
    with_batch_size,
    with_shared_files,
)
from vae_batch.run.progress.events import EventSink, say
from vae_batch.run.reference.images import store_reference, store_training
from vae_batch.storage import read_score_rows


def prepare(spec: EvaluationSpec, emit: EventSink) -> RunPlan:
    """Check all input, store the reference images and claim the output folder.

    Raises:
      InputError: Something given cannot be used; nothing was computed.
    """
    return claim(plan_of(spec, emit))


def plan_of(spec: EvaluationSpec, emit: EventSink) -> RunPlan:
    """The part of `prepare` that needs no lease: other runs in the folder are not disturbed.

    Raises:
      InputError: As `prepare`.
    """
    stores = RunStores.of(spec)
    with storage_faults(stores.reference):
        reference = store_reference(spec, stores.reference)
        training = store_training(spec, stores.reference)
    for note in reference.notes:
        say(emit, note)
    settled = with_recorded_batch_size(spec, stores.out)
    return share_files(make_plan(settled, stores, reference, training))


def share_files(plan: RunPlan) -> RunPlan:
    """The plan in which equal checkpoints, those of earlier runs among them, share their files.

    Raises:
      InputError: The folder's record is damaged.
    """
    with storage_faults(plan.stores.out):
        record = read_record(plan.stores.out)
    return with_shared_files(plan, (row.units for row in record.rows) if record else ())


def claim(plan: RunPlan) -> RunPlan:
    """Record a plan in its output folder, with the batch size of earlier runs there.

    Where the batch size is still open, `run` settles and records it.

    Raises:
      InputError: The folder belongs to a run of another identity, or cannot be written.
    """
    with storage_faults(plan.stores.out):
        size = with_recorded_batch_size(plan.spec, plan.stores.out).batch_size
        if size is None:
            return plan
        settled = plan if size == plan.spec.batch_size else with_batch_size(plan, size)
        with uninterrupted():
            claim_output(settled)
        return settled


def settle_batch_size(plan: RunPlan, executor: Executor) -> RunPlan:
    """The plan with a batch size, which moves bits and so belongs to its identity.

    Raises:
      InputError: It could not be probed on a device.
    """
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
