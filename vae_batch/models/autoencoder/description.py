"""What a checkpoint was found to be: decided how, lacking what; plain values, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vae_batch.plan.reading import InputFit, Likelihood, SecondHead, ValueRange

Need = Literal["encoder", "decoder", "posterior", "prior"]
OutputKind = Literal["logits", "probabilities", "mean"]


@dataclass(frozen=True)
class Decision:
    """One thing that a checkpoint's files leave open, and how it was settled.

    Attributes:
      subject: Such as ``second head``.
      verdict: Such as ``log-variance``.
      how: Declared, or read from which names, shapes or probes.
    """

    subject: str
    verdict: str
    how: str


@dataclass(frozen=True)
class Description:
    """What a checkpoint is, as far as scoring it asks.

    Attributes:
      format: Of its files, as the score table names it.
      latent_shape: Of one latent sample.
      image_shape: (H, W, C) of the model's own images, which may be larger than the reference's.
      value_range: Black and white of the model's images.
      likelihood: p(x|z), or None where there is no decoder.
      output: What ``decode`` returns, or None where there is no decoder.
      second_head: What the encoder gave beside the mean, or None where it gave nothing.
      condition: How labels are taken, such as ``one-hot labels, 10 classes``; None without any.
      input_fit: How reference images became the model's size, or None where they had it.
      missing: What the checkpoint lacks, each with the reason in a sentence.
      decisions: What was settled and how.
      warnings: Sentences for the user; none of them stops the scoring.
    """

    format: str
    latent_shape: tuple[int, ...]
    image_shape: tuple[int, int, int]
    value_range: ValueRange
    likelihood: Likelihood | None
    output: OutputKind | None
    second_head: SecondHead | None
    condition: str | None
    input_fit: InputFit | None
    missing: dict[Need, str] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """UTF-8 JSON; the same description gives the same bytes."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Description:
        """The description that ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(content)
        decisions = tuple(Decision(**decision) for decision in values.pop("decisions"))
        for name in ("latent_shape", "image_shape", "warnings"):
            values[name] = tuple(values[name])
        return cls(**values, decisions=decisions)
