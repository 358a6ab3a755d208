"""The units of one row: its files, and what each of them depends on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from vae_batch.metrics.catalogue import GROUPS
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.models.references.subset import subset_in_words
from vae_batch.models.sample_sets import Samples
from vae_batch.plan import EvaluationSpec, Unit, fingerprint
from vae_batch.plan.shards import Kind
from vae_batch.run.planning.checkpoint_job import CheckpointJob
from vae_batch.run.reference.facts import ReferenceFacts

#: Fields of the spec that move a decoded image or a loss.
_MODEL_FIELDS = ("seed", "batch_size", "shard_size")

#: Images of an importance-weighted shard are decoded once for each of many draws.
_IMPORTANCE_SHARE = 8


def units_of_row(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    job: CheckpointJob,
    extractor: ExtractorIdentity,
) -> dict[str, Unit]:
    """The units that the requested metrics need, by kind, in the best order to compute them."""

    def own(kind: Kind, samples: int, **more: Any) -> Unit:  # noqa: ANN401
        return _job_unit(spec, reference, job, kind, samples, **more)

    samples, subset = generated_by(spec, job.checkpoint)
    real = max(1, reference.count)  # unknown of some statistics, of which no unit is kept
    chosen: dict[str, Any] = {} if subset is None else {"generated_subset": subset}
    counts: dict[str, Any] = {"label_counts": reference.label_counts, **chosen}
    units: dict[Kind, Unit] = {
        "reference": reference_unit(spec, reference, extractor),
        "description": own("description", 1, **chosen),
        "losses": own("losses", real, **job.scale),
        "gallery": own("gallery", 1, **chosen),
        "importance": own("importance", **_importance_parts(spec, reference, job)),
        "reference_pictures": _reference_pictures_unit(reference),
        "pictures": own("pictures", samples, **counts),
        "generated": _activations_unit(
            *(spec, reference, job, extractor, "generated"),
            samples,
            splits=spec.splits,
            **counts,
        ),
        "reconstructed": _activations_unit(
            *(spec, reference, job, extractor, "reconstructed"),
            real,
            images=reference.sha256,
            labels=reference.labels_sha256,
        ),
    }
    needless = _needless(reference, job.checkpoint.samples)
    if extractor.tool is not None:
        needless = tuple(units.keys() - {"reference", "description", "generated"})
    return {
        kind: unit for kind, unit in units.items() if kind not in needless and _is_read(kind, spec)
    }


def generated_by(spec: EvaluationSpec, checkpoint: Checkpoint) -> tuple[int, str | None]:
    """Generated images of a checkpoint; and of a set, which of its own they are, in words."""
    if checkpoint.samples is None:
        return spec.samples, None
    held = checkpoint.samples.count
    return min(spec.samples, held), subset_in_words(spec.reference_subset, spec.samples, held)


def _needless(reference: ReferenceFacts, samples: Samples | None) -> tuple[str, ...]:
    """Kinds of units that a row does not have."""
    of_pixels = ("pictures", "gallery")
    of_model = ("losses", "importance", "reconstructed")
    if samples is not None and samples.kind == "features":
        return (*of_pixels, *of_model, "reference_pictures")
    if reference.kind != "images":
        return (*of_model, "reference_pictures")
    return of_model if samples is not None else ()


def _is_read(kind: Kind, spec: EvaluationSpec) -> bool:
    """Whether a requested group of metrics, or the report, reads a unit."""
    readers = {name for name, group in GROUPS.items() if kind in group.reads}
    return not readers or not readers.isdisjoint(spec.metrics)


def reference_unit(
    spec: EvaluationSpec, reference: ReferenceFacts, extractor: ExtractorIdentity
) -> Unit:
    """Activations of the reference images; its path carries all that it depends on.

    Statistics have no shards, but a reduction alone.
    """
    is_extracted = reference.kind == "images"
    mark = fingerprint(
        kind="reference",
        images=reference.sha256,
        extractor=_extractor_parts(extractor),
        batch_size=spec.batch_size if is_extracted else 0,
        shard_size=spec.shard_size,
    )
    return Unit(
        path=f"{reference.folder}/activations/{extractor_folder(extractor)}-{mark[:8]}",
        kind="reference",
        fingerprint=mark,
        samples=0 if reference.kind == "statistics" else reference.count,
        shard_size=spec.shard_size,
        extractor=extractor_folder(extractor),
    )


def _reference_pictures_unit(reference: ReferenceFacts) -> Unit:
    images = reference.unit
    return Unit(
        path=f"{reference.folder}/pictures-{images.shard_size}",
        kind="reference_pictures",
        fingerprint=fingerprint(kind="reference_pictures", images=images.fingerprint),
        samples=images.samples,
        shard_size=images.shard_size,
    )


def _activations_unit(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    job: CheckpointJob,
    extractor: ExtractorIdentity,
    kind: Literal["generated", "reconstructed"],
    samples: int,
    **more: Any,  # noqa: ANN401
) -> Unit:
    identifier, folder = job.identifier, extractor_folder(extractor)
    split = "" if kind == "generated" else f"/{kind}"
    return Unit(
        path=f"activations/checkpoint={identifier}/extractor={folder}{split}",
        kind=kind,
        fingerprint=fingerprint(
            kind=kind,
            extractor=_extractor_parts(extractor),
            image_shape=reference.shape,
            **more,
            **_model_parts(spec, job),
        ),
        samples=samples,
        shard_size=spec.shard_size,
        checkpoint=identifier,
        extractor=folder,
    )


def _job_unit(
    spec: EvaluationSpec,
    reference: ReferenceFacts,
    job: CheckpointJob,
    kind: Kind,
    samples: int,
    shard_size: int | None = None,
    **more: Any,  # noqa: ANN401
) -> Unit:
    """A unit that needs no extractor: it depends on the reference's images and labels."""
    return Unit(
        path=f"{kind}/checkpoint={job.identifier}",
        kind=kind,
        fingerprint=fingerprint(
            kind=kind,
            images=reference.sha256,
            labels=reference.labels_sha256,
            **_model_parts(spec, job),
            **more,
        ),
        samples=samples,
        shard_size=min(shard_size or spec.shard_size, samples),
        checkpoint=job.identifier,
    )


def _importance_parts(
    spec: EvaluationSpec, reference: ReferenceFacts, job: CheckpointJob
) -> dict[str, Any]:
    return {
        "samples": min(spec.iwae_images, max(1, reference.count)),
        "shard_size": max(1, spec.shard_size // _IMPORTANCE_SHARE),
        "draws": spec.iwae_draws,
        "subset": spec.reference_subset,
        **job.scale,
    }


def _model_parts(spec: EvaluationSpec, job: CheckpointJob) -> dict[str, Any]:
    return {**{name: getattr(spec, name) for name in _MODEL_FIELDS}, **job.parts()}


def _extractor_parts(extractor: ExtractorIdentity) -> dict[str, Any]:
    """What moves an activation: not where the weights lie."""
    parts = asdict(extractor)
    return {name: parts[name] for name in ("weights_sha256", "protocol")}
