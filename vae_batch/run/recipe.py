"""What a worker is told: all it needs to compute any shard of a run."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.models.inception.extractor import ExtractorIdentity
from vae_batch.plan import EvaluationSpec
from vae_batch.run.reference_images import ReferenceFacts
from vae_batch.run.stores import RunStores
from vae_batch.run.subject import Subject


@dataclass(frozen=True)
class Recipe:
    """All a worker needs to compute any shard of a run; small and picklable."""

    spec: EvaluationSpec
    stores: RunStores
    reference: ReferenceFacts
    subjects: dict[str, Subject]
    extractors: dict[str, ExtractorIdentity]
