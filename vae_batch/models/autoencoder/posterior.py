"""The posterior of an encoder: which of its outputs hold its heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_batch.models.autoencoder.description import Context
from vae_batch.models.autoencoder.heads import (
    HeadRoles,
    assign_roles,
    read_head_name,
)
from vae_batch.models.autoencoder.images import ImageFit
from vae_batch.models.autoencoder.labels import list_ports
from vae_batch.models.autoencoder.network_inputs import packed_axis
from vae_batch.models.autoencoder.network_runs import Outputs, Trial, in_batches, require_finite
from vae_batch.models.autoencoder.second_head import DRAWS, HeadValues, decide_kind, row_to_draw
from vae_batch.models.autoencoder.vae import ImageInput
from vae_batch.models.formats.format import Array, Shape, as_float32
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import SecondHead

_PROBE_IMAGES = 256


def find_heads(encoder: Trial, latent_shape: Shape | None, context: Context) -> HeadRoles | None:
    """Roles of an encoder's outputs, or None where it returns nothing but a sampled z.

    ``latent_shape`` is that of the decoder's input; None for an encoder alone.
    """
    names, shapes, random = encoder.names, encoder.shapes, encoder.random
    wanted = latent_shape or _common_shape(names, shapes)
    heads = [i for i, shape in enumerate(shapes) if shape == wanted]
    if not heads and wanted is not None:
        axes = {i: packed_axis(shape, wanted) for i, shape in enumerate(shapes)}
        packed = [i for i, axis in axes.items() if axis is not None]
        if len(packed) == 1 and not random[packed[0]]:
            how = f"output {names[packed[0]]!r} has twice the latent's channels: mean, second head"
            context.decide("posterior", "mean and second head in one output", how)
            return HeadRoles(packed[0], packed=axes[packed[0]], how=how)
    if len(heads) > 3:
        heads = [i for i in heads if read_head_name(names[i]).role is not None]
    lost = any(read_head_name(n).role == "second" for i, n in enumerate(names) if i not in heads)
    if not 1 <= len(heads) <= 3 or (len(heads) == 1 and lost):
        raise CheckpointError(
            f"the encoder has outputs of shapes {shapes}, expected mean and log-variance (and "
            f"perhaps z), each of the decoder's input shape {latent_shape}"
            if latent_shape is not None
            else f"the encoder has the outputs {list_ports(encoder.network.outputs)}, "
            "expected mean and log-variance (and perhaps z) of one shape"
        )
    if len(heads) == 1:
        return _single_head(heads[0], encoder, context)
    return _several_heads(heads, encoder, context)


def _several_heads(heads: Sequence[int], encoder: Trial, context: Context) -> HeadRoles:
    names = [encoder.names[i] for i in heads]
    outputs = [encoder.outputs[i] for i in heads]
    roles = assign_roles(names, outputs, [encoder.random[i] for i in heads])
    places = {"mean": roles.mean, "second head": roles.second, "z": roles.z}
    verdict = ", ".join(f"{role} is {names[i]!r}" for role, i in places.items() if i is not None)
    context.decide("posterior", verdict, roles.how)
    if not roles.has_second:
        context.missing["posterior"] = (
            "the encoder gives a mean and a sampled z, but no log-variance; save it with the "
            "outputs [mean, log-variance]"
        )
    return HeadRoles(
        heads[roles.mean],
        None if roles.second is None else heads[roles.second],
        None if roles.z is None else heads[roles.z],
        how=roles.how,
    )


def _single_head(index: int, encoder: Trial, context: Context) -> HeadRoles | None:
    """A plain autoencoder's code, or the z of a VAE without its posterior."""
    name, replaced = encoder.names[index], encoder.network.replaced
    remedy = "save the encoder with the outputs [mean, log-variance]"
    if encoder.random[index]:
        context.missing["encoder"] = context.missing["posterior"] = (
            f"the encoder gives nothing but {name!r}, which is a random sample; {remedy}"
        )
        return None
    if replaced:
        how = f"layer {replaced[0]!r}, which samples z, is replaced by its mean"
        context.decide("posterior", f"mean is {name!r}", how)
        context.missing["posterior"] = (
            f"the encoder gives z alone, here its mean, and no log-variance; {remedy}"
        )
    else:
        how = "the encoder has one output of the latent's shape"
        context.decide("posterior", f"none: {name!r} is a plain autoencoder's code", how)
        context.missing["posterior"] = (
            "a plain autoencoder: its encoder has one output, so there is no posterior"
        )
    return HeadRoles(index, how=how)


def _common_shape(names: Sequence[str], shapes: Sequence[Shape]) -> Shape | None:
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


def find_second_head(
    source: ImageInput, encoder: Trial, roles: HeadRoles, fit: ImageFit, context: Context
) -> SecondHead:
    """What the second head holds."""
    replaced = encoder.network.replaced
    no_draws = "no draws of z to compare with"
    if replaced:
        no_draws += f": layer {replaced[0]!r} is replaced by its mean"
    values = _probe(source, encoder, roles, fit, context)
    kind, decision, warnings = decide_kind(
        encoder.names[roles.second_output], values, context.reading.second_head, no_draws
    )
    context.decisions.append(decision)
    context.warnings.extend(warnings)
    return kind


def _probe(
    source: ImageInput, encoder: Trial, roles: HeadRoles, fit: ImageFit, context: Context
) -> HeadValues:
    """The heads on reference images and noise, and draws of z for one of these inputs."""
    pixels, labels = context.probe_images(_PROBE_IMAGES)
    network = encoder.network
    z = roles.z if roles.z is not None and encoder.random[roles.z] else None

    def run(batch: Array, batch_labels: Array) -> Outputs:
        images = fit.to_model(batch)
        arrays = source.arrays(images, batch_labels, fit.value_range, "encoder")
        outputs = tuple(as_float32(output) for output in network.run(*arrays))
        mean, second = roles.split(outputs)
        return (mean, mean if second is None else second, *(() if z is None else (outputs[z],)))

    mean, second, *_ = in_batches(run, context.batch_size, pixels, labels)
    require_finite(mean, "encoder's mean")
    require_finite(second, "encoder's second head")
    if z is None:
        return HeadValues(mean, second)
    row = row_to_draw(second)
    same = np.repeat(pixels[row : row + 1], DRAWS, axis=0), np.repeat(labels[row], DRAWS)
    draws = in_batches(run, context.batch_size, *same)[2]
    return HeadValues(mean, second, draws, row)
