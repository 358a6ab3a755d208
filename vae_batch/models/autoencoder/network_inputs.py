"""Where an encoder takes images, a decoder latents, and both of them labels; with a trial run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vae_batch.models.autoencoder.description import Context
from vae_batch.models.autoencoder.images import (
    ImageShape,
    find_layout,
    read_layout,
    with_free_sizes,
)
from vae_batch.models.autoencoder.labels import LabelInput, concatenated, list_ports, split_inputs
from vae_batch.models.autoencoder.network_runs import Trial
from vae_batch.models.autoencoder.vae import ImageInput, LatentInput
from vae_batch.models.autoencoder.value_range import encoder_range
from vae_batch.models.formats.format import Floats, Network, Port, PortShape, Shape
from vae_batch.models.sampling import standard_normals
from vae_batch.plan.errors import CheckpointError

_TRIAL_IMAGES = 2
_TRIAL_LATENTS = 64


def try_encoder(network: Network, context: Context, free: ImageShape) -> tuple[ImageInput, Trial]:
    """Find an encoder's input, and run it on a black and a white image."""
    source = find_image_input(network, context, free)
    images = np.zeros((_TRIAL_IMAGES, *source.layout.image_shape), np.float32)
    images[1] = 1.0
    arrays = source.arrays(images, context.trial_labels(_TRIAL_IMAGES), "0..1", "encoder")
    return source, Trial.of(network, "encoder", context.batch_size, arrays)


def try_decoder(
    network: Network, context: Context, heads: Sequence[Shape]
) -> tuple[LatentInput, Trial]:
    """Find a decoder's input, and run it; ``heads`` are the encoder's output shapes, if any."""
    source = _find_latent_input(network, context, heads)
    latents = trial_latents(source.shape)
    arrays = source.arrays(latents, context.trial_labels(len(latents)), "decoder")
    return source, Trial.of(network, "decoder", context.batch_size, arrays)


def trial_latents(shape: Shape) -> Floats:
    """(64, *shape): zeros, ones and standard normal latents, the same for every checkpoint."""
    latents = standard_normals(0, "latents", 0, _TRIAL_LATENTS, shape)
    latents[0], latents[1] = 0.0, 1.0
    return latents


def find_image_input(
    network: Network, context: Context, free: ImageShape, who: str = "encoder"
) -> ImageInput:
    """Where an encoder or a whole model takes images, and labels beside them.

    Free sizes of its input become ``free`` (H, W, C).
    """
    reference, fit = context.image_shape, context.reading.input_fit

    def fits(shape: PortShape) -> bool:
        return find_layout(shape, reference, any_size=fit is not None) is not None

    port, label = split_inputs(network.inputs, fits, context.labels, who, "images")
    shape = port.shape
    if label is None and not fits(shape):
        joined = concatenated(port, fits, context.labels)
        if joined is not None:
            shape, label = joined
    layout = read_layout(with_free_sizes(shape, free) or shape, reference, fit, f"the {who} takes")
    return ImageInput(layout, port, label, encoder_range(network, port))


def _find_latent_input(network: Network, context: Context, heads: Sequence[Shape]) -> LatentInput:

    def fits(shape: PortShape) -> bool:
        return not heads or _matching(shape, heads) is not None

    port, label = split_inputs(network.inputs, fits, context.labels, "decoder", "latents")
    for shape, joined in _possible_latents(port, label, context, bool(heads)):
        matched = _matching(shape, heads) if heads else _fixed(shape)
        if matched is not None:
            return LatentInput(matched, joined)
    if not heads:
        raise CheckpointError(
            f"expected a fixed shape of the decoder input, found {list_ports(network.inputs)}; "
            "save its encoder beside it, or the decoder with a fixed input shape"
        )
    conditional = (
        "; if the decoder takes labels too, score it against a reference with labels"
        if context.labels.classes is None
        else ""
    )
    raise CheckpointError(
        f"the encoder has outputs of shapes {list(heads)}, expected mean and log-variance (and "
        f"perhaps z), each of the decoder's input shape {port.shape}{conditional}"
    )


def _possible_latents(
    port: Port, label: LabelInput | None, context: Context, has_encoder: bool
) -> Iterator[tuple[PortShape, LabelInput | None]]:
    """Latent shapes that an input may have, the most likely first.

    Latents with labels joined to them come before plain ones where that is declared, after them
    beside an encoder, and not at all where nothing would distinguish the two.
    """
    joined = None if label else concatenated(port, lambda shape: True, context.labels)
    declared = context.labels.declared == "concatenated"
    if joined is not None and declared:
        yield joined
    yield port.shape, label
    if joined is not None and has_encoder and not declared:
        yield joined


def _matching(shape: PortShape, heads: Sequence[Shape]) -> Shape | None:
    """The latent shape that fits an input and the encoder's outputs."""
    for head in heads:
        if len(head) == len(shape) and all(
            size is None or size == wanted for size, wanted in zip(shape, head, strict=True)
        ):
            return head
    for head in heads:
        filled = tuple(h if s is None else s for s, h in zip(shape, head, strict=False))
        axis = packed_axis(head, filled) if len(head) == len(shape) else None
        if axis is not None and shape[axis] is not None:
            return filled
    return None


def packed_axis(shape: Sequence[int], latent: Sequence[int]) -> int | None:
    """The channels' axis, last or first, if a shape is the latent's with twice the channels."""
    for axis in (-1, 0):
        wide = list(latent)
        if wide:
            wide[axis] *= 2
        if latent and list(shape) == wide:
            return axis
    return None


def _fixed(shape: PortShape) -> Shape | None:
    known = tuple(size for size in shape if size is not None)
    return known if len(known) == len(shape) else None
