"""A checkpoint and how it is read: what rows of one checkpoint share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.formats.user_modules import source_sha256
from vae_batch.plan import EvaluationSpec, Reading, fingerprint

#: Declared fields that enter when a row is scored, and move no decoded image.
SCORING_FIELDS = ("sigma", "beta")


@dataclass(frozen=True)
class CheckpointJob:
    """A checkpoint and how it is read; its rows differ in the extractor alone.

    Attributes:
        checkpoint: Its files.
        reading: What is declared of it.
        code: Hashes of the user's modules that the reading names.
        stored_as: Identifier of an equal job whose files are this one's, too; None for its own.
    """

    checkpoint: Checkpoint
    reading: Reading
    code: tuple[str, ...]
    stored_as: str | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint, spec: EvaluationSpec) -> CheckpointJob:
        """The job of a checkpoint.

        Raises:
            InputError: A module that the spec names has no source here.
        """
        reading = spec.reading_of(checkpoint.label)
        job = cls(checkpoint, reading, ())
        return replace(job, code=tuple(source_sha256(module) for module in job.modules))

    @property
    def modules(self) -> list[str]:
        """The user's modules that the reading names."""
        builder = [self.reading.builder.split(":")[0]] if self.reading.builder else []
        return [*builder, *self.reading.custom_objects]

    @property
    def identifier(self) -> str:
        """File-safe name in stored paths; two readings of one file do not share it."""
        if self.stored_as is not None:
            return self.stored_as
        declared = {**self.parts()["reading"], **self.scale}
        mark = f"-{fingerprint(**declared)[:6]}" if declared else ""
        return self.checkpoint.identifier + mark

    @property
    def scale(self) -> dict[str, Any]:
        """The scale where it enters stored losses: discretised, or learned by the decoder.

        Of a gaussian squared errors are stored, from which any declared sigma's loss follows.
        """
        reading = self.reading
        enters = reading.likelihood == "discretized_logistic" or reading.sigma == "learned"
        return {"scale": reading.sigma} if enters else {}

    def parts(self) -> dict[str, Any]:
        """What moves a decoded image, for a fingerprint."""
        declared = self.reading.declared
        reading = {name: declared[name] for name in declared if name not in SCORING_FIELDS}
        if self.code:
            reading["code"] = list(self.code)
        return {"checkpoint": self.checkpoint.sha256, "reading": reading}
