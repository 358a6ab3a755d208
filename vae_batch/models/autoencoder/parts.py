"""Which parts a checkpoint holds: encoder and decoder, or one network known by its shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from vae_batch.models.autoencoder.description import Context, OutputKind
from vae_batch.models.autoencoder.images import ImageShape, find_layout, image_shapes
from vae_batch.models.autoencoder.labels import LabelInfo, concatenated, list_ports, split_inputs
from vae_batch.models.formats.format import (
    Array,
    ArrayVae,
    Network,
    Networks,
    Port,
    PortShape,
    Shape,
    as_float32,
)
from vae_batch.plan.errors import CheckpointError

_PLUG_IN = "the plug-in"


def find_parts(networks: Networks, context: Context) -> Networks:
    """The networks by what they are; ``whole`` then maps images to images."""
    if networks.encoder is not None or networks.decoder is not None:
        halves = {"encoder": networks.encoder, "decoder": networks.decoder}
        found = " and ".join(name for name, half in halves.items() if half is not None)
        context.decide("parts", found, "; ".join(networks.notes) or "by name")
        return networks
    whole = networks.whole
    if whole is None:
        raise CheckpointError("the checkpoint holds no network; save an encoder and a decoder")
    listing = f"inputs {list_ports(whole.inputs)}; outputs {list_ports(whole.outputs)}"
    part = _part_by_shapes(whole, context.image_shape, context.labels)
    if part is None:
        raise CheckpointError(
            f"{whole.source} holds one network that is no part of an autoencoder of "
            f"{context.image_shape} images: {listing}; expected images to images, images to mean "
            "and log-variance, or latents to images; "
            f"{how_to_save_halves(networks.format)}"
        )
    reasons = "; ".join((*networks.notes, f"by shapes: {listing}"))
    context.decide("parts", "images to images" if part == "whole" else part, reasons)
    roles = {role: whole if role == part else None for role in ("encoder", "decoder", "whole")}
    return replace(
        networks, encoder=roles["encoder"], decoder=roles["decoder"], whole=roles["whole"]
    )


def _part_by_shapes(
    whole: Network, reference: ImageShape, labels: LabelInfo
) -> Literal["encoder", "decoder", "whole"] | None:
    """Which part one network is; None where its shapes do not say."""
    images = image_shapes([port.shape for port in (*whole.inputs, *whole.outputs)], reference)

    def is_image(shape: PortShape) -> bool:
        return shape in images

    def is_exact(shape: PortShape) -> bool:
        return find_layout(shape, reference, any_size=False) is not None

    main, label = split_inputs(whole.inputs, is_image, labels, "model", "images or latents")
    takes_images = is_image(main.shape)
    if label is None and not takes_images:
        takes_images = concatenated(main, is_exact, labels) is not None
    gives_images = sum(is_image(port.shape) for port in whole.outputs)
    others = len(whole.outputs) - gives_images
    if takes_images and gives_images == 1 and not others:
        return "whole"
    if takes_images and others > 1:
        return "encoder"
    if gives_images and not takes_images:
        return "decoder"
    return None


def how_to_save_halves(format_name: str) -> str:
    """What to do where a model's halves are not found; the end of a sentence."""
    if format_name == "saved_model":
        return (
            "a SavedModel keeps a model's function and not its layers, so take the model as it was "
            "built (or, where tf.keras saved this folder, tf_keras.models.load_model of it) and "
            "save model.get_layer('encoder') and model.get_layer('decoder') in one folder as "
            "encoder.keras and decoder.keras"
        )
    if format_name == "onnx":
        return (
            "export encoder and decoder by themselves, into one folder as encoder.onnx (with the "
            "outputs mean and log-variance) and decoder.onnx"
        )
    if format_name == "weights+builder":
        return "let the builder return the tuple (encoder, decoder)"
    return (
        "name the model's layers encoder and decoder, or save both halves in one folder as "
        "encoder.keras and decoder.keras"
    )


def networks_of_arrays(vae: ArrayVae, batch_size: int) -> tuple[Networks, OutputKind]:
    """Networks that call a plug-in's functions, and what it states about its decoder's output.

    ``encode`` may return the mean alone, or None as log-variance: a plain autoencoder.

    Args:
        vae: The plug-in's. An attribute ``format`` names its format; else it is ``arrays``.
        batch_size: Rows per batch.
    """
    latent, image = _stated_shape(vae, "latent_shape"), _stated_shape(vae, "image_shape")
    if vae.output not in get_args(OutputKind):
        raise CheckpointError(
            f"the plug-in's output is {vae.output!r}, expected {', '.join(get_args(OutputKind))}"
        )
    if vae.encode is None and vae.decode is None:
        raise CheckpointError("the plug-in has neither encode nor decode; give one of them")
    encoder = decoder = None
    if vae.encode is not None:
        heads = (Port("mean", latent), Port("log_var", latent))
        encoder = _called(vae.encode, "encode", Port("images", image), heads, batch_size)
    if vae.decode is not None:
        pictures = (Port("images", image),)
        decoder = _called(vae.decode, "decode", Port("latents", latent), pictures, batch_size)
    name = str(getattr(vae, "format", "arrays"))
    return Networks(name, encoder, decoder, notes=("functions of a plug-in",)), vae.output


def _stated_shape(vae: ArrayVae, name: str) -> Shape:
    shape = tuple(getattr(vae, name))
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise CheckpointError(f"the plug-in's {name} is {shape}, expected positive sizes")
    return shape


def _called(
    function: Callable[..., Any],
    name: str,
    source: Port,
    outputs: tuple[Port, ...],
    batch_size: int,
) -> Network:
    """A plug-in's function as a network, tried on zeros; it has as many outputs as it returned."""

    def run(array: Array) -> tuple[Array, ...]:
        given = function(array)
        parts = given if isinstance(given, tuple | list) else (given,)
        return tuple(as_float32(part) for part in parts if part is not None)

    sizes = [size or 1 for size in source.shape]
    try:
        given = run(np.zeros((batch_size, *sizes), np.float32))
    except Exception as error:  # a plug-in's code may raise anything
        raise CheckpointError(f"the plug-in's {name} cannot be run: {str(error)[:300]}") from error
    expected = (batch_size, *outputs[0].shape)
    for array in given:
        if array.shape != expected:
            raise CheckpointError(
                f"the plug-in's {name} gives an array of shape {array.shape}, expected {expected}"
            )
    if name == "encode" and not 1 <= len(given) <= len(outputs):
        raise CheckpointError(
            f"the plug-in's encode gives {len(given)} arrays, expected mean and log-variance"
        )
    kept = outputs[: len(given)] if name == "encode" else outputs
    return Network(_PLUG_IN, (source,), kept, run)
