"""What a checkpoint is: its parts, how each role was decided, and a trial run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.description import Decision, Description
from vae_batch.models.autoencoder.images import ImageShape
from vae_batch.models.autoencoder.labels import is_named_label
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.extractors.classifier import identify_classifier
from vae_batch.models.extractors.reading import (
    noise_for,
)
from vae_batch.models.formats.format import ArrayVae, LoadOptions, Networks, Port
from vae_batch.models.formats.load import load_networks
from vae_batch.models.references.reference import ProbeImages
from vae_batch.models.sample_sets import open_feature_set, open_sample_set
from vae_batch.models.sampling import standard_normals
from vae_batch.plan import CheckpointError, EvaluationSpec, InputError

_log = logging.getLogger(__name__)

_BATCH = 16
_GIB = 2**30
_DEFAULT_CAP = EvaluationSpec.model_fields["memory_cap"].default
_NOISE_SEED = 0
#: Spec keys that say how a network is read as an extractor.
_OF_EXTRACTORS = ("custom_objects", "classifier_range", "class_output", "embedding")


@dataclass(frozen=True)
class Inspection:
    """What was found about one checkpoint.

    Attributes:
        checkpoint: Its files.
        description: Parts and decisions, or None where it was refused.
        proofs: Sentences about one encoded image and one decoded sample.
        refusal: Why it cannot be scored, or None.
        declare: Spec keys: those in force, or where refused those that would make it readable
            beside those that were given; none where no key would. A tuple holds the values that a
            key may have, the likeliest first.
    """

    checkpoint: Checkpoint
    description: Description | None = None
    proofs: tuple[str, ...] = ()
    refusal: str | None = None
    declare: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractorInspection:
    """What was found about one network that is named as an extractor.

    Attributes:
        extractor: Its path.
        name: As the score table names it; None where it was refused.
        decisions: How it is read.
        refusal: Why it cannot be used, or None.
        declare: As in ``Inspection``.
    """

    extractor: str
    name: str | None = None
    decisions: tuple[Decision, ...] = ()
    refusal: str | None = None
    declare: Mapping[str, object] = field(default_factory=dict)


def inspect_extractor(
    path: str, spec: EvaluationSpec, probe: ProbeImages | None
) -> ExtractorInspection:
    """Decide how a network is read as an extractor, as a run would.

    Args:
        path: Of the network.
        spec: What is declared of it.
        probe: Reference images; None for seeded noise of the network's own size.
    """
    declared = ((key, getattr(spec, key)) for key in _OF_EXTRACTORS)
    given: dict[str, object] = {key: value for key, value in declared if value not in (None, ())}
    if spec.trust:
        given["trust"] = True
    try:
        if probe is None:
            probe = noise_for(path, spec)
        identity = identify_classifier(path, spec, lambda: probe)
    except (CheckpointError, InputError) as error:
        _log.debug("%s is refused", path, exc_info=True)
        cause = error.__cause__ if isinstance(error.__cause__, CheckpointError) else error
        keys = {**given, **getattr(cause, "declare", {})}
        return ExtractorInspection(path, refusal=str(cause), declare=keys)
    reading = identity.reading
    assert reading is not None  # of every network of the user's
    keys = given | {"classifier_range": reading.value_range, "class_output": reading.class_output}
    if reading.embedding is not None:
        keys["embedding"] = reading.embedding
    return ExtractorInspection(path, identity.name, reading.decisions, declare=keys)


def inspect_checkpoint(
    checkpoint: Checkpoint, options: LoadOptions, probe: ProbeImages | None
) -> Inspection:
    """Load a checkpoint, decide its roles, encode one image and decode one sample.

    Args:
        checkpoint: Its files.
        options: What was declared, and whether code may run.
        probe: Reference images; None for seeded noise of the model's own size.
    """
    if checkpoint.samples is not None:
        return _inspect_set(checkpoint, options, probe)
    given = _given(options)
    try:
        networks = load_networks(dict(checkpoint.files), options)
        images = probe or own_noise(networks)
        vae = assemble(
            networks,
            options.reading,
            images.pixels.shape[1:],
            images.classes,
            _BATCH,
            probe_images=images.pixels if probe else None,
            probe_labels=images.labels,
        )
        proofs = tuple(_proofs(vae, images))
    except CheckpointError as error:
        _log.debug("%s is refused", checkpoint.label, exc_info=True)
        keys = {**given, **error.declare} if error.declare else {}
        declare = {key: value for key, value in keys.items() if value is not None}
        return Inspection(checkpoint, refusal=str(error), declare=declare)
    except Exception as error:  # a model's graph may raise anything
        _log.debug("%s cannot be run", checkpoint.label, exc_info=True)
        refusal = f"{checkpoint.label} cannot be run: {type(error).__name__}: {str(error)[:300]}"
        return Inspection(checkpoint, refusal=refusal)
    in_force = {**given, **_inferred(vae.description)}
    return Inspection(checkpoint, vae.description, proofs, declare=in_force)


def _inspect_set(
    checkpoint: Checkpoint, options: LoadOptions, probe: ProbeImages | None
) -> Inspection:
    """Decide how a set of generated images is read, and read one."""
    given, samples = _given(options), checkpoint.samples
    (path,) = dict(checkpoint.files).values()
    shape = None if probe is None else cast("ImageShape", probe.pixels.shape[1:])
    assert samples is not None  # as the caller has checked
    try:
        if samples.kind == "features":
            features = open_feature_set(path, samples.count, "first", _BATCH)
            proof = f"read one row: {_range_of(features.rows(0, 1)[0])}"
            return Inspection(checkpoint, features.description, (proof,), declare=given)
        found = open_sample_set(path, options.reading, shape, samples.count, "first", _BATCH)
        pixels = found.pictures(np.arange(1))
    except CheckpointError as error:
        _log.debug("%s is refused", checkpoint.label, exc_info=True)
        return Inspection(checkpoint, refusal=str(error), declare={**given, **error.declare})
    proof = f"read one image: pixels {pixels.min()} to {pixels.max()} of 0..255"
    return Inspection(checkpoint, found.description, (proof,), declare=given)


def _given(options: LoadOptions) -> dict[str, object]:
    """Spec keys that were given for this checkpoint."""
    given: dict[str, object] = dict(options.reading.declared)
    if options.trust:
        given["trust"] = True
    if options.memory_cap != int(_DEFAULT_CAP * _GIB):
        given["memory_cap"] = options.memory_cap / _GIB
    return given


def _proofs(vae: Autoencoder, images: ProbeImages) -> list[str]:
    """Encode one image and decode one latent sample; without a prior, the image's own code."""
    proofs, missing = [], vae.description.missing
    one = None if images.labels is None else images.labels[:1]
    latents = standard_normals(_NOISE_SEED, "latents", 0, 1, vae.latent_shape)
    decoded = "decoded one sample"
    if "encoder" not in missing:
        code, logvar = vae.encode(vae.to_model(images.pixels[:1]), one)
        if "prior" in missing:
            latents, decoded = code, f"reconstructed one image of {images.name}"
        spread = "" if logvar is None else f", log-variance {_range_of(logvar)}"
        if vae.encoder is not None:
            proofs.append(f"encoded one image of {images.name}: mean {_range_of(code)}{spread}")
    if "decoder" not in missing:
        pictures = vae.to_pictures(vae.decode(latents, one))
        proofs.append(f"{decoded}: pixels {pictures.min()} to {pictures.max()} of 0..255")
    return proofs


