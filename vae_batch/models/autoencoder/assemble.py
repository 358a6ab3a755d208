"""A checkpoint's networks as an autoencoder of arrays: roles decided, checked and written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.decoder_output import DecoderOutput, read_decoder_output
from vae_batch.models.autoencoder.decoder_reading import try_decoder
from vae_batch.models.autoencoder.description import Description, OutputKind
from vae_batch.models.autoencoder.encoder_reading import (
    read_heads,
    read_image_input,
    read_second_head,
    try_encoder,
)
from vae_batch.models.autoencoder.halves import (
    DecoderHalf,
    EncoderHalf,
    ImageInput,
    LatentInput,
)
from vae_batch.models.autoencoder.heads import HeadRoles, PosteriorHeads
from vae_batch.models.autoencoder.images import ImageFit, ImageShape, find_layout
from vae_batch.models.autoencoder.labels import LabelTerms, list_ports
from vae_batch.models.autoencoder.learned_scale import find_learned_scale
from vae_batch.models.autoencoder.network_runs import Trial, require_finite_weights
from vae_batch.models.autoencoder.parts import Parts, find_parts, how_to_save_halves
from vae_batch.models.autoencoder.plug_in import networks_of_arrays
from vae_batch.models.autoencoder.probe import probe
from vae_batch.models.autoencoder.reading_context import Findings, Terms, noise_images
from vae_batch.models.autoencoder.size_and_range import read_size_and_range
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import ArrayVae
from vae_batch.models.formats.network import Network, Networks
from vae_batch.models.image_range import from_uint8
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

_TRIAL_IMAGES = 16


def assemble(
    networks: Networks | ArrayVae,
    reading: Reading,
    image_shape: tuple[int, int, int],
    classes: int | None,
    batch_size: int,
    *,
    probe_images: npt.NDArray[np.uint8] | None = None,
    probe_labels: npt.NDArray[Any] | None = None,
) -> Autoencoder:
    """Decide what a checkpoint's networks mean, probe them, and join them to an autoencoder.

    Args:
      networks: What the checkpoint's format gave: networks, or a plug-in's arrays.
      reading: What was declared of the checkpoint.
      image_shape: (H, W, C) of the reference images.
      classes: Number of label classes of the reference, or None where it has no labels.
      batch_size: Images a batch; every run has this many rows.
      probe_images: (n, H, W, C) uint8 reference images to probe with.
      probe_labels: (n,) their classes.

    Raises:
      CheckpointError: Says what the checkpoint lacks or leaves open, and what to add.
    """
    stated: OutputKind | None = None
    if not isinstance(networks, Networks):
        networks, stated = networks_of_arrays(networks, batch_size)
    labels = LabelTerms(classes, reading.labels)
    terms = Terms(reading, image_shape, labels, batch_size, probe_images, probe_labels)
    parts = find_parts(networks, image_shape, labels)
    findings = Findings([parts.decision])
    named = {"encoder": parts.encoder, "decoder": parts.decoder, "model": parts.through}
    for who, network in named.items():
        if network is not None:
            require_finite_weights(network, who)
    if parts.through is None:
        draft = _assemble_halves(parts, terms, findings, stated)
    else:
        remedy = how_to_save_halves(networks.format)
        draft = _assemble_through(parts.through, terms, findings, remedy)
    vae = _described(draft, networks.format, terms, findings)
    warnings = (*findings.warnings, *probe(vae, terms))
    return replace(vae, description=replace(vae.description, warnings=warnings))


@dataclass(frozen=True)
class _Draft:
    """An autoencoder of which only the description is not written yet."""

    latent_shape: tuple[int, ...]
    fit: ImageFit
    encoder: EncoderHalf | None
    decoder: DecoderHalf | None
    output: DecoderOutput | None


def _assemble_halves(
    parts: Parts, terms: Terms, findings: Findings, stated: OutputKind | None
) -> _Draft:
    encoder = decoder = roles = output = encoder_half = None
    if parts.encoder is not None:
        encoder = try_encoder(parts.encoder, terms, _free_size(parts.decoder, terms))
    if parts.decoder is not None:
        decoder = try_decoder(parts.decoder, terms, encoder.shapes if encoder else [])
        output = _read_output(decoder.trial, terms, findings, stated)
    if encoder is not None:
        roles = read_heads(encoder, decoder.input.shape if decoder else None, findings)
    _note_missing(parts, roles, terms, findings)
    hint = parts.encoder.input_hint if parts.encoder else None
    fit = read_size_and_range(encoder.input if encoder else None, hint, output, terms, findings)
    if encoder is not None and roles is not None:
        kind = read_second_head(encoder, roles, fit, terms, findings) if roles.has_second else None
        heads = PosteriorHeads(roles, kind)
        encoder_half = EncoderHalf(encoder.trial.network, encoder.input, heads)
    if decoder is not None and output is not None:
        half = _decoder_half(output, decoder.input)
        return _Draft(decoder.input.shape, fit, encoder_half, half, output)
    assert encoder is not None  # _note_missing has refused all else
    assert roles is not None
    return _Draft(roles.latent_shape(encoder.shapes), fit, encoder_half, None, None)


def _assemble_through(network: Network, terms: Terms, findings: Findings, remedy: str) -> _Draft:
    """A plain autoencoder without halves: images stand for its code, which is out of reach."""
    source = read_image_input(network, terms, terms.image_shape, "model")
    noise = from_uint8(noise_images(_TRIAL_IMAGES, source.layout.image_shape), "0..1")
    labels = np.arange(_TRIAL_IMAGES) % (terms.labels.classes or 1)
    arrays = source.arrays(noise, labels, "0..1", "model")
    trial = Trial.of(network, "model", terms.batch_size, arrays)
    if any(trial.random):
        raise CheckpointError(
            f"{network.source} gives other images for the same images in a second run, so it draws "
            f"a latent sample inside, and its halves were not found; {remedy}"
        )
    output = _read_output(trial, terms, findings, None)
    reason = f"one network of images to images, whose code is out of reach; {remedy}"
    findings.missing["posterior"] = findings.missing["prior"] = reason
    findings.decide("latent", "the images themselves", "the code inside is out of reach")
    fit = read_size_and_range(source, network.input_hint, output, terms, findings)
    return _Draft(fit.image_shape, fit, None, _decoder_half(output, source), output)


def _read_output(
    trial: Trial, terms: Terms, findings: Findings, stated: OutputKind | None
) -> DecoderOutput:
    reading = terms.reading
    output = read_decoder_output(
        trial, terms.image_shape, reading.input_fit, reading.likelihood, stated
    )
    findings.decisions.append(output.decision)
    if reading.sigma != "learned":
        return output
    scale = find_learned_scale(trial, output.index, output.layout)
    findings.decide("scale", f"learned, {scale.kind}", f"the decoder's output {scale.name!r}")
    return replace(output, scale=scale)


def _decoder_half(output: DecoderOutput, source: LatentInput | ImageInput) -> DecoderHalf:
    return DecoderHalf(
        output.network, source, output.index, output.layout, output.kind, output.scale
    )


def _free_size(decoder: Network | None, terms: Terms) -> ImageShape:
    """What free sizes of an encoder's input become: the decoder's image size where it is fixed."""
    for port in decoder.outputs if decoder is not None else ():
        layout = None
        if len(port.shape) == 3 and None not in port.shape:
            layout = find_layout(port.shape, terms.image_shape, any_size=True)
        if layout is not None:
            return layout.image_shape
    return terms.image_shape


def _note_missing(parts: Parts, roles: HeadRoles | None, terms: Terms, findings: Findings) -> None:
    """What an encoder or a decoder alone lacks, and whether there is a prior."""
    missing = findings.missing
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
    if terms.reading.prior == "normal":
        findings.decide("prior", "N(0, I)", "declared by --prior normal")
    elif parts.encoder is not None and roles is not None and _is_plain(parts.encoder, roles):
        missing["prior"] = (
            "a plain autoencoder has no prior to sample its code from; --prior normal declares "
            "N(0, I)"
        )
    else:
        findings.decide("prior", "N(0, I)", "by convention of VAEs")


def _is_plain(encoder: Network, roles: HeadRoles) -> bool:
    """Whether nothing tells of a posterior: no second head, no drawn z, no sampling layer."""
    return not roles.has_second and roles.z is None and not encoder.replaced


def _described(draft: _Draft, format_name: str, terms: Terms, findings: Findings) -> Autoencoder:
    output, heads = draft.output, draft.encoder.heads if draft.encoder else None
    description = Description(
        format=format_name,
        latent_shape=draft.latent_shape,
        image_shape=draft.fit.image_shape,
        value_range=draft.fit.value_range,
        likelihood=output.likelihood if output else None,
        output=output.kind if output else None,
        second_head=heads.kind if heads else None,
        condition=_condition(draft),
        input_fit=draft.fit.how,
        missing=dict(findings.missing),
        decisions=tuple(findings.decisions),
    )
    return Autoencoder(description, draft.fit, draft.encoder, draft.decoder, terms.batch_size)


def _condition(draft: _Draft) -> str | None:
    """How labels are taken, such as ``one-hot labels, 10 classes``."""
    halves = {"encoder": draft.encoder, "decoder": draft.decoder}
    said = {
        who: half.input.label.describe()
        for who, half in halves.items()
        if half is not None and half.input.label is not None
    }
    present = [who for who, half in halves.items() if half is not None]
    if len(set(said.values())) == 1 and len(said) == len(present):
        return next(iter(said.values()))
    return "; ".join(f"{who}: {how}" for who, how in said.items()) or None
