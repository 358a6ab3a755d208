"""The configuration of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.plan import EvaluationSpec, Unit
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.checkpoint_job import CheckpointJob
from vae_batch.run.reference.facts import ReferenceFacts


@dataclass(frozen=True)
class WorkerConfig:
    """All a worker needs to compute any shard of a run; small and picklable.

    Attributes:
        spec: Settings of the run.
        stores: Where its files are.
        reference: The reference images.
        training: The training images, or None.
        jobs: Checkpoints by identifier.
        extractors: By the folder of their activations.
        given: Objects that the caller gave in Python, by module; pickled by value.
    """

    spec: EvaluationSpec
    stores: RunStores
    reference: ReferenceFacts
    training: ReferenceFacts | None
    jobs: dict[str, CheckpointJob]
    extractors: dict[str, ExtractorIdentity]
    given: dict[str, dict[str, Any]] = field(default_factory=dict)

    def in_batches_of(self, size: int) -> Self:
        """The same work in batches of another size."""
        if size == self.spec.batch_size:
            return self
        return replace(self, spec=self.spec.model_copy(update={"batch_size": size}))

    def images_of(self, unit: Unit) -> ReferenceFacts:
        """The images that a unit of the reference store was made from."""
        if self.training is not None and unit.path.startswith(f"{self.training.folder}/"):
            return self.training
        return self.reference
