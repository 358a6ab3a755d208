"""An autoencoder that maps arrays to arrays, in batches of one fixed shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from vae_batch.metrics.likelihood.families import continuous_bernoulli_mean
from vae_batch.models.autoencoder.decoder_output import DecoderOutput
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.autoencoder.heads import WORDS, HeadRoles, to_logvar
from vae_batch.models.autoencoder.images import ImageFit, ImageLayout, Pixels, rescaled
from vae_batch.models.autoencoder.labels import LabelInput, checked_labels, numpy_dtype
from vae_batch.models.autoencoder.network_runs import in_batches, require_finite
from vae_batch.models.formats.format import Array, Floats, Network, Port, Shape, as_float32
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead, ValueRange

#: As keras.losses.binary_crossentropy clips.
PROBABILITY_CLIP = 1e-7


@dataclass(frozen=True)
class ImageInput:
    """Where a network takes images.

    Attributes:
        layout: Of the images.
        port: The input that takes them.
        label: Where labels go beside them, or None.
        value_range: In which the network takes them; None for the model's own.
    """

    layout: ImageLayout
    port: Port
    label: LabelInput | None
    value_range: ValueRange | None = None

    def arrays(
        self, images: Floats, labels: Array | None, present: ValueRange, who: str
    ) -> tuple[Array, ...]:
        """The network's inputs for (n, H, W, C) images in the range ``present``."""
        main = self.layout.to_network(rescaled(images, present, self.value_range or present))
        dtype = numpy_dtype(self.port)
        return _with_labels(
            main if dtype.kind == "f" else np.rint(main).astype(dtype), labels, self.label, who
        )


@dataclass(frozen=True)
class LatentInput:
    """Where a network takes latents.

    Attributes:
        shape: Of one latent sample.
        label: Where labels go beside it, or None.
    """

    shape: Shape
    label: LabelInput | None

    def arrays(self, latents: Floats, labels: Array | None, who: str) -> tuple[Array, ...]:
        """The network's inputs for (n, *shape) latents."""
        main = as_float32(latents).reshape(len(latents), *self.shape)
        return _with_labels(main, labels, self.label, who)


def _with_labels(
    main: Array, labels: Array | None, label: LabelInput | None, who: str
) -> tuple[Array, ...]:
    if label is None:
        return (main,)
    return label.join(main, checked_labels(labels, len(main), label, who))


@dataclass(frozen=True)
class EncoderHalf:
    """An encoder whose heads are known.

    Attributes:
        network: The network.
        input: Where it takes images.
        roles: Which output is which.
        second_head: What the second head holds, or None where there is none.
    """

    network: Network
    input: ImageInput
    roles: HeadRoles
    second_head: SecondHead | None

    def encode(
        self, images: Floats, labels: Array | None, present: ValueRange, batch_size: int
    ) -> tuple[Floats, Floats | None]:
        """Mean and log-variance of images in the range ``present``."""
        arrays = self.input.arrays(images, labels, present, "encoder")
        mean, second = self.roles.split(in_batches(self.network.run, batch_size, *arrays))
        require_finite(mean, "encoder's mean")
        if second is None or self.second_head is None:
            return mean, None
        require_finite(second, f"encoder's {WORDS[self.second_head]}")
        return mean, to_logvar(second, self.second_head)


@dataclass(frozen=True)
class DecoderHalf:
    """A decoder, or a whole autoencoder that takes images, whose output is known.

    Attributes:
        input: Of latents, or of images where the network is a whole autoencoder.
        output: The network that runs, and what it returns.
    """

    input: LatentInput | ImageInput
    output: DecoderOutput

    def decode(
        self, latents: Floats, labels: Array | None, present: ValueRange, batch_size: int
    ) -> tuple[Floats, Floats | None]:
        """(n, H, W, C) of the model, as ``output.kind`` says, and the log of its learned scale."""
        output, scale = self.output, self.output.scale
        if isinstance(self.input, ImageInput):
            arrays = self.input.arrays(latents, labels, present, "model")
        else:
            arrays = self.input.arrays(latents, labels, "decoder")
        wanted = [output.index] if scale is None else [output.index, scale.index]

        def run(*batch: Array) -> tuple[Array, ...]:
            outputs = output.network.run(*batch)
            return tuple(outputs[place] for place in wanted)

        images, *scales = in_batches(run, batch_size, *arrays)
        require_finite(images, "decoder")
        log_scale = scale.log_scale(scales[0], output.layout) if scale else None
        return output.layout.from_network(images), log_scale


