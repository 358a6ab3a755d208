"""From a spec to the units of one run: what must exist before each row can be scored."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vae_batch.models.checkpoints import Checkpoint, find_checkpoints
from vae_batch.models.extractors.extractor import NO_EXTRACTOR, ExtractorIdentity
from vae_batch.models.extractors.reading import noise_for
from vae_batch.models.extractors.registry import identify_extractor, identify_protocol
from vae_batch.plan import EvaluationSpec, InputError, Unit, fingerprint, identity_of
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.checkpoint_job import SCORING_FIELDS, CheckpointJob
from vae_batch.run.planning.units import reference_unit, units_of_row
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.images import open_probe
from vae_batch.run.reference.precomputed import precomputed_extractor, require_extractor_of

Device = Literal["", "cpu", "gpu"]
"""What the workers of a run compute on; empty where that is not known yet."""


@dataclass(frozen=True)
class PlannedRow:
    """A future row of the score table, and the units it is made of.

    Attributes:
        job: Its checkpoint, and how that is read.
        extractor: Extractor of its activations.
        units: Its units by kind.
        fingerprint: Digest of everything that moves one of its numbers.
        left_race_at: Samples after which its checkpoint was dropped from a race; None where it is
            scored in full.
    """

    job: CheckpointJob
    extractor: ExtractorIdentity
    units: Mapping[str, Unit]
    fingerprint: str
    left_race_at: int | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The row's checkpoint."""
        return self.job.checkpoint

    @property
    def key(self) -> tuple[str, str]:
        """(checkpoint, extractor), the key of the score table."""
        return self.checkpoint.label, self.extractor.name

    @property
    def mark(self) -> tuple[str, str, str]:
        """Key and fingerprint: another one is another row to score."""
        return (*self.key, self.fingerprint)


