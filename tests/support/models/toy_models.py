"""Tiny Keras VAEs and classifiers with seeded weights, saved as users save theirs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (8, 8, 1)
LATENT = 3


def make_encoder(seed: int, *, with_z: bool = False, shape: tuple[int, int, int] = SHAPE) -> Any:
    import keras

    from vae_batch.models.layers import Sampling

    images = keras.Input(shape)
    hidden = keras.layers.Dense(12, "tanh")(keras.layers.Flatten()(images))
    mean = keras.layers.Dense(LATENT, name="mean")(hidden)
    logvar = keras.layers.Dense(LATENT, name="logvar")(hidden)
    heads = [mean, logvar, Sampling()([mean, logvar])] if with_z else [mean, logvar]
    return _seeded(keras.Model(images, heads, name="encoder"), seed)


def make_decoder(
    seed: int, activation: str = "sigmoid", shape: tuple[int, int, int] = SHAPE
) -> Any:
    import keras

    latents = keras.Input((LATENT,))
    size = math.prod(shape)
    pixels = keras.layers.Dense(size, activation)(keras.layers.Dense(12, "tanh")(latents))
    model = keras.Model(latents, keras.layers.Reshape(shape)(pixels), name="decoder")
    return _seeded(model, seed + 100)


def save_pair(
    folder: Path,
    seed: int,
    activation: str = "sigmoid",
    shape: tuple[int, int, int] = SHAPE,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    make_encoder(seed, shape=shape).save(folder / "encoder.keras")
    make_decoder(seed, activation, shape).save(folder / "decoder.keras")


def save_single(path: Path, seed: int) -> None:
    import keras

    path.parent.mkdir(parents=True, exist_ok=True)
    encoder, decoder = make_encoder(seed, with_z=True), make_decoder(seed)
    images = keras.Input(SHAPE)
    keras.Model(images, decoder(encoder(images)[2]), name="vae").save(path)


def save_classifier(path: Path, last: str = "softmax", seed: int = 7) -> None:
    import keras

    images = keras.Input((8, 8, 3))
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    features = keras.layers.Dense(16, "relu", name="features")(scaled)
    model = keras.Model(images, keras.layers.Dense(10, last)(features))
    _seeded(model, seed).save(path)


def _seeded(model: Any, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    model.set_weights(
        [
            draw.normal(0, 0.6, w.shape).astype(np.float32) if w.dtype.kind == "f" else w
            for w in model.get_weights()
        ]
    )
    return model
