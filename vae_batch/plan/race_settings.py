"""How a race between checkpoints is run: the spec's key ``race``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vae_batch.metrics.catalogue import metric_for
from vae_batch.plan.shards import MOST_SAMPLES


class RaceSettings(BaseModel):
    """A race: rounds over growing prefixes of the same samples; after each the worse ones leave."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str = Field(
        description="Checkpoints are compared by it; of several extractors the first one measures."
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Probability that the truly best checkpoint leaves, over the whole race.",
    )
    first: int = Field(
        512,
        ge=2,
        le=MOST_SAMPLES,
        description="Samples (images, for losses) at the first look, in whole shards; at least.",
    )
    growth: float = Field(
        2.0, gt=1, le=MOST_SAMPLES, description="Factor of the samples from look to look."
    )
    max: int | None = Field(
        None,
        ge=2,
        le=MOST_SAMPLES,
        description="Samples at the last look (default: all); who is still in the race then is "
        "scored in full.",
    )
    rare: float = Field(
        0.002,
        ge=0,
        lt=1,
        description="Share of images that may carry all of a checkpoint's advantage; 0 for none. "
        "Nobody leaves before about 6 / rare samples, by which such images have been seen.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_metric_alone(cls, value: object) -> object:
        return {"metric": value} if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _races_by_what_is_compared(cls, value: str) -> str:
        """``fid`` becomes ``fid_corrected``, which stands for it in every comparison."""
        return metric_for(value, "race").column

    @model_validator(mode="after")
    def _the_last_is_not_before_the_first(self) -> RaceSettings:
        if self.max is not None and self.max < self.first:
            raise ValueError(
                f"max is {self.max}, below first, {self.first}: the last look is not before the "
                "first one"
            )
        return self
