"""A small convolutional VAE for demos and tests, saved after several epochs of its training.

The objective is the beta-VAE's, -E_q log p(x|z) + beta KL(q(z|x) || N(0, I)), in nats per image,
with a Bernoulli likelihood and one sample of z. TensorFlow is imported when training starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vae_batch.models.training.fitting import Array, Tensor, layer_maker, save_model, train_epochs
from vae_batch.plan.errors import InputError

if TYPE_CHECKING:
    import keras

Layout = Literal["pair", "single"]
_STRIDE = 4  # two layers of stride 2


@dataclass(frozen=True)
class VaeNetwork:
    """One set of weights, as the models that use it.

    Attributes:
        encoder: (n, H, W, C) float32 in [0, 1] to [mean, logvar], each (n, latent_dim).
        decoder: (n, latent_dim) to (n, H, W, C) Bernoulli means; its last layer is a sigmoid.
        trunk: The decoder without its last layer.
    """

    encoder: keras.Model
    decoder: keras.Model
    trunk: keras.Model

    def logits(self, latents: Tensor) -> Tensor:
        """The decoder before its sigmoid, so that the NLL stays exact where float32 saturates."""
        import keras

        head = self.decoder.layers[-1]
        features = self.trunk(latents, training=True)
        return keras.ops.conv(features, head.kernel, padding="same") + head.bias


def train_vae(
    images: Array,
    out: str,
    *,
    epochs: Sequence[int],
    latent_dim: int = 8,
    beta: float = 1.0,
    width: int = 32,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    layout: Layout = "pair",
    on_epoch: Callable[[int, float, float], None] | None = None,
) -> list[str]:
    """Train a VAE and save a checkpoint after each of ``epochs``.

    The same arguments give the same files, byte for byte, on one machine's CPU with one number of
    threads: initial weights, order and noise depend on ``seed`` alone, not on global random state.

    Args:
        images: (n, H, W) or (n, H, W, C) uint8 in [0, 255]; any size, any C.
        out: Folder of the checkpoints, created if missing; files of the same name are overwritten.
        epochs: Epochs after which to save, each at least 1; the largest ends the training.
        latent_dim: Dimensions of z.
        beta: Weight of the KL term.
        width: Channels of the first layer; the second has twice as many.
        batch_size: Images per step; an incomplete last batch is skipped.
        learning_rate: Of Adam.
        seed: Of initial weights, order and noise.
        layout: ``pair`` writes ``step-0001/encoder.keras`` ([mean, logvar]) and ``decoder.keras``;
            ``single`` writes ``step-0001.keras``, a model with nested ``encoder`` ([mean, logvar,
            z]) and ``decoder``.
        on_epoch: Called with (epoch, mean NLL, mean KL), in nats per image, after every epoch.

    Returns:
        Paths of the checkpoints in order: folders for ``pair``, files for ``single``.

    Raises:
        InputError: The images or a setting cannot be used.
    """
    images = _nhwc_uint8(images)
    saves = _save_epochs(epochs)
    _check_settings(layout, min(latent_dim, width, batch_size), learning_rate, beta)
    network = build_vae(images.shape[1:], latent_dim, width, seed)
    variables = network.encoder.trainable_variables + network.decoder.trainable_variables
    losses = train_epochs(
        lambda batch, noise_seed: elbo_terms(network, batch, beta, noise_seed),
        variables,
        [images],
        epochs=saves[-1],
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    written = []
    for epoch, (_, nll, kl) in enumerate(losses, start=1):
        if on_epoch is not None:
            on_epoch(epoch, nll, kl)
        if epoch in saves:
            written.append(_save(network, Path(out), epoch, layout, seed))
    return written


def build_vae(shape: tuple[int, ...], latent_dim: int, width: int, seed: int) -> VaeNetwork:
    """An untrained VAE for images (H, W, C).

    Sides that are no multiple of 4 are padded with black inside the encoder and cropped before
    the decoder's last layer.
    """
    import keras

    height, width_px, channels = shape
    padding = tuple(_margins(side) for side in (height, width_px))
    rows, columns = (math.ceil(side / _STRIDE) for side in (height, width_px))
    layer = layer_maker(seed)
    conv, up, dense = keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense
    halving = {"strides": 2, "padding": "same"}

    image = keras.Input(shape, name="image")
    hidden = keras.layers.ZeroPadding2D(padding, name="pad")(image)
    hidden = layer(conv, "down_1", width, 3, **halving)(hidden)
    hidden = layer(conv, "down_2", 2 * width, 3, **halving)(hidden)
    hidden = keras.layers.Flatten(name="flatten")(hidden)
    hidden = layer(dense, "hidden", 4 * width)(hidden)
    mean = layer(dense, "mean", latent_dim, activation=None)(hidden)
    logvar = layer(dense, "logvar", latent_dim, activation=None)(hidden)

    z = keras.Input((latent_dim,), name="z")
    hidden = layer(dense, "positions", rows * columns * 2 * width)(z)
    hidden = keras.layers.Reshape((rows, columns, 2 * width), name="reshape")(hidden)
    hidden = layer(up, "up_1", 2 * width, 3, **halving)(hidden)
    hidden = layer(up, "up_2", width, 3, **halving)(hidden)
    hidden = keras.layers.Cropping2D(padding, name="crop")(hidden)
    pixels = layer(conv, "pixels", channels, 3, padding="same", activation="sigmoid")(hidden)
    return VaeNetwork(
        encoder=keras.Model(image, [mean, logvar], name="encoder"),
        decoder=keras.Model(z, pixels, name="decoder"),
        trunk=keras.Model(z, hidden, name="trunk"),
    )


def elbo_terms(
    network: VaeNetwork, batch: Tensor, beta: float, noise_seed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(NLL + beta KL, NLL, KL) in nats per image, means over a uint8 batch (n, H, W, C).

    Bernoulli NLL in its softplus form and Gaussian KL in closed form (1312.6114, appendix B).
    """
    import tensorflow as tf

    x = tf.cast(batch, tf.float32) / 255.0
    mean, logvar = network.encoder(x, training=True)
    noise = tf.random.stateless_normal(tf.shape(mean), noise_seed)
    logits = network.logits(mean + tf.exp(0.5 * logvar) * noise)
    pixel_nll = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
    nll = tf.reduce_mean(tf.reduce_sum(pixel_nll, axis=[1, 2, 3]))
    kl_terms = 0.5 * (tf.square(mean) + tf.math.expm1(logvar) - logvar)
    kl = tf.reduce_mean(tf.reduce_sum(kl_terms, axis=1))
    return nll + beta * kl, nll, kl


