"""Networks of plain NumPy functions: everything of a checkpoint but its library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import Network, Networks, Port
from vae_batch.plan.reading import Reading

SHAPE = (4, 4, 1)
LATENT = 3
CLASSES = 5
BATCH = 8

Ports = dict[str, tuple[int | None, ...]]

_WEIGHTS = np.random.default_rng(0)
TO_MEAN = _WEIGHTS.normal(0, 0.5, (16, LATENT)).astype(np.float32)
TO_SECOND = _WEIGHTS.normal(0, 0.5, (16, LATENT)).astype(np.float32)
TO_PIXELS = _WEIGHTS.normal(0, 1.0, (LATENT, 16)).astype(np.float32)


def network(inputs: Ports, outputs: Ports, run: Callable[..., Any], **known: Any) -> Network:
    """A network with named ports; ``run`` may return one array."""

    def as_tuple(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        given = run(*arrays)
        return given if isinstance(given, tuple) else (given,)

    return Network("fake.keras", ports(inputs), ports(outputs), as_tuple, **known)


def ports(shapes: Ports) -> tuple[Port, ...]:
    """Ports by name; a name that ends in ``:int32`` is of that dtype."""
    named = ((name.partition(":"), shape) for name, shape in shapes.items())
    return tuple(Port(name, shape, dtype or "float32") for (name, _, dtype), shape in named)


def mean_of(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) @ TO_MEAN


def second_of(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) @ TO_SECOND


def pixels_of(latents: np.ndarray) -> np.ndarray:
    return latents @ TO_PIXELS


def encoder(
    names: Sequence[str] = ("z_mean", "z_log_var"),
    shape: tuple[int | None, ...] = SHAPE,
    **known: Any,
) -> Network:
    """Images to a mean and a second head; images are read row-major."""
    outputs = {name: (LATENT,) for name in names}
    functions = (mean_of, second_of)[: len(names)]
    return network({"images": shape}, outputs, lambda x: tuple(f(x) for f in functions), **known)


def decoder(
    activation: str | None = "sigmoid", shape: tuple[int, ...] = SHAPE, *, separable: bool = True
) -> Network:
    """Latents to images."""
    functions: dict[str | None, Callable[[Any], Any]] = {"sigmoid": expit, "tanh": np.tanh}
    apply = functions.get(activation, lambda x: x)

    def logits() -> Network:
        run = lambda z: pixels_of(z).reshape(len(z), *shape)  # noqa: E731
        return network({"z": (LATENT,)}, {"pixels": shape}, run, activation="linear")

    return network(
        {"z": (LATENT,)},
        {"pixels": shape},
        lambda z: apply(pixels_of(z)).reshape(len(z), *shape),
        activation=activation,
        before_sigmoid=logits if activation == "sigmoid" and separable else None,
    )


def pair(encoder: Network | None, decoder: Network | None) -> Networks:
    return Networks("keras", encoder=encoder, decoder=decoder)


def put_together(
    networks: Any,
    *,
    shape: tuple[int, int, int] = SHAPE,
    classes: int | None = None,
    probe_images: np.ndarray | None = None,
    probe_labels: np.ndarray | None = None,
    **declared: Any,
) -> Autoencoder:
    """``assemble`` with a reference of 4x4 images; what is left is declared."""
    return assemble(
        networks,
        Reading(**declared),
        shape,
        classes,
        BATCH,
        probe_images=probe_images,
        probe_labels=probe_labels,
    )


def images_like(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """uint8 reference images."""
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.uint8)


def decisions(vae: Autoencoder) -> dict[str, str]:
    """CheckpointJob to verdict."""
    return {decision.subject: decision.verdict for decision in vae.description.decisions}