@dataclass(frozen=True)
class Decoded:
    """What a decoder returned.

    Attributes:
        images: (n, *image_shape) float32, as ``description.output`` says.
        log_scale: (n, *image_shape) log standard deviation, where the decoder has learned one.
    """

    images: Floats
    log_scale: Floats | None = None


@dataclass(frozen=True)
class Autoencoder:
    """A checkpoint's encoder and decoder; :func:`~.assemble.assemble` makes it.

    Labels are (n,) integer classes from 0. A half that takes none ignores them.

    Attributes:
        description: What the checkpoint is, and what it lacks.
        fit: Converts between the reference's images and the model's.
        encoder: None where it is missing or out of reach.
        decoder: None where it is missing.
        batch_size: Rows per batch; the last batch is padded, so that a row's bits do not depend
            on the number of rows beside it.
        latent_scale: Latents here are the networks' own, less ``latent_shift``, times this.
        latent_shift: See ``latent_scale``.
    """

    description: Description
    fit: ImageFit
    encoder: EncoderHalf | None
    decoder: DecoderHalf | None
    batch_size: int
    latent_scale: float = 1.0
    latent_shift: float = 0.0

    @property
    def latent_shape(self) -> Shape:
        """Of one latent sample."""
        return self.description.latent_shape

    @property
    def takes_labels(self) -> bool:
        """Whether the encoder or the decoder takes labels."""
        return self.description.condition is not None

    def to_model(self, pixels: Pixels) -> Floats:
        """(n, H, W, C) uint8 of the reference as (n, *image_shape) float32 in the model's range."""
        return self.fit.to_model(pixels)

    def encode(self, images: Floats, labels: Array | None = None) -> tuple[Floats, Floats | None]:
        """Posterior of images; for a network of images to images, the images themselves.

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
            mean, logvar = self.encoder.encode(images, labels, present, self.batch_size)
            if not self._has_own_latents:
                scaled = (mean.astype(np.float64) - self.latent_shift) * self.latent_scale
                mean = scaled.astype(np.float32)
                if logvar is not None:
                    wider = logvar.astype(np.float64) + 2 * math.log(self.latent_scale)
                    logvar = wider.astype(np.float32)
            return mean, logvar
        if self.decoder is not None and isinstance(self.decoder.input, ImageInput):
            return images, None
        raise CheckpointError(self.description.missing["encoder"])

    def decode(self, latents: Floats, labels: Array | None = None) -> Floats:
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

    def decode_with_scale(self, latents: Floats, labels: Array | None = None) -> Decoded:
        """As ``decode``, with the scale of each pixel where the decoder has learned one."""
        if self.decoder is None:
            raise CheckpointError(self.description.missing["decoder"])
        present = self.fit.value_range
        if not self._has_own_latents:
            own = latents.astype(np.float64) / self.latent_scale + self.latent_shift
            latents = own.astype(np.float32)
        return Decoded(*self.decoder.decode(latents, labels, present, self.batch_size))

    @property
    def _has_own_latents(self) -> bool:
        """Whether latents are those of the networks, as no scale and shift are declared."""
        return self.latent_scale == 1.0 and self.latent_shift == 0.0

    def to_means(self, decoded: Floats) -> Floats:
        """Decoder means in the model's value range, from what ``decode`` returned."""
        if self.description.likelihood == "continuous_bernoulli":
            return continuous_bernoulli_mean(self.to_logits(decoded)).astype(np.float32)
        means: Floats = expit(decoded) if self.description.output == "logits" else decoded
        return means

    def to_logits(self, decoded: Floats) -> Floats:
        """Logits from what a Bernoulli decoder returned; probabilities are clipped at 1e-7."""
        if self.description.output == "logits":
            return decoded
        inside = np.clip(decoded.astype(np.float64), PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
        logits: Floats = logit(inside).astype(np.float32)
        return logits

    def pictures(self, latents: Array, labels: Array | None = None) -> Pixels:
        """Decoded latents as (n, H, W, C) uint8 of the reference's size."""
        return self.to_pictures(self.decode(as_float32(latents), labels))

    def to_pictures(self, decoded: Floats) -> Pixels:
        """What ``decode`` returned as (n, H, W, C) uint8 of the reference's size."""
        return self.fit.to_pictures(self.to_means(decoded))
