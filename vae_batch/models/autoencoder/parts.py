"""Which parts of an autoencoder a checkpoint holds: its halves, or one network told by shapes."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.models.autoencoder.description import Decision
from vae_batch.models.autoencoder.images import ImageShape, PortShape, find_layout, image_shapes
from vae_batch.models.autoencoder.labels import LabelTerms, concatenated, list_ports, split_inputs
from vae_batch.models.formats.network import Network, Networks
from vae_batch.plan.errors import CheckpointError


@dataclass(frozen=True)
class Parts:
    """The parts of a checkpoint.

    Attributes:
      encoder: Images to heads, or None.
      decoder: Latents to images, or None.
      through: Images to images in one network without halves, or None.
      decision: How they were found.
    """

    encoder: Network | None
    decoder: Network | None
    through: Network | None
    decision: Decision


def find_parts(networks: Networks, reference: ImageShape, labels: LabelTerms) -> Parts:
    """The parts of a checkpoint.

    Args:
      networks: That its format gave.
      reference: (H, W, C) of the reference images.
      labels: What is known of labels.

    Raises:
      CheckpointError: One network whose shapes do not tell what it is; says what was found.
    """
    notes = "; ".join(networks.notes)
    if networks.encoder is not None or networks.decoder is not None:
        halves = {"encoder": networks.encoder, "decoder": networks.decoder}
        found = " and ".join(name for name, half in halves.items() if half is not None)
        how = notes or "named so"
        return Parts(networks.encoder, networks.decoder, None, Decision("parts", found, how))
    if networks.whole is None:
        raise CheckpointError("the checkpoint holds no network; save an encoder and a decoder")
    return _parts_of_whole(networks.whole, reference, labels, notes, networks.format)


def _parts_of_whole(
    whole: Network, reference: ImageShape, labels: LabelTerms, notes: str, format_name: str
) -> Parts:
    images = image_shapes([port.shape for port in (*whole.inputs, *whole.outputs)], reference)

    def is_image(shape: PortShape) -> bool:
        return shape in images

    def is_exact(shape: PortShape) -> bool:
        return find_layout(shape, reference, any_size=False) is not None

    main, label = split_inputs(whole.inputs, is_image, labels, "model", "images or latents")
    takes_images = is_image(main.shape)
    if label is None and not takes_images:
        takes_images = concatenated(main, is_exact, labels) is not None
    given = [port for port in whole.outputs if is_image(port.shape)]
    others = len(whole.outputs) - len(given)
    how = "; ".join(part for part in (notes, f"told by shapes: {_listing(whole)}") if part)
    if takes_images and len(given) == 1 and not others:
        return Parts(None, None, whole, Decision("parts", "images to images", how))
    if takes_images and others > 1:
        return Parts(whole, None, None, Decision("parts", "encoder", how))
    if given and not takes_images:
        return Parts(None, whole, None, Decision("parts", "decoder", how))
    raise CheckpointError(
        f"{whole.source} holds one network that is no part of an autoencoder of {reference} "
        f"images: {_listing(whole)}; expected images to images, images to mean and log-variance, "
        f"or latents to images; {how_to_save_halves(format_name)}"
    )


def how_to_save_halves(format_name: str) -> str:
    """What to do where a model's halves are not found; the end of a sentence."""
    if format_name == "saved_model":
        return (
            "a SavedModel keeps a model's function and not its layers, so take the model as it was "
            "built (or, where tf.keras saved this folder, tf_keras.models.load_model of it) and "
            "save model.get_layer('encoder') and model.get_layer('decoder') in one folder as "
            "encoder.keras and decoder.keras"
        )
    if format_name == "weights+builder":
        return "let the builder return the tuple (encoder, decoder)"
    return (
        "name the model's layers encoder and decoder, or save both halves in one folder as "
        "encoder.keras and decoder.keras"
    )


def _listing(network: Network) -> str:
    return f"inputs {list_ports(network.inputs)}; outputs {list_ports(network.outputs)}"
