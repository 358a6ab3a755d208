"""Under which terms a checkpoint's networks are read, and what reading them has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import Decision, Need
from vae_batch.models.autoencoder.images import ImageShape
from vae_batch.models.autoencoder.labels import LabelTerms
from vae_batch.plan.reading import Reading

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[Any]

#: Images that an encoder is probed with.
PROBE_IMAGES = 256
_NOISE_KEY = 0x70726F6265  # any fixed key: the probe is the same for every checkpoint


@dataclass(frozen=True)
class Terms:
    """What is given from outside.

    Attributes:
      reading: What was declared of the checkpoint.
      image_shape: (H, W, C) of the reference images.
      labels: What is known of labels.
      batch_size: Rows a batch.
      pixels: (n, H, W, C) uint8 reference images to probe with, or None.
      pixel_labels: (n,) their classes, or None.
    """

    reading: Reading
    image_shape: ImageShape
    labels: LabelTerms
    batch_size: int
    pixels: Pixels | None
    pixel_labels: Labels | None

    def probe_images(self, count: int) -> tuple[Pixels, Labels]:
        """Images and labels to run an encoder on: reference images in one half, noise in the other.

        Args:
          count: Of images.
        """
        noise = noise_images(count, self.image_shape)
        labels = np.arange(count) % (self.labels.classes or 1)
        if self.pixels is not None:
            known = min(len(self.pixels), count // 2)
            noise[:known] = self.pixels[:known]
            if self.pixel_labels is not None:
                labels[:known] = self.pixel_labels[:known]
        return noise, labels


@dataclass
class Findings:
    """What reading a checkpoint has found so far."""

    decisions: list[Decision] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: dict[Need, str] = field(default_factory=dict)

    def decide(self, subject: str, verdict: str, how: str) -> None:
        """Note a decision."""
        self.decisions.append(Decision(subject, verdict, how))


def noise_images(count: int, shape: ImageShape) -> Pixels:
    """(count, *shape) uniform pixels, always the same: NumPy keeps a generator's raw words."""
    pixels = count * int(np.prod(shape))
    words = np.random.Philox(key=[_NOISE_KEY, 0]).random_raw(-(-pixels // 8))
    return words.astype("<u8").view(np.uint8)[:pixels].reshape(count, *shape).copy()