@dataclass(frozen=True)
class RunPlan:
    """Everything a run will do; the same on any number of workers."""

    spec: EvaluationSpec
    stores: RunStores
    reference: ReferenceFacts
    training: ReferenceFacts | None
    rows: tuple[PlannedRow, ...]
    device: Device = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What an output folder belongs to: numbers of two identities never share a folder."""
        return {
            **identity_of(self.spec),
            "reference_sha256": self.reference.sha256,
            "fingerprint": fingerprint(
                **identity_of(self.spec), reference_sha256=self.reference.sha256
            ),
        }


def find_jobs(spec: EvaluationSpec) -> list[CheckpointJob]:
    """The checkpoints of a spec, and how each is read.

    Raises:
        InputError: A pattern matches nothing, or declares what cannot be.
    """
    found = find_checkpoints(spec.checkpoints, spec.encoder, spec.decoder)
    _require_matches(spec, [checkpoint.label for checkpoint in found])
    return [CheckpointJob.of(checkpoint, spec) for checkpoint in found]


def make_plan(
    spec: EvaluationSpec,
    stores: RunStores,
    jobs: Sequence[CheckpointJob],
    reference: ReferenceFacts,
    training: ReferenceFacts | None = None,
) -> RunPlan:
    """Identify the extractors, if any metric needs one, and name every unit.

    Args:
        spec: What is scored, and how.
        stores: Of the spec.
        jobs: Of ``find_jobs``.
        reference: Of the spec.
        training: Of the spec; None where memorisation is not asked for.

    Raises:
        InputError: An extractor cannot be had.
    """
    extractors = _extractors_of(spec, jobs, reference) if spec.needs_extractor else [NO_EXTRACTOR]
    rows = [
        _plan_row(spec, reference, training, job, extractor)
        for job in jobs
        for extractor in extractors
    ]
    return RunPlan(spec, stores, reference, training, tuple(rows))


def _extractors_of(
    spec: EvaluationSpec, jobs: Sequence[CheckpointJob], reference: ReferenceFacts
) -> list[ExtractorIdentity]:
    """The extractors of a run; none is needed where all features are computed already.

    Raises:
        InputError: One cannot be had, or is not that of the reference's features or statistics.
    """
    sets = [job.checkpoint.samples for job in jobs]
    are_features = all(samples is not None and samples.kind == "features" for samples in sets)
    if reference.kind != "images" and are_features and spec.training is None:
        if spec.protocols:
            raise InputError(
                f"protocols {', '.join(spec.protocols)} read images, but candidates and reference "
                "hold features; name images, or leave protocols out"
            )
        return [precomputed_extractor(reference)]
    extractors = identify_extractors(spec, reference)
    extractors += [identify_protocol(tool, spec) for tool in spec.protocols]
    for extractor in extractors:
        require_extractor_of(reference, extractor)
    return extractors


def identify_extractors(
    spec: EvaluationSpec, reference: ReferenceFacts | None = None
) -> list[ExtractorIdentity]:
    """The extractors of a spec; networks of the user's are probed with its reference.

    Without reference images they are probed with noise.

    Raises:
        InputError: One cannot be had, or has to be declared.
    """
    if reference is None or reference.kind == "images":
        probe = functools.cache(functools.partial(open_probe, spec))
        return [identify_extractor(name, spec, probe) for name in spec.extractors]
    return [
        identify_extractor(name, spec, functools.partial(noise_for, name, spec))
        for name in spec.extractors
    ]


def _require_matches(spec: EvaluationSpec, labels: Sequence[str]) -> None:
    """Refuse a glob of ``per_checkpoint`` that matches no checkpoint.

    Raises:
        InputError: Names the glob and what there is.
    """
    for pattern in spec.per_checkpoint:
        if not any(fnmatch.fnmatchcase(label, pattern) for label in labels):
            shown = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
            raise InputError(
                f"per_checkpoint {pattern!r} matches no checkpoint; it is a glob of their whole "
                f"paths, such as '*/step-3*', and there are {shown}"
            )


def with_batch_size(plan: RunPlan, size: int) -> RunPlan:
    """The plan with another batch size; checkpoints and weights are not hashed again."""
    settled = replace(plan, spec=plan.spec.model_copy(update={"batch_size": size}))
    rows = [_row_of(settled, row.job, row.extractor) for row in plan.rows]
    return replace(settled, rows=tuple(rows))


def with_shared_files(plan: RunPlan, recorded: Iterable[Mapping[str, Unit]] = ()) -> RunPlan:
    """The plan in which a checkpoint that was saved twice is computed once.

    Checkpoints of equal content that are read in the same way share one set of files: a copy such
    as ``best.keras`` needs no computation, in the same run or in a later one.

    Args:
        plan: Of `make_plan`.
        recorded: Units, by their kind, of rows that earlier runs of the output folder planned.
    """
    owners: dict[str, str] = {}
    for units in recorded:
        described = units.get("description")
        if described is not None and described.checkpoint is not None:
            owners.setdefault(described.fingerprint, described.checkpoint)
    rows = []
    for row in plan.rows:
        own = row.job.identifier
        owner = owners.setdefault(row.units["description"].fingerprint, own)
        job = replace(row.job, stored_as=owner)
        rows.append(row if owner == own else _row_of(plan, job, row.extractor))
    return replace(plan, rows=tuple(rows))


def _row_of(plan: RunPlan, job: CheckpointJob, extractor: ExtractorIdentity) -> PlannedRow:
    return _plan_row(plan.spec, plan.reference, plan.training, job, extractor)


def shortened(row: PlannedRow, count: int) -> PlannedRow:
    """The row of a checkpoint that was dropped after ``count`` samples, and is scored by those.

    Its files are the first ones of the whole row.
    """
    units = {kind: shortened_unit(unit, count) for kind, unit in row.units.items()}
    mark = fingerprint(row=row.fingerprint, left_race_at=count)
    return replace(row, units=units, fingerprint=mark, left_race_at=count)


def shortened_unit(unit: Unit, count: int) -> Unit:
    """The first shards of a checkpoint's unit, as many as hold ``count`` samples.

    Units of the reference stay whole.
    """
    if unit.checkpoint is None:
        return unit
    shards = -(-count // unit.shard_size)
    return replace(unit, samples=min(unit.samples, shards * unit.shard_size))


def _plan_row(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    training: ReferenceFacts | None,
    job: CheckpointJob,
    extractor: ExtractorIdentity,
) -> PlannedRow:
    units = units_of_row(spec, reference, job, extractor)
    if training is not None and "generated" in units and extractor.tool is None:
        units["training"] = reference_unit(spec, training, extractor)
    mark = fingerprint(
        row=[unit.fingerprint for unit in units.values()],
        label=job.checkpoint.label,
        extractor=extractor.name,
        scoring={name: getattr(job.reading, name) for name in SCORING_FIELDS},
        metrics=spec.metrics,
    )
    return PlannedRow(job, extractor, units, mark)
