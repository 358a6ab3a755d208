"""How a race between checkpoints is run: the spec's key ``race``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vae_batch.metrics.catalogue import metric_for
from vae_batch.plan.shards import MOST_SAMPLES


class RaceSettings(BaseModel):
    """A race: rounds over growing prefixes of the same samples, after which the worse ones leave.

    Attributes:
        metric: Checkpoints are compared by; of several extractors the first one measures it.
        alpha: Probability that the truly best checkpoint leaves, over the whole race.
        first: Samples (images, for losses) at the first look.
        growth: Factor from look to look.
        max: Samples at the last look; None for all. Those still in the race then are scored in
            full.
        rare: Share of images that may carry all of a checkpoint's advantage. Nobody leaves before
            such images would have been seen, which takes about 6 / rare of them; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    alpha: float = Field(0.05, gt=0, lt=1)
    first: int = Field(512, ge=2, le=MOST_SAMPLES)
    growth: float = Field(2.0, gt=1, le=MOST_SAMPLES)
    max: int | None = Field(None, ge=2, le=MOST_SAMPLES)
    rare: float = Field(0.002, ge=0, lt=1)

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
