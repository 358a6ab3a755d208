"""An encoder's input and outputs: where images and labels go in, which heads come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_batch.models.autoencoder.halves import ImageInput
from vae_batch.models.autoencoder.head_names import read_head_name
from vae_batch.models.autoencoder.heads import HeadRoles, assign_roles, output_name
from vae_batch.models.autoencoder.images import (
    ImageFit,
    ImageShape,
    PortShape,
    find_layout,
    read_layout,
    with_free_sizes,
)
from vae_batch.models.autoencoder.labels import concatenated, list_ports, split_inputs
from vae_batch.models.autoencoder.network_runs import (
    Outputs,
    Trial,
    floats,
    in_batches,
    require_finite,
)
from vae_batch.models.autoencoder.reading_context import PROBE_IMAGES, Findings, Terms
from vae_batch.models.autoencoder.second_head import DRAWS, HeadValues, decide_kind, row_to_draw
from vae_batch.models.autoencoder.value_range import encoder_range
from vae_batch.models.formats.network import Network
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead

_TRIAL_ROWS = 2


@dataclass(frozen=True)
class EncoderTrial:
    """An encoder whose input is known, and what it gave on a few images."""

    input: ImageInput
    trial: Trial

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its outputs, without the batch axis."""
        return [output.shape[1:] for output in self.trial.outputs]


def read_image_input(
    network: Network, terms: Terms, free: ImageShape, who: str = "encoder"
) -> ImageInput:
    """Where a network takes images, and labels beside them.

    Args:
      network: An encoder, or a whole autoencoder.
      terms: Of the reading.
      free: (H, W, C) that free sizes of its input become.
      who: ``encoder`` or ``model``, for messages.

    Raises:
      CheckpointError: It takes no images like the reference's, or labels that cannot be given.
    """
    reference, fit = terms.image_shape, terms.reading.input_fit

    def fits(shape: PortShape) -> bool:
        return find_layout(shape, reference, any_size=fit is not None) is not None

    port, label = split_inputs(network.inputs, fits, terms.labels, who, "images")
    shape = port.shape
    if label is None and not fits(shape):
        joined = concatenated(port, fits, terms.labels)
        if joined is not None:
            shape, label = joined
    layout = read_layout(with_free_sizes(shape, free) or shape, reference, fit, f"the {who} takes")
    return ImageInput(layout, port, label, encoder_range(network, port))


def try_encoder(network: Network, terms: Terms, free: ImageShape) -> EncoderTrial:
    """Read an encoder's input and run it.

    Raises:
      CheckpointError: It takes no such images, or cannot be run.
    """
    source = read_image_input(network, terms, free)
    images = np.zeros((_TRIAL_ROWS, *source.layout.image_shape), np.float32)
    images[1] = 1.0
    labels = np.arange(_TRIAL_ROWS) % (terms.labels.classes or 1)
    arrays = source.arrays(images, labels, "0..1", "encoder")
    return EncoderTrial(source, Trial.of(network, "encoder", terms.batch_size, arrays))


def read_heads(
    encoder: EncoderTrial, latent_shape: tuple[int, ...] | None, findings: Findings
) -> HeadRoles | None:
    """Roles of an encoder's outputs, or None where it gives nothing but a drawn z.

    Args:
      encoder: That was tried.
      latent_shape: That the decoder takes; None for an encoder alone.
      findings: Get what is missing.

    Raises:
      CheckpointError: The heads cannot be told.
    """
    names = [port.name for port in encoder.trial.network.outputs]
    shapes, random = encoder.shapes, encoder.trial.random
    wanted = latent_shape or _common_shape(names, shapes)
    heads = [i for i, shape in enumerate(shapes) if shape == wanted]
    if not heads and wanted is not None:
        packed = [i for i, shape in enumerate(shapes) if is_packed(shape, wanted)]
        if len(packed) == 1 and not random[packed[0]]:
            how = f"output {names[packed[0]]!r} has twice the latent's channels: mean, second head"
            findings.decide("posterior", "mean and second head in one output", how)
            return HeadRoles(packed[0], packed=True, how=how)
    if len(heads) > 3:
        heads = [i for i in heads if read_head_name(names[i]).role is not None]
    lost = any(read_head_name(n).role == "second" for i, n in enumerate(names) if i not in heads)
    if not 1 <= len(heads) <= 3 or (len(heads) == 1 and lost):
        raise CheckpointError(
            f"the encoder has outputs of shapes {shapes}, expected mean and log-variance (and "
            f"perhaps z), each of the decoder's input shape {latent_shape}"
            if latent_shape is not None
            else f"the encoder has the outputs {list_ports(encoder.trial.network.outputs)}, "
            "expected mean and log-variance (and perhaps z) of one shape"
        )
    if len(heads) == 1:
        return _single_head(heads[0], names, random, encoder.trial.network.replaced, findings)
    roles = assign_roles(
        [names[i] for i in heads],
        [encoder.trial.outputs[i] for i in heads],
        [random[i] for i in heads],
    )
    findings.decide("posterior", _said(roles, [names[i] for i in heads]), roles.how)
    if not roles.has_second:
        findings.missing["posterior"] = (
            "the encoder gives a mean and a drawn z, but no log-variance; save it with the "
            "outputs [mean, log-variance]"
        )
    return HeadRoles(
        heads[roles.mean],
        None if roles.second is None else heads[roles.second],
        None if roles.z is None else heads[roles.z],
        how=roles.how,
    )


