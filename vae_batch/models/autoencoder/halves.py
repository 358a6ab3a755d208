"""The two halves of an autoencoder as arrays: what goes in, what comes out, in fixed batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import OutputKind
from vae_batch.models.autoencoder.heads import PosteriorHeads
from vae_batch.models.autoencoder.images import ImageLayout, rescaled
from vae_batch.models.autoencoder.labels import LabelInput, checked_labels, numpy_dtype
from vae_batch.models.autoencoder.learned_scale import LearnedScale
from vae_batch.models.autoencoder.network_runs import in_batches, require_finite
from vae_batch.models.formats.network import Network, Port, as_float32
from vae_batch.plan.reading import ValueRange

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageInput:
    """Where a network takes images.

    Attributes:
      layout: Of the images.
      port: That takes them.
      label: Where labels go beside them, or None.
      value_range: That the network wants them in; None for the model's own.
    """

    layout: ImageLayout
    port: Port
    label: LabelInput | None
    value_range: ValueRange | None = None

    def arrays(
        self, images: Floats, labels: Array | None, present: ValueRange, who: str
    ) -> tuple[Array, ...]:
        """The network's inputs of (n, H, W, C) images whose range is ``present``."""
        laid_out = self.layout.to_network(rescaled(images, present, self.value_range or present))
        dtype = numpy_dtype(self.port)
        main = laid_out if dtype.kind == "f" else np.rint(laid_out).astype(dtype)
        return _with_labels(main, labels, self.label, who)


@dataclass(frozen=True)
class LatentInput:
    """Where a network takes latents.

    Attributes:
      shape: Of one latent sample.
      label: Where labels go beside it, or None.
    """

    shape: tuple[int, ...]
    label: LabelInput | None

    def arrays(self, latents: Floats, labels: Array | None, who: str) -> tuple[Array, ...]:
        """The network's inputs of (n, *shape) latents."""
        main = as_float32(latents).reshape(len(latents), *self.shape)
        return _with_labels(main, labels, self.label, who)


@dataclass(frozen=True)
class EncoderHalf:
    """An encoder whose heads are known."""

    network: Network
    input: ImageInput
    heads: PosteriorHeads

    def encode(
        self, images: Floats, labels: Array | None, present: ValueRange, batch_size: int
    ) -> tuple[Floats, Floats | None]:
        """Mean and log-variance of images in the range ``present``.

        Raises:
          CheckpointError: A head gives a non-finite value, or a standard deviation that is none.
        """
        arrays = self.input.arrays(images, labels, present, "encoder")
        outputs = in_batches(self.network.run, batch_size, *arrays)
        return self.heads.posterior(outputs)


@dataclass(frozen=True)
class DecoderHalf:
    """A decoder, or a whole autoencoder that takes images, whose output is known.

    Attributes:
      network: That is run; for logits the one without its final sigmoid.
      input: Of latents, or of images where the network is a whole autoencoder.
      output: Place of the images among the network's outputs.
      layout: Of the images.
      kind: What they are.
      scale: Where their learned scale is, or None.
    """

    network: Network
    input: LatentInput | ImageInput
    output: int
    layout: ImageLayout
    kind: OutputKind
    scale: LearnedScale | None = None

    def decode(
        self, latents: Floats, labels: Array | None, present: ValueRange, batch_size: int
    ) -> tuple[Floats, Floats | None]:
        """(n, H, W, C) of the model, as ``kind`` says, and the log of its learned scale.

        Raises:
          CheckpointError: The decoder gives a non-finite value.
        """
        if isinstance(self.input, ImageInput):
            arrays = self.input.arrays(latents, labels, present, "model")
        else:
            arrays = self.input.arrays(latents, labels, "decoder")
        wanted = [self.output] if self.scale is None else [self.output, self.scale.index]

        def run(*batch: Array) -> tuple[Array, ...]:
            outputs = self.network.run(*batch)
            return tuple(outputs[place] for place in wanted)

        images, *scales = in_batches(run, batch_size, *arrays)
        require_finite(images, "decoder")
        log_scale = self.scale.log_scale(scales[0], self.layout) if self.scale else None
        return self.layout.from_network(images), log_scale


def _with_labels(
    main: Array, labels: Array | None, label: LabelInput | None, who: str
) -> tuple[Array, ...]:
    if label is None:
        return (main,)
    return label.join(main, checked_labels(labels, len(main), label, who))
