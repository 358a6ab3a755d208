"""An autoencoder as the job sees it: arrays in, arrays out, in batches of one fixed shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from vae_batch.metrics.likelihood.families import continuous_bernoulli_mean
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.autoencoder.halves import DecoderHalf, EncoderHalf, ImageInput
from vae_batch.models.autoencoder.images import ImageFit
from vae_batch.plan.errors import CheckpointError

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[Any]

#: As keras.losses.binary_crossentropy clips.
PROBABILITY_CLIP = 1e-7


@dataclass(frozen=True)
class Decoded:
    """What a decoder gave.

    Attributes:
      images: (n, *image_shape) float32, as ``description.output`` says.
      log_scale: (n, *image_shape) log standard deviation, where the decoder has learned one.
    """

    images: Floats
    log_scale: Floats | None = None


@dataclass(frozen=True)
class Autoencoder:
    """A checkpoint's encoder and decoder; make it with :func:`~.assemble.assemble`.

    Labels are (n,) integer classes from 0. A part that takes none ignores them.

    Attributes:
      description: What the checkpoint is, and what it lacks.
      fit: Between the reference's images and the model's.
      encoder: None where it is missing, or cannot be reached.
      decoder: None where it is missing.
      batch_size: Rows a batch; the last batch is padded, so that a row's bits do not depend on
        the number of its neighbours.
    """

    description: Description
    fit: ImageFit
    encoder: EncoderHalf | None
    decoder: DecoderHalf | None
    batch_size: int

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one latent sample."""
        return self.description.latent_shape

    @property
    def takes_labels(self) -> bool:
        """Whether the encoder or the decoder takes labels."""
        return self.description.condition is not None

    def to_model(self, pixels: Pixels) -> Floats:
        """Reference images in the model's size and value range.

        Args:
          pixels: (n, H, W, C) uint8 of the reference's size.

        Returns:
          (n, *image_shape) float32.
        """
        return self.fit.to_model(pixels)

    def encode(self, images: Floats, labels: Labels | None = None) -> tuple[Floats, Floats | None]:
        """Posterior of images.

        A network of images to images keeps its code to itself; here images stand for it.

        Args:
          images: (n, *image_shape) in the model's value range.
          labels: Of the images; needed where the encoder takes labels.

        Returns:
          Mean and log-variance, (n, *latent_shape) float32; the latter is None for a plain
          autoencoder.

        Raises:
          CheckpointError: There is no encoder, labels are missing, or a value is not finite.
        """
        if self.encoder is not None:
            present = self.fit.value_range
            return self.encoder.encode(images, labels, present, self.batch_size)
        if self.decoder is not None and isinstance(self.decoder.input, ImageInput):
            return images, None
        raise CheckpointError(self.description.missing["encoder"])

    def decode(self, latents: Floats, labels: Labels | None = None) -> Floats:
        """Images of latents.

        Args:
          latents: (n, *latent_shape).
          labels: Needed where the decoder takes labels.

        Returns:
          (n, *image_shape) float32, as ``description.output`` says.

        Raises:
          CheckpointError: There is no decoder, labels are missing, or a value is not finite.
        """
        return self.decode_with_scale(latents, labels).images

    def decode_with_scale(self, latents: Floats, labels: Labels | None = None) -> Decoded:
        """As ``decode``, with the scale of each pixel where the decoder has learned one."""
        if self.decoder is None:
            raise CheckpointError(self.description.missing["decoder"])
        present = self.fit.value_range
        return Decoded(*self.decoder.decode(latents, labels, present, self.batch_size))

    def to_means(self, decoded: Floats) -> Floats:
        """Decoder means in the model's value range, from what ``decode`` returned."""
        if self.description.likelihood == "continuous_bernoulli":
            return continuous_bernoulli_mean(self.to_logits(decoded)).astype(np.float32)
        return expit(decoded) if self.description.output == "logits" else decoded

    def to_logits(self, decoded: Floats) -> Floats:
        """Logits from what a Bernoulli decoder returned; probabilities are clipped at 1e-7."""
        if self.description.output == "logits":
            return decoded
        inside = np.clip(decoded.astype(np.float64), PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
        return logit(inside).astype(np.float32)

    def to_pictures(self, decoded: Floats) -> Pixels:
        """What ``decode`` returned as (n, H, W, C) uint8 of the reference's size."""
        return self.fit.to_pictures(self.to_means(decoded))
