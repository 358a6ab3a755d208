"""From a spec to the units of one run: what must exist before each row can be scored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vae_batch.models.checkpoints import Checkpoint, find_checkpoints
from vae_batch.models.extractors import extractor_folder, identify_extractor
from vae_batch.models.inception.extractor import ExtractorIdentity
from vae_batch.plan import EvaluationSpec, Unit, fingerprint, identity_of
from vae_batch.run.reference_images import ReferenceFacts
from vae_batch.run.stores import RunStores

#: Fields of the spec that move a decoded image or a loss.
_MODEL_FIELDS = ("seed", "batch_size", "shard_size", "likelihood", "model_range")


@dataclass(frozen=True)
class PlannedRow:
    """A row of the score table to be, and the units it is made of."""

    checkpoint: Checkpoint
    extractor: ExtractorIdentity
    generated: Unit
    losses: Unit
    gallery: Unit
    reference: Unit
    fingerprint: str

    @property
    def key(self) -> tuple[str, str]:
        """(checkpoint, extractor), the key of the score table."""
        return self.checkpoint.label, self.extractor.name


@dataclass(frozen=True)
class RunPlan:
    """Everything a run will do; the same on any number of workers."""

    spec: EvaluationSpec
    stores: RunStores
    reference: ReferenceFacts
    rows: tuple[PlannedRow, ...]

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


def make_plan(spec: EvaluationSpec, stores: RunStores, reference: ReferenceFacts) -> RunPlan:
    """Find the checkpoints, identify the extractors and name every unit.

    Raises:
      InputError: A checkpoint pattern matches nothing, or an extractor cannot be had.
    """
    extractors = [identify_extractor(name, spec) for name in spec.extractors]
    checkpoints = find_checkpoints(spec.checkpoints)
    rows = [
        _plan_row(spec, reference, checkpoint, extractor)
        for checkpoint in checkpoints
        for extractor in extractors
    ]
    return RunPlan(spec, stores, reference, tuple(rows))


def with_batch_size(plan: RunPlan, size: int) -> RunPlan:
    """The plan of another batch size; checkpoints and weights are not hashed again."""
    spec = plan.spec.model_copy(update={"batch_size": size})
    rows = [_plan_row(spec, plan.reference, row.checkpoint, row.extractor) for row in plan.rows]
    return RunPlan(spec, plan.stores, plan.reference, tuple(rows))


def _plan_row(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    checkpoint: Checkpoint,
    extractor: ExtractorIdentity,
) -> PlannedRow:
    generated = _generated_unit(spec, checkpoint, extractor)
    losses = _losses_unit(spec, reference, checkpoint)
    real = reference_unit(spec, reference, extractor)
    return PlannedRow(
        checkpoint=checkpoint,
        extractor=extractor,
        generated=generated,
        losses=losses,
        gallery=_gallery_unit(spec, reference, checkpoint),
        reference=real,
        fingerprint=fingerprint(
            row=[generated.fingerprint, losses.fingerprint, real.fingerprint],
            label=checkpoint.label,
            extractor=extractor.name,
            sigma=spec.sigma,
            beta=spec.beta,
        ),
    )


def reference_unit(
    spec: EvaluationSpec, reference: ReferenceFacts, extractor: ExtractorIdentity
) -> Unit:
    """Activations of the reference images; its path carries all that it depends on."""
    mark = fingerprint(
        kind="reference",
        images=reference.sha256,
        extractor=_extractor_parts(extractor),
        batch_size=spec.batch_size,
        shard_size=spec.shard_size,
    )
    return Unit(
        path=f"{reference.folder}/activations/{extractor_folder(extractor)}-{mark[:8]}",
        kind="reference",
        fingerprint=mark,
        samples=reference.count,
        shard_size=spec.shard_size,
        extractor=extractor_folder(extractor),
    )


def _generated_unit(
    spec: EvaluationSpec, checkpoint: Checkpoint, extractor: ExtractorIdentity
) -> Unit:
    identifier = checkpoint.identifier
    return Unit(
        path=f"activations/checkpoint={identifier}/extractor={extractor_folder(extractor)}",
        kind="generated",
        fingerprint=fingerprint(
            kind="generated",
            checkpoint=checkpoint.sha256,
            extractor=_extractor_parts(extractor),
            samples=spec.samples,
            splits=spec.splits,
            **_model_parts(spec),
        ),
        samples=spec.samples,
        shard_size=spec.shard_size,
        checkpoint=identifier,
        extractor=extractor_folder(extractor),
    )


def _losses_unit(spec: EvaluationSpec, reference: ReferenceFacts, checkpoint: Checkpoint) -> Unit:
    return Unit(
        path=f"losses/checkpoint={checkpoint.identifier}",
        kind="losses",
        fingerprint=fingerprint(
            kind="losses",
            checkpoint=checkpoint.sha256,
            images=reference.sha256,
            sigma=spec.sigma,
            **_model_parts(spec),
        ),
        samples=reference.count,
        shard_size=spec.shard_size,
        checkpoint=checkpoint.identifier,
    )


def _gallery_unit(spec: EvaluationSpec, reference: ReferenceFacts, checkpoint: Checkpoint) -> Unit:
    return Unit(
        path=f"gallery/checkpoint={checkpoint.identifier}",
        kind="gallery",
        fingerprint=fingerprint(
            kind="gallery",
            checkpoint=checkpoint.sha256,
            images=reference.sha256,
            **_model_parts(spec),
        ),
        samples=1,
        shard_size=1,
        checkpoint=checkpoint.identifier,
    )


def _model_parts(spec: EvaluationSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in _MODEL_FIELDS}


def _extractor_parts(extractor: ExtractorIdentity) -> dict[str, Any]:
    """What moves an activation: not where the weights lie."""
    parts = asdict(extractor)
    return {name: parts[name] for name in ("weights_sha256", "protocol")}
