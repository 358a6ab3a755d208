"""Joins a checkpoint's networks to an autoencoder: decides their roles, checks and records them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vae_batch.models.autoencoder.decoder_output import read_decoder_output
from vae_batch.models.autoencoder.description import Context, Description, OutputKind, noise_images
from vae_batch.models.autoencoder.heads import HeadRoles
from vae_batch.models.autoencoder.images import ImageFit, ImageShape, Pixels, find_layout
from vae_batch.models.autoencoder.labels import LabelInfo, list_ports
from vae_batch.models.autoencoder.network_inputs import (
    find_image_input,
    trial_latents,
    try_decoder,
    try_encoder,
)
from vae_batch.models.autoencoder.network_runs import Trial, require_finite_weights
from vae_batch.models.autoencoder.parts import find_parts, how_to_save_halves, networks_of_arrays
from vae_batch.models.autoencoder.posterior import find_heads, find_second_head
from vae_batch.models.autoencoder.vae import Autoencoder, DecoderHalf, EncoderHalf, ImageInput
from vae_batch.models.autoencoder.value_range import check_value_range, read_size_and_range
from vae_batch.models.formats.format import (
    Array,
    ArrayVae,
    Floats,
    Network,
    Networks,
    PortShape,
    Shape,
)
from vae_batch.models.image_range import from_uint8
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

_TRIAL_IMAGES = 16
#: With fewer reference images their own mean is too good a guess to be beaten.
_COMPARED = 16


def assemble(
    networks: Networks | ArrayVae,
    reading: Reading,
    image_shape: tuple[int, int, int],
    classes: int | None,
    batch_size: int,
    *,
    probe_images: Pixels | None = None,
    probe_labels: Array | None = None,
) -> Autoencoder:
    """Decide what a checkpoint's networks mean, probe them, and join them to an autoencoder.

    Args:
        networks: From the checkpoint's format: networks, or a plug-in's functions.
        reading: What was declared about the checkpoint.
        image_shape: (H, W, C) of the reference images.
        classes: Number of label classes of the reference, or None where it has no labels.
        batch_size: Rows per batch, in every run.
        probe_images: (n, H, W, C) uint8 reference images to probe with.
        probe_labels: (n,) their classes.

    Raises:
        CheckpointError: Says what the checkpoint lacks or leaves open, and what to add.
    """
    stated: OutputKind | None = None
    if not isinstance(networks, Networks):
        networks, stated = networks_of_arrays(networks, batch_size)
    labels = LabelInfo(classes, reading.labels)
    context = Context(reading, image_shape, labels, batch_size, probe_images, probe_labels)
    context.warnings += networks.warnings
    parts = find_parts(networks, context)
    for who, network in (
        ("encoder", parts.encoder),
        ("decoder", parts.decoder),
        ("model", parts.whole),
    ):
        if network is not None:
            require_finite_weights(network, who)
    if parts.whole is None:
        vae = _assemble_halves(parts, context, stated)
    else:
        vae = _assemble_whole(parts.whole, context, parts.format)
    warnings = (*context.warnings, *_probe(vae, context))
    return replace(vae, description=replace(vae.description, warnings=warnings))


def _assemble_halves(parts: Networks, context: Context, stated: OutputKind | None) -> Autoencoder:
    source = encoder = decoder = roles = None
    _require_one_size(parts, context)
    if parts.encoder is not None:
        source, encoder = try_encoder(parts.encoder, context, _free_size(parts.decoder, context))
    if parts.decoder is not None:
        latents, trial = try_decoder(parts.decoder, context, encoder.shapes if encoder else [])
        decoder = DecoderHalf(latents, read_decoder_output(trial, context, stated))
    if encoder is not None:
        roles = find_heads(encoder, latents.shape if decoder else None, context)
    _record_missing(parts, roles, context)
    hint = parts.encoder.input_hint if parts.encoder else None
    fit = read_size_and_range(source, hint, decoder.output if decoder else None, context)
    half = None
    if source is not None and encoder is not None and roles is not None:
        has_second = roles.has_second
        kind = find_second_head(source, encoder, roles, fit, context) if has_second else None
        half = EncoderHalf(encoder.network, source, roles, kind)
    if decoder is not None:
        return _joined(parts.format, latents.shape, fit, half, decoder, context)
    assert encoder is not None  # _record_missing has refused all else
    assert roles is not None
    return _joined(parts.format, roles.latent_shape(encoder.shapes), fit, half, None, context)


def _assemble_whole(network: Network, context: Context, format_name: str) -> Autoencoder:
    """A plain autoencoder without halves: images take the place of its hidden code."""
    remedy = how_to_save_halves(format_name)
    source = find_image_input(network, context, context.image_shape, "model")
    noise = from_uint8(noise_images(_TRIAL_IMAGES, source.layout.image_shape), "0..1")
    arrays = source.arrays(noise, context.trial_labels(_TRIAL_IMAGES), "0..1", "model")
    trial = Trial.of(network, "model", context.batch_size, arrays)
    if any(trial.random):
        raise CheckpointError(
            f"{network.source} gives other images for the same images in a second run, so it draws "
            f"a latent sample inside, and its halves were not found; {remedy}"
        )
    output = read_decoder_output(trial, context, None)
    reason = f"one network of images to images, whose code is out of reach; {remedy}"
    context.missing["posterior"] = context.missing["prior"] = reason
    context.decide("latent", "the images themselves", "the code inside is out of reach")
    fit = read_size_and_range(source, network.input_hint, output, context)
    half = DecoderHalf(source, output)
    return _joined(format_name, fit.image_shape, fit, None, half, context)


def _require_one_size(parts: Networks, context: Context) -> None:
    """Check that both halves have images of one size, before the reference's is asked about."""
    if parts.encoder is None or parts.decoder is None:
        return

    def sizes(shapes: Iterable[PortShape]) -> set[tuple[int, int]]:
        fixed = [shape for shape in shapes if len(shape) == 3 and None not in shape]
        found = (find_layout(shape, context.image_shape, any_size=True) for shape in fixed)
        return {layout.image_shape[:2] for layout in found if layout is not None}

    taken = sizes(port.shape for port in parts.encoder.inputs)
    given = sizes(port.shape for port in parts.decoder.outputs)
    if len(taken) == 1 and len(given) == 1 and taken != given:
        (one,), (other,) = taken, given
        raise CheckpointError(
            f"the encoder takes images of {one[0]}x{one[1]}, but the decoder gives "
            f"{other[0]}x{other[1]} (height x width), so no image can be compared with its "
            "reconstruction; save a decoder that ends in the size it was trained against, such as "
            "with keras.layers.Cropping2D or Resizing behind it"
        )


