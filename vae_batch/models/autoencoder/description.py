"""What a checkpoint was found to be, and the context in which that is decided."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.images import ImageShape, Pixels
from vae_batch.models.autoencoder.labels import LabelInfo
from vae_batch.models.formats.format import Array
from vae_batch.plan.reading import InputFit, Likelihood, Reading, SecondHead, ValueRange
from vae_batch.storage.checked_json import parse_as

Need = Literal["encoder", "decoder", "posterior", "prior", "latents", "pixels"]
OutputKind = Literal["logits", "probabilities", "mean"]

_NOISE_KEY = 0x70726F6265  # any fixed key: all checkpoints are probed with the same noise


@dataclass(frozen=True)
class Decision:
    """One thing that a checkpoint's files leave open, and how it was decided.

    Attributes:
        subject: Such as ``second head``.
        verdict: Such as ``log-variance``.
        how: Declared, or inferred from which names, shapes or probes.
    """

    subject: str
    verdict: str
    how: str


@dataclass(frozen=True)
class Description:
    """What a checkpoint is, as far as scoring needs to know; stored as JSON.

    Attributes:
        format: Of its files, as the score table names it.
        latent_shape: Of one latent sample.
        image_shape: (H, W, C) of the model's own images, which may be larger than the reference's.
        value_range: Black and white of the model's images.
        likelihood: p(x|z), or None where there is no decoder.
        output: What ``decode`` returns, or None where there is no decoder.
        second_head: What the encoder returns beside the mean, or None for nothing.
        condition: How labels are given, such as ``one-hot labels, 10 classes``; None without any.
        input_fit: How reference images became the model's size, or None where they had it.
        missing: What the checkpoint lacks, each with the reason in a sentence.
        decisions: What was decided, and how.
        warnings: Sentences for the user; none of them stops the scoring.
    """

    format: str
    latent_shape: tuple[int, ...]
    image_shape: ImageShape
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
        """The description that ``to_json`` wrote.

        Raises:
            ValueError: It is none.
        """
        return parse_as(cls, content)


@dataclass
class Context:
    """What is known about a checkpoint beforehand, and what has been decided about it so far.

    Attributes:
        reading: What the user declared.
        image_shape: (H, W, C) of the reference images.
        labels: What is known about labels.
        batch_size: Rows per batch.
        pixels: (n, H, W, C) uint8 reference images to probe with, or None.
        pixel_labels: (n,) their classes, or None.
        decisions: As in ``Description``, like the two that follow.
        warnings: Sentences for the user.
        missing: What the checkpoint lacks, with reasons.
    """

    reading: Reading
    image_shape: ImageShape
    labels: LabelInfo
    batch_size: int
    pixels: Pixels | None = None
    pixel_labels: Array | None = None
    decisions: list[Decision] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: dict[Need, str] = field(default_factory=dict)

    def decide(self, subject: str, verdict: str, how: str) -> None:
        """Record a decision."""
        self.decisions.append(Decision(subject, verdict, how))

    def trial_labels(self, count: int) -> npt.NDArray[np.int64]:
        """(count,) labels that run through all classes; zeros without classes."""
        return np.arange(count) % (self.labels.classes or 1)

    def probe_images(self, count: int) -> tuple[Pixels, Array]:
        """(count, H, W, C) images and their labels: half reference images, half noise."""
        images, labels = noise_images(count, self.image_shape), self.trial_labels(count)
        if self.pixels is not None:
            known = min(len(self.pixels), count // 2)
            images[:known] = self.pixels[:known]
            if self.pixel_labels is not None:
                labels[:known] = self.pixel_labels[:known]
        return images, labels


def noise_images(count: int, shape: ImageShape) -> Pixels:
    """(count, *shape) uniform uint8 noise, always the same.

    It is made of raw Philox words, which NumPy promises to keep across versions.
    """
    pixels = count * int(np.prod(shape))
    words = np.random.Philox(key=[_NOISE_KEY, 0]).random_raw(-(-pixels // 8))
    return words.astype("<u8").view(np.uint8)[:pixels].reshape(count, *shape).copy()
