"""A decoder's input: where latents go in, of which shape, and labels beside or behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.models.autoencoder.encoder_reading import is_packed
from vae_batch.models.autoencoder.halves import LatentInput
from vae_batch.models.autoencoder.labels import (
    LabelInput,
    PortShape,
    concatenated,
    list_ports,
    split_inputs,
)
from vae_batch.models.autoencoder.network_runs import Trial
from vae_batch.models.autoencoder.reading_context import Terms
from vae_batch.models.formats.network import Network, Port
from vae_batch.models.sampling import standard_normals
from vae_batch.plan.errors import CheckpointError

#: Latents of a trial: zeros, ones, and draws from the prior.
_TRIAL_ROWS = 64

Shape = tuple[int, ...]


@dataclass(frozen=True)
class DecoderTrial:
    """A decoder whose input is known, and what it gave on a few latents."""

    input: LatentInput
    trial: Trial


def try_decoder(network: Network, terms: Terms, heads: Sequence[Shape]) -> DecoderTrial:
    """Read a decoder's input and run it.

    Args:
      network: The decoder.
      terms: Of the reading.
      heads: Shapes of the encoder's outputs; none for a decoder alone.

    Raises:
      CheckpointError: The latent's shape cannot be told, it is none of the encoder's, or the
        decoder cannot be run.
    """
    source = read_latent_input(network, terms, heads)
    latents = trial_latents(source.shape)
    labels = np.arange(len(latents)) % (terms.labels.classes or 1)
    arrays = source.arrays(latents, labels, "decoder")
    return DecoderTrial(source, Trial.of(network, "decoder", terms.batch_size, arrays))


def trial_latents(shape: Shape) -> np.ndarray:
    """Zeros, ones and standard normal latents, the same for every checkpoint."""
    latents = standard_normals(0, "latents", 0, _TRIAL_ROWS, shape)
    latents[0], latents[1] = 0.0, 1.0
    return latents


def read_latent_input(network: Network, terms: Terms, heads: Sequence[Shape]) -> LatentInput:
    """Where a decoder takes latents, and labels beside or behind them.

    Raises:
      CheckpointError: The latent's shape cannot be told, or is none of the encoder's.
    """

    def fits(shape: PortShape) -> bool:
        return not heads or _matching(shape, heads) is not None

    port, label = split_inputs(network.inputs, fits, terms.labels, "decoder", "latents")
    for shape, joined in _readings(port, label, terms, bool(heads)):
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
        if terms.labels.classes is None
        else ""
    )
    raise CheckpointError(
        f"the encoder has outputs of shapes {list(heads)}, expected mean and log-variance (and "
        f"perhaps z), each of the decoder's input shape {port.shape}{conditional}"
    )


def _readings(
    port: Port, label: LabelInput | None, terms: Terms, has_encoder: bool
) -> Iterator[tuple[PortShape, LabelInput | None]]:
    """Latent shapes that a port may have, the most likely first.

    Latents with labels behind them are tried before plain ones where that is declared, after
    them beside an encoder, and not at all where nothing would tell the two apart.
    """
    behind = None if label else concatenated(port, lambda shape: True, terms.labels)
    declared = terms.labels.declared == "concatenated"
    if behind is not None and declared:
        yield behind
    yield port.shape, label
    if behind is not None and has_encoder and not declared:
        yield behind


def _matching(shape: PortShape, heads: Sequence[Shape]) -> Shape | None:
    """The latent shape that a port and the encoder's outputs agree on."""
    for head in heads:
        if len(head) == len(shape) and all(
            size is None or size == wanted for size, wanted in zip(shape, head, strict=True)
        ):
            return head
    for head in heads:
        filled = tuple(h if s is None else s for s, h in zip(shape, head, strict=False))
        if len(head) == len(shape) and shape[-1] is not None and is_packed(head, filled):
            return filled
    return None


def _fixed(shape: PortShape) -> Shape | None:
    known = tuple(size for size in shape if size is not None)
    return known if len(known) == len(shape) else None