def _free_size(decoder: Network | None, context: Context) -> ImageShape:
    """What free sizes of an encoder's input become: the decoder's image size where it is fixed."""
    for port in decoder.outputs if decoder is not None else ():
        layout = None
        if len(port.shape) == 3 and None not in port.shape:
            layout = find_layout(port.shape, context.image_shape, any_size=True)
        if layout is not None:
            return layout.image_shape
    return context.image_shape


def _record_missing(parts: Networks, roles: HeadRoles | None, context: Context) -> None:
    """What an encoder or a decoder alone lacks, and whether there is a prior."""
    missing = context.missing
    if parts.encoder is None:
        missing["encoder"] = missing["posterior"] = "the checkpoint holds a decoder alone"
    if parts.decoder is None:
        missing["decoder"] = "the checkpoint holds an encoder alone"
    if parts.encoder is not None and parts.decoder is None and "posterior" in missing:
        raise CheckpointError(
            "nothing can be scored: the checkpoint holds an encoder alone, without log-variance "
            f"(outputs {list_ports(parts.encoder.outputs)}); add its decoder, or save the encoder "
            "with the outputs [mean, log-variance]"
        )
    if context.reading.prior == "normal":
        context.decide("prior", "N(0, I)", "declared by --prior normal")
    elif parts.encoder is not None and roles is not None and _is_plain(parts.encoder, roles):
        missing["prior"] = (
            "a plain autoencoder has no prior to sample its code from; --prior normal declares "
            "N(0, I)"
        )
    else:
        context.decide("prior", "N(0, I)", "by convention of VAEs")


def _is_plain(encoder: Network, roles: HeadRoles) -> bool:
    """Whether nothing indicates a posterior: no second head, no sampled z, no sampling layer."""
    return not roles.has_second and roles.z is None and not encoder.replaced