def read_second_head(
    encoder: EncoderTrial, roles: HeadRoles, fit: ImageFit, terms: Terms, findings: Findings
) -> SecondHead:
    """What the second head is.

    Raises:
      CheckpointError: It cannot be told; asks for a declaration.
    """
    declared = terms.reading.second_head
    replaced = encoder.trial.network.replaced
    no_draws = "no draws of z to compare with"
    if replaced:
        no_draws += f": layer {replaced[0]!r} is replaced by its mean"
    name = output_name([port.name for port in encoder.trial.network.outputs], roles)
    values = _probe(encoder, roles, fit, terms)
    kind, decision, warnings = decide_kind(name, values, declared, no_draws)
    findings.decisions.append(decision)
    findings.warnings.extend(warnings)
    return kind


def is_packed(shape: Sequence[int | None], latent: Sequence[int | None]) -> bool:
    """Whether a shape is the latent's with twice the channels."""
    if len(shape) != len(latent) or not latent or latent[-1] is None:
        return False
    return tuple(shape[:-1]) == tuple(latent[:-1]) and shape[-1] == 2 * latent[-1]


def _probe(encoder: EncoderTrial, roles: HeadRoles, fit: ImageFit, terms: Terms) -> HeadValues:
    """The heads on reference images and noise, and draws for one of these inputs."""
    pixels, labels = terms.probe_images(PROBE_IMAGES)
    network = encoder.trial.network
    z = roles.z if roles.z is not None and encoder.trial.random[roles.z] else None

    def run(batch: np.ndarray, batch_labels: np.ndarray) -> Outputs:
        images = fit.to_model(batch)
        arrays = encoder.input.arrays(images, batch_labels, fit.value_range, "encoder")
        outputs = floats(network, *arrays)
        mean, second = roles.split(outputs)
        return (mean, mean if second is None else second, *(() if z is None else (outputs[z],)))

    mean, second, *_ = in_batches(run, terms.batch_size, pixels, labels)
    require_finite(mean, "encoder's mean")
    require_finite(second, "encoder's second head")
    if z is None:
        return HeadValues(mean, second)
    row = row_to_draw(second)
    same = np.repeat(pixels[row : row + 1], DRAWS, axis=0), np.repeat(labels[row], DRAWS)
    draws = in_batches(run, terms.batch_size, *same)[2]
    return HeadValues(mean, second, draws, row)


def _common_shape(
    names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The heads' shape of an encoder alone: the mean's by name, else the one that repeats."""
    means = {
        shape
        for name, shape in zip(names, shapes, strict=True)
        if read_head_name(name).role == "mean"
    }
    repeated = {shape for shape in shapes if shapes.count(shape) > 1}
    for found in (means, repeated):
        if len(found) == 1:
            return found.pop()
    return shapes[0] if len(shapes) == 1 else None


def _single_head(
    index: int,
    names: Sequence[str],
    random: Sequence[bool],
    replaced: Sequence[str],
    findings: Findings,
) -> HeadRoles | None:
    """A plain autoencoder's code, or the z of a VAE without its posterior."""
    remedy = "save the encoder with the outputs [mean, log-variance]"
    if random[index]:
        findings.missing["encoder"] = findings.missing["posterior"] = (
            f"the encoder gives nothing but {names[index]!r}, which is drawn; {remedy}"
        )
        return None
    if replaced:
        how = f"layer {replaced[0]!r}, which draws z, is replaced by its mean"
        findings.decide("posterior", f"mean is {names[index]!r}", how)
        findings.missing["posterior"] = (
            f"the encoder gives z alone, here its mean, and no log-variance; {remedy}"
        )
        return HeadRoles(index, how=how)
    how = "the encoder has one output of the latent's shape"
    findings.decide("posterior", f"none: {names[index]!r} is a plain autoencoder's code", how)
    findings.missing["posterior"] = (
        "a plain autoencoder: its encoder has one output, so there is no posterior"
    )
    return HeadRoles(index, how=how)


def _said(roles: HeadRoles, names: Sequence[str]) -> str:
    places = {"mean": roles.mean, "second head": roles.second, "z": roles.z}
    return ", ".join(f"{role} is {names[i]!r}" for role, i in places.items() if i is not None)
