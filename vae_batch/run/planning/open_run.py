"""From a spec to an open run: everything is checked first, and nothing is written before that.

`prepare` only reads; other runs in the folder are not disturbed, and a run that is refused leaves
no trace. `open_run`, called by the holder of the output folder's lease, records the plan and stores
the reference images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from vae_batch.metrics.catalogue import METRICS
from vae_batch.models.extractors.registry import require_extractors
from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.run.execute.executor import Executor
from vae_batch.run.execute.signals import uninterrupted
from vae_batch.run.output.run_record import (
    RunRecord,
    claim_output,
    read_record,
    require_device,
    require_identity,
    require_settings,
)
from vae_batch.run.output.stores import RunStores, storage_faults
from vae_batch.run.planning.batch_size import choose_batch_size
from vae_batch.run.planning.run_plan import (
    Device,
    PlannedRow,
    RunPlan,
    find_jobs,
    make_plan,
    with_batch_size,
    with_shared_files,
)
from vae_batch.run.progress.events import EventSink, say
from vae_batch.run.reference.images import (
    describe_references,
    require_references,
    store_images,
)
from vae_batch.run.reference.precomputed import store_precomputed, with_kind_of_reference
from vae_batch.storage import read_score_rows

#: Of images with which a batch size is chosen where the reference has none.
_PROBED_SHAPE = (64, 64, 3)


@dataclass(frozen=True)
class Run:
    """A run under way; made once, by the holder of the output folder's lease.

    Attributes:
        plan: What it does.
        emit: Takes its events.
        guard: Called before anything is written; raises where it must not be.
        scored: Fingerprints of the rows that were scored when it was opened, by their key.
    """

    plan: RunPlan
    emit: EventSink
    guard: Callable[[], None]
    scored: Mapping[tuple[str, str], str | None] = field(repr=False)

    @property
    def open_rows(self) -> list[PlannedRow]:
        """Rows that the score table does not hold as scored under the same fingerprint."""
        return [row for row in self.plan.rows if self.scored.get(row.key) != row.fingerprint]

    def recorded(self, plan: RunPlan) -> Run:
        """The run with another plan, which is written into the folder's record."""
        with uninterrupted():
            self.guard()
            claimed = claim_output(plan, read_record(plan.stores.out))
        return replace(self, plan=claimed)


def prepare(spec: EvaluationSpec, emit: EventSink) -> RunPlan:
    """Check all input and plan the run; nothing is written.

    Raises:
        InputError: Something given cannot be used, or the output folder belongs to a run of
            another identity, or its record is damaged.
    """
    stores = RunStores.of(spec)
    with storage_faults(stores.out):
        record = read_record(stores.out)
        _require_at_once(spec)
        spec = with_kind_of_reference(spec)
        jobs = find_jobs(spec)
        if record is not None:
            require_settings(spec, stores.out, record)
        reference, training = describe_references(spec)
        for note in reference.notes:
            say(emit, note)
        plan = make_plan(spec, stores, jobs, reference, training)
        for label, beside in sorted(
            {(row.checkpoint.label, row.checkpoint.beside) for row in plan.rows}
        ):
            if beside:
                say(emit, f"{label}: not scored, since the pair is complete: {', '.join(beside)}")
        return _continued(plan, record)


def _require_at_once(spec: EvaluationSpec) -> None:
    """Refuse what names tell, before anything large is read or downloaded."""
    _require_group(spec)
    require_references(spec)
    require_extractors(spec)


def _require_group(spec: EvaluationSpec) -> None:
    """Refuse to select by a metric that is not computed."""
    if spec.select is None or METRICS[spec.select].group in spec.metrics:
        return
    group = METRICS[spec.select].group
    raise InputError(
        f"--select {spec.select}: it is not computed, as --metrics has no {group}; add {group}"
    )


def open_run(plan: RunPlan, emit: EventSink, guard: Callable[[], None] = lambda: None) -> Run:
    """Record a plan in its output folder, and store the reference images.

    Where the batch size is still open, `settle` records the plan.

    Args:
        plan: Of `prepare`; rows may have been removed.
        emit: Takes the events of the run.
        guard: Called before anything is written; raises to end the run.

    Raises:
        InputError: Another run has claimed the folder in the meantime, or it cannot be written.
    """
    with storage_faults(plan.stores.out):
        record = read_record(plan.stores.out)
        plan = _continued(plan, record)
        if plan.spec.batch_size is not None:
            with uninterrupted():
                guard()
                plan = claim_output(plan, record)
        run = Run(plan, emit, guard, _scored(plan))
        store_images(plan.spec, plan.stores.reference, plan.reference, plan.training)
        if plan.reference.kind != "images":
            units = [row.units["reference"] for row in run.open_rows if "reference" in row.units]
            store_precomputed(plan.spec, plan.stores.reference, plan.reference, units)
        return run


def settle(run: Run, executor: Executor) -> Run:
    """The run with a batch size, when every machine of the workers sees its files.

    Raises:
        InputError: Some machine does not, the folder's runs computed on another kind of device, or
            the batch size could not be probed on a device.
    """
    plan = run.plan
    executor.require_visible(plan)
    device: Device = "gpu" if executor.has_gpus else "cpu"
    require_device(plan, device)
    is_recorded = plan.device == device
    plan = replace(plan, device=device)
    if plan.spec.batch_size is not None:
        return run if is_recorded else run.recorded(plan)
    extractors = [row.extractor for row in plan.rows]
    size = choose_batch_size(executor, extractors, plan.reference.shape or _PROBED_SHAPE)
    return run.recorded(with_batch_size(plan, size))


def open_rows(plan: RunPlan) -> list[PlannedRow]:
    """Rows that the score table does not hold as scored under the same fingerprint."""
    scored = _scored(plan)
    return [row for row in plan.rows if scored.get(row.key) != row.fingerprint]


def _scored(plan: RunPlan) -> dict[tuple[str, str], str | None]:
    """Fingerprints of the scored rows in the score table, by (checkpoint, extractor)."""
    rows = read_score_rows(plan.stores.out)
    return {row.key: row.provenance.fingerprint for row in rows if row.status == "scored"}


def _continued(plan: RunPlan, record: RunRecord | None) -> RunPlan:
    """The plan as it continues earlier runs of its folder.

    It has their batch size and kind of device. Equal checkpoints share their files, theirs among
    them.

    Raises:
        InputError: They have another identity.
    """
    if record is None:
        return with_shared_files(plan)
    if plan.spec.batch_size is None:
        plan = with_batch_size(plan, record.identity["batch_size"])
    plan = replace(plan, device=record.device)
    require_identity(plan, record)
    return with_shared_files(plan, (row.units for row in record.rows))