def _joined(
    format_name: str,
    latent_shape: Shape,
    fit: ImageFit,
    encoder: EncoderHalf | None,
    decoder: DecoderHalf | None,
    context: Context,
) -> Autoencoder:
    output = decoder.output if decoder else None
    scale, shift = context.reading.latent_scale or 1.0, context.reading.latent_shift or 0.0
    if (scale, shift) != (1.0, 0.0):
        if decoder is not None and isinstance(decoder.input, ImageInput):
            raise CheckpointError(
                "--latent-scale and --latent-shift are declared, but the checkpoint is one network "
                "of images to images, whose latents are out of reach; leave them out",
                {"latent_scale": None, "latent_shift": None},
            )
        verdict = f"the networks' own less {shift:g}, times {scale:g}"
        context.decide("latents", verdict, "declared by --latent-scale and --latent-shift")
    description = Description(
        format=format_name,
        latent_shape=latent_shape,
        image_shape=fit.image_shape,
        value_range=fit.value_range,
        likelihood=output.likelihood if output else None,
        output=output.kind if output else None,
        second_head=encoder.second_head if encoder else None,
        condition=_condition(encoder, decoder),
        input_fit=fit.how,
        missing=dict(context.missing),
        decisions=tuple(context.decisions),
    )
    return Autoencoder(description, fit, encoder, decoder, context.batch_size, scale, shift)


def _condition(encoder: EncoderHalf | None, decoder: DecoderHalf | None) -> str | None:
    """How labels are given, such as ``one-hot labels, 10 classes``."""
    halves = {"encoder": encoder, "decoder": decoder}
    present = {who: half.input.label for who, half in halves.items() if half is not None}
    labels = {who: label.describe() for who, label in present.items() if label is not None}
    if len(set(labels.values())) == 1 and len(labels) == len(present):
        return next(iter(labels.values()))
    return "; ".join(f"{who}: {how}" for who, how in labels.items()) or None


def _probe(vae: Autoencoder, context: Context) -> list[str]:
    """Run an autoencoder on a few images, and return warnings about what it makes of them."""
    reconstructed = _reconstructed(vae, context)
    warnings = []
    if vae.description.output == "mean":
        means = _generated(vae) if reconstructed is None else reconstructed
        if means is not None:
            declared = context.reading.model_range is not None
            warnings += check_value_range(means, vae.fit.value_range, declared)
    pixels = context.pixels
    if reconstructed is not None and pixels is not None and len(reconstructed) >= _COMPARED:
        warnings += _compare_with_mean_image(vae.to_model(pixels), reconstructed)
    return warnings


def _reconstructed(vae: Autoencoder, context: Context) -> Floats | None:
    """Means at the posterior mean of the reference images; None where there are none."""
    if "encoder" in vae.description.missing:
        return None
    if context.pixels is None or (vae.takes_labels and context.pixel_labels is None):
        pixels, labels = context.probe_images(2)
        vae.encode(vae.to_model(pixels), labels)
        return None
    mean, _ = vae.encode(vae.to_model(context.pixels), context.pixel_labels)
    if "decoder" in vae.description.missing:
        return None
    return vae.to_means(vae.decode(mean, context.pixel_labels))


def _generated(vae: Autoencoder) -> Floats | None:
    """Means of latents from the prior; None where there is no prior or no decoder."""
    decoder = vae.decoder
    if decoder is None or isinstance(decoder.input, ImageInput):
        return None
    if "prior" in vae.description.missing:
        return None
    latents = trial_latents(vae.latent_shape)
    label = decoder.input.label
    labels = np.arange(len(latents)) % (label.classes if label else 1)
    return vae.to_means(vae.decode(latents, labels))


def _compare_with_mean_image(images: Floats, reconstructed: Floats) -> list[str]:
    """A warning where reconstructions are no better than the images' mean."""
    error = float(np.mean((images - reconstructed) ** 2, dtype=np.float64))
    mean_image = images.mean(axis=0, dtype=np.float64)
    spread = float(np.mean((images - mean_image) ** 2, dtype=np.float64))
    if error < spread:
        return []
    return [
        "reconstructions at the posterior mean are no better than the mean of the first "
        f"{len(images)} reference images (mean squared error {error:.2g} against {spread:.2g}): "
        "the VAE is untrained or collapsed, or it is read with the wrong range, layout or head"
    ]
