"""A plug-in's VAE of plain arrays as networks, so that it passes the same checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from vae_batch.models.autoencoder.description import OutputKind
from vae_batch.models.autoencoder.network_runs import floats
from vae_batch.models.formats.format import ArrayVae
from vae_batch.models.formats.network import Network, Networks, Port, as_float32
from vae_batch.plan.errors import CheckpointError

Array = npt.NDArray[Any]

_SOURCE = "the plug-in"


def networks_of_arrays(vae: ArrayVae, batch_size: int) -> tuple[Networks, OutputKind]:
    """Networks that call the plug-in, and what it says of its decoder's output.

    ``encode`` may give the mean alone, or None as log-variance: a plain autoencoder.

    Args:
      vae: The plug-in's. An attribute ``format`` names its format; else it is ``arrays``.
      batch_size: Rows a batch.

    Raises:
      CheckpointError: It keeps to another protocol, or its functions give other shapes.
    """
    latent, image = _shape(vae, "latent_shape"), _shape(vae, "image_shape")
    if vae.output not in get_args(OutputKind):
        raise CheckpointError(
            f"the plug-in's output is {vae.output!r}, expected {', '.join(get_args(OutputKind))}"
        )
    encode, decode = vae.encode, vae.decode
    if encode is None and decode is None:
        raise CheckpointError("the plug-in has neither encode nor decode; give one of them")
    networks = Networks(
        format=str(getattr(vae, "format", "arrays")),
        encoder=None if encode is None else _encoder(encode, image, latent, batch_size),
        decoder=None if decode is None else _decoder(decode, latent, image, batch_size),
        notes=("functions of a plug-in",),
    )
    return networks, vae.output


def _encoder(
    encode: Callable[..., Any], image: Sequence[int], latent: Sequence[int], batch_size: int
) -> Network:
    ports = (Port("mean", tuple(latent)), Port("log_var", tuple(latent)))
    inputs = (Port("images", tuple(image)),)

    def run(images: Array) -> tuple[Array, ...]:
        return _arrays(encode(images))

    network = Network(_SOURCE, inputs, ports, run)
    given = _first_run(network, "encode", batch_size)
    if len(given) not in (1, 2):
        raise CheckpointError(
            f"the plug-in's encode gives {len(given)} arrays, expected mean and log-variance"
        )
    return Network(_SOURCE, inputs, ports[: len(given)], run)


def _decoder(
    decode: Callable[..., Any], latent: Sequence[int], image: Sequence[int], batch_size: int
) -> Network:
    def run(latents: Array) -> tuple[Array, ...]:
        return _arrays(decode(latents))

    ports = (Port("images", tuple(image)),)
    network = Network(_SOURCE, (Port("latents", tuple(latent)),), ports, run)
    _first_run(network, "decode", batch_size)
    return network


def _first_run(network: Network, name: str, batch_size: int) -> tuple[Array, ...]:
    zeros = np.zeros((batch_size, *(size or 1 for size in network.inputs[0].shape)), np.float32)
    try:
        given = floats(network, zeros)
    except Exception as error:  # a plug-in's code raises anything
        raise CheckpointError(f"the plug-in's {name} cannot be run: {str(error)[:300]}") from error
    expected = (batch_size, *network.outputs[0].shape)
    for array in given:
        if array.shape != expected:
            raise CheckpointError(
                f"the plug-in's {name} gives an array of shape {array.shape}, expected {expected}"
            )
    return given


def _arrays(given: Any) -> tuple[Array, ...]:  # noqa: ANN401
    parts = given if isinstance(given, tuple | list) else (given,)
    return tuple(as_float32(part) for part in parts if part is not None)


def _shape(vae: ArrayVae, name: str) -> tuple[int, ...]:
    shape = tuple(getattr(vae, name))
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise CheckpointError(f"the plug-in's {name} is {shape}, expected positive sizes")
    return shape
