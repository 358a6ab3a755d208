"""From a spec to the units of one run: what must exist before each row can be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vae_batch.models.checkpoints import Checkpoint, find_checkpoints
from vae_batch.models.extractors import extractor_folder, identify_extractor
from vae_batch.models.formats.source_hash import source_sha256
from vae_batch.models.inception.extractor import ExtractorIdentity
from vae_batch.plan import EvaluationSpec, Reading, Unit, fingerprint, identity_of
from vae_batch.plan.shards import Kind
from vae_batch.run.reference_images import ReferenceFacts
from vae_batch.run.stores import RunStores

#: Fields of the spec that move a decoded image or a loss.
_MODEL_FIELDS = ("seed", "batch_size", "shard_size")

#: Declared fields that enter when a row is scored, and move no decoded image.
_SCORING_FIELDS = ("sigma", "beta")


@dataclass(frozen=True)
class Subject:
    """A checkpoint and how it is read; rows of one subject share everything but the extractor.

    Attributes:
      checkpoint: Its files.
      reading: What is declared of it.
      code: Hashes of the user's modules that the reading names.
    """

    checkpoint: Checkpoint
    reading: Reading
    code: tuple[str, ...]

    @classmethod
    def of(cls, checkpoint: Checkpoint, spec: EvaluationSpec) -> Subject:
        """The subject of a checkpoint.

        Raises:
          InputError: A module that the spec names has no source here.
        """
        reading = spec.reading_of(checkpoint.label)
        builder = [reading.builder.split(":")[0]] if reading.builder else []
        modules = [*builder, *reading.custom_objects]
        return cls(checkpoint, reading, tuple(source_sha256(module) for module in modules))

    @property
    def identifier(self) -> str:
        """File-safe name in stored paths; two readings of one file do not share it."""
        declared = self.parts()["reading"]
        mark = f"-{fingerprint(**declared)[:6]}" if declared else ""
        return self.checkpoint.identifier + mark

    def parts(self) -> dict[str, Any]:
        """What moves a decoded image, for a fingerprint."""
        declared = self.reading.declared
        reading = {name: declared[name] for name in declared if name not in _SCORING_FIELDS}
        if self.code:
            reading["code"] = list(self.code)
        return {"checkpoint": self.checkpoint.sha256, "reading": reading}


@dataclass(frozen=True)
class PlannedRow:
    """A row of the score table to be, and the units it is made of."""

    subject: Subject
    extractor: ExtractorIdentity
    units: Mapping[str, Unit]
    fingerprint: str

    @property
    def checkpoint(self) -> Checkpoint:
        """The row's checkpoint."""
        return self.subject.checkpoint

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
    found = find_checkpoints(spec.checkpoints, spec.encoder, spec.decoder)
    subjects = [Subject.of(checkpoint, spec) for checkpoint in found]
    return RunPlan(spec, stores, reference, _plan_rows(spec, reference, subjects, extractors))


def with_batch_size(plan: RunPlan, size: int) -> RunPlan:
    """The plan of another batch size; checkpoints and weights are not hashed again."""
    spec = plan.spec.model_copy(update={"batch_size": size})
    rows = [_plan_row(spec, plan.reference, row.subject, row.extractor) for row in plan.rows]
    return RunPlan(spec, plan.stores, plan.reference, tuple(rows))


def _plan_rows(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    subjects: Sequence[Subject],
    extractors: Sequence[ExtractorIdentity],
) -> tuple[PlannedRow, ...]:
    return tuple(
        _plan_row(spec, reference, subject, extractor)
        for subject in subjects
        for extractor in extractors
    )


def _plan_row(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    subject: Subject,
    extractor: ExtractorIdentity,
) -> PlannedRow:
    units = {
        "reference": reference_unit(spec, reference, extractor),
        "description": _description_unit(spec, reference, subject),
        "losses": _losses_unit(spec, reference, subject),
        "gallery": _gallery_unit(spec, reference, subject),
        "generated": _generated_unit(spec, reference, subject, extractor),
    }
    mark = fingerprint(
        row=[unit.fingerprint for unit in units.values()],
        label=subject.checkpoint.label,
        extractor=extractor.name,
        scoring={name: getattr(subject.reading, name) for name in _SCORING_FIELDS},
    )
    return PlannedRow(subject, extractor, units, mark)


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
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    subject: Subject,
    extractor: ExtractorIdentity,
) -> Unit:
    identifier = subject.identifier
    return Unit(
        path=f"activations/checkpoint={identifier}/extractor={extractor_folder(extractor)}",
        kind="generated",
        fingerprint=fingerprint(
            kind="generated",
            extractor=_extractor_parts(extractor),
            image_shape=reference.shape,
            label_counts=reference.label_counts,
            samples=spec.samples,
            splits=spec.splits,
            **_model_parts(spec, subject),
        ),
        samples=spec.samples,
        shard_size=spec.shard_size,
        checkpoint=identifier,
        extractor=extractor_folder(extractor),
    )


def _losses_unit(spec: EvaluationSpec, reference: ReferenceFacts, subject: Subject) -> Unit:
    return _subject_unit(
        spec, reference, subject, "losses", reference.count, sigma=subject.reading.sigma
    )


def _gallery_unit(spec: EvaluationSpec, reference: ReferenceFacts, subject: Subject) -> Unit:
    return _subject_unit(spec, reference, subject, "gallery", 1)


def _description_unit(spec: EvaluationSpec, reference: ReferenceFacts, subject: Subject) -> Unit:
    return _subject_unit(spec, reference, subject, "description", 1)


def _subject_unit(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    subject: Subject,
    kind: Kind,
    samples: int,
    **more: Any,  # noqa: ANN401
) -> Unit:
    """A unit that needs no extractor: it depends on the reference's images and labels."""
    return Unit(
        path=f"{kind}/checkpoint={subject.identifier}",
        kind=kind,
        fingerprint=fingerprint(
            kind=kind,
            images=reference.sha256,
            labels=reference.labels_sha256,
            **_model_parts(spec, subject),
            **more,
        ),
        samples=samples,
        shard_size=min(spec.shard_size, samples),
        checkpoint=subject.identifier,
    )


def _model_parts(spec: EvaluationSpec, subject: Subject) -> dict[str, Any]:
    return {**{name: getattr(spec, name) for name in _MODEL_FIELDS}, **subject.parts()}


def _extractor_parts(extractor: ExtractorIdentity) -> dict[str, Any]:
    """What moves an activation: not where the weights lie."""
    parts = asdict(extractor)
    return {name: parts[name] for name in ("weights_sha256", "protocol")}