def _save(network: VaeNetwork, out: Path, epoch: int, layout: Layout, seed: int) -> str:
    """Write one checkpoint; returns its path."""
    name = f"step-{epoch:04d}"
    if layout == "pair":
        save_model(network.decoder, out / name / "decoder.keras")
        save_model(network.encoder, out / name / "encoder.keras")
        return str(out / name)
    save_model(_single_model(network, seed), out / f"{name}.keras")
    return str(out / f"{name}.keras")


def _single_model(network: VaeNetwork, seed: int) -> keras.Model:
    """Reconstruction model with nested ``encoder`` (mean, logvar, z) and ``decoder``."""
    import keras

    from vae_batch.models.layers import Sampling

    mean, logvar = network.encoder.outputs
    z = Sampling(seed=seed, name="sampling")([mean, logvar])
    encoder = keras.Model(network.encoder.inputs, [mean, logvar, z], name="encoder")
    image = keras.Input(encoder.input_shape[1:], name="image")
    return keras.Model(image, network.decoder(encoder(image)[2]), name="vae")


def _margins(side: int) -> tuple[int, int]:
    """Pixels before and after that make a side a multiple of 4."""
    missing = -side % _STRIDE
    return missing // 2, missing - missing // 2


def _nhwc_uint8(images: Array) -> Array:
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise InputError(
            f"images to train on must be uint8 of shape (n, H, W) or (n, H, W, C), n at least 1; "
            f"got {images.dtype} of shape {images.shape}"
        )
    return images


def _save_epochs(epochs: Sequence[int]) -> list[int]:
    saves = sorted(set(epochs))
    if not saves or saves[0] < 1:
        raise InputError(
            f"epochs at which to save must be one or more numbers from 1 up; got {list(epochs)}"
        )
    return saves


def _check_settings(layout: str, smallest_size: int, learning_rate: float, beta: float) -> None:
    if layout not in ("pair", "single"):
        raise InputError(f"layout {layout!r} is not known; it may be 'pair' or 'single'")
    if smallest_size < 1 or not learning_rate > 0 or not beta >= 0:
        raise InputError(
            "latent_dim, width and batch_size must be at least 1, learning_rate above 0 and beta "
            f"at least 0; got a size of {smallest_size}, learning_rate {learning_rate}, beta {beta}"
        )