def _range_of(values: npt.NDArray[np.float32]) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def _inferred(description: Description) -> dict[str, object]:
    """The keys that say how it is read, so that a spec can state them."""
    found = {
        "likelihood": description.likelihood,
        "model_range": description.value_range,
        "second_head": description.second_head,
        "input_fit": description.input_fit,
    }
    return {key: value for key, value in found.items() if value is not None}


def own_noise(networks: Networks | ArrayVae) -> ProbeImages:
    """Seeded noise of the size that the checkpoint itself takes or returns, with labels if any."""
    shape, classes = _own_image_shape(networks), _own_classes(networks)
    pixels = np.random.default_rng(_NOISE_SEED).integers(0, 256, (2, *shape), dtype=np.uint8)
    labels = None if classes is None else np.arange(2, dtype=np.int64)
    return ProbeImages(pixels, labels, classes, "noise (no --reference was given)")


def _own_classes(networks: Networks | ArrayVae) -> int | None:
    """Classes of the labels that a network takes beside images; two where it does not say.

    The larger of two inputs is the image or latent, unless the larger one is named like a label.
    """
    if not isinstance(networks, Networks):
        return None
    for network in (networks.encoder, networks.decoder, networks.whole):
        if network is None or len(network.inputs) != 2:
            continue
        named = [port for port in network.inputs if is_named_label(port)]
        sizes = {port: math.prod(size or 1 for size in port.shape) for port in network.inputs}
        label = named[0] if len(named) == 1 else min(network.inputs, key=lambda port: sizes[port])
        return max(2, sizes[label])
    return None


def _own_image_shape(networks: Networks | ArrayVae) -> ImageShape:
    if not isinstance(networks, Networks):
        return cast("ImageShape", tuple(networks.image_shape))
    halves = (networks.encoder, networks.decoder, networks.whole)
    ports: list[Port] = []
    for network, outputs in zip(halves, (False, True, True), strict=True):
        if network is not None:
            ports += network.outputs if outputs else network.inputs
    for port in ports:
        if (shape := _as_image(port.shape)) is not None:
            return shape
    raise CheckpointError(
        f"the image size cannot be read from shapes {[port.shape for port in ports]}; give the "
        "images it was trained on with --reference"
    )


def _as_image(shape: tuple[int | None, ...]) -> ImageShape | None:
    """(H, W, C) of an input or output that is obvious: images, (H, W), or a flat square."""
    match [size for size in shape if size is not None]:
        case [height, width, channels] if channels in (1, 3):
            return height, width, channels
        case [height, width]:
            return height, width, 1
        case [size] if size >= 16 and math.isqrt(size) ** 2 == size:
            return math.isqrt(size), math.isqrt(size), 1
    return None
