"""Real Keras models: what their graphs tell is enough to put them together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from support.models.toy_models import LATENT, SHAPE, make_decoder, make_encoder

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import Networks
from vae_batch.models.formats.keras.network import network_of, networks_of
from vae_batch.plan import CheckpointError, Reading

IMAGES = np.random.default_rng(0).integers(0, 256, (32, *SHAPE)).astype(np.uint8)
LATENTS = np.random.default_rng(1).normal(size=(6, LATENT)).astype(np.float32)


def put_together(encoder: Any, decoder: Any, classes: int | None = None, **declared: Any) -> Any:
    halves = {"encoder": encoder, "decoder": decoder}
    networks = Networks("keras", **{k: network_of(m, k) for k, m in halves.items() if m})
    return of_networks(networks, classes, **declared)


def of_networks(networks: Networks, classes: int | None = None, **declared: Any) -> Autoencoder:
    labels = np.arange(32) % classes if classes else None
    reading = Reading(**declared)
    return assemble(networks, reading, SHAPE, classes, 16, probe_images=IMAGES, probe_labels=labels)


def test_a_pair_and_its_bits() -> None:
    encoder, decoder = make_encoder(3), make_decoder(3)
    vae = put_together(encoder, decoder)
    images = vae.to_model(IMAGES)
    for found, expected in zip(vae.encode(images), encoder(images), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert vae.description.output == "logits"
    np.testing.assert_allclose(expit(vae.decode(LATENTS)), decoder(LATENTS), atol=1e-6)
    np.testing.assert_array_equal(vae.decode(LATENTS)[:3], vae.decode(LATENTS[:3]))


def test_a_sampling_layer_confirms_the_log_variance() -> None:
    vae = put_together(make_encoder(3, with_z=True), make_decoder(3))
    how = {d.subject: d.how for d in vae.description.decisions}
    assert how["second head"] == ("output 'logvar'; it has negative values; 256 draws of z agree")


def test_one_file_of_both_halves() -> None:
    import keras

    encoder, decoder = make_encoder(3, with_z=True), make_decoder(3)
    images = keras.Input(SHAPE)
    model = keras.Model(images, decoder(encoder(images)[2]), name="vae")
    single = of_networks(networks_of(model, "vae.keras", "keras"))
    pair = put_together(make_encoder(3), make_decoder(3))
    np.testing.assert_array_equal(single.decode(LATENTS), pair.decode(LATENTS))
    images = pair.to_model(IMAGES)
    for one, other in zip(single.encode(images), pair.encode(images), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_conditional_vae_with_an_embedding() -> None:
    import keras

    images, label = keras.Input(SHAPE, name="x"), keras.Input((1,), name="y", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(4, 5)(label))
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(images), embedded])
    heads = [keras.layers.Dense(2, name=name)(hidden) for name in ("z_mean", "z_log_var")]
    latents, one_hot = keras.Input((2,)), keras.Input((4,))
    both = keras.layers.Concatenate()([latents, one_hot])
    pixels = keras.layers.Reshape(SHAPE)(keras.layers.Dense(64, "sigmoid")(both))
    encoder, decoder = keras.Model([images, label], heads), keras.Model([latents, one_hot], pixels)
    vae = put_together(encoder, decoder, classes=4)
    assert vae.description.condition == (
        "encoder: integer labels, 4 classes; decoder: one-hot labels, 4 classes"
    )
    labels = np.array([3, 0, 1, 2, 2, 0])
    inputs = vae.to_model(IMAGES[:6])
    mean, _ = vae.encode(inputs, labels)
    np.testing.assert_allclose(
        mean, encoder([inputs, labels.reshape(-1, 1)])[0], rtol=1e-4, atol=1e-6
    )
    decoded = decoder([mean, np.eye(4, dtype=np.float32)[labels]])
    np.testing.assert_allclose(expit(vae.decode(mean, labels)), decoded, atol=1e-6)
    with pytest.raises(CheckpointError, match="the reference images have none"):
        put_together(encoder, decoder)


def test_a_rescaling_encoder_beside_a_sigmoid() -> None:
    import keras

    pixels = keras.Input(SHAPE)
    inner = make_encoder(3)
    encoder = keras.Model(pixels, inner(keras.layers.Rescaling(1 / 255)(pixels)))
    vae, plain = put_together(encoder, make_decoder(3)), put_together(inner, make_decoder(3))
    images = plain.to_model(IMAGES)
    np.testing.assert_allclose(vae.encode(images)[0], plain.encode(images)[0], rtol=1e-4, atol=1e-5)


def test_a_plain_sequential_autoencoder() -> None:
    import keras

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(5, "relu"),
            keras.layers.Dense(64, "sigmoid"),
        ]
    )
    vae = of_networks(networks_of(model, "ae.keras", "keras"))
    assert set(vae.description.missing) == {"posterior", "prior"}
    images = vae.to_model(IMAGES)
    code, logvar = vae.encode(images)
    assert logvar is None
    expected = np.asarray(model(images.reshape(32, 64))).reshape(32, *SHAPE)
    np.testing.assert_allclose(vae.to_means(vae.decode(code)), expected, atol=1e-6)


def test_padded_convolutions() -> None:
    """A 12x12 convolutional VAE of 8x8 digits, with spatial latents."""
    import keras

    images = keras.Input((12, 12, 1))
    hidden = keras.layers.Conv2D(4, 3, 2, "same", activation="relu")(images)
    heads = [keras.layers.Conv2D(2, 1, name=name)(hidden) for name in ("mu", "log_var")]
    latents = keras.Input((6, 6, 2))
    grown = keras.layers.Conv2DTranspose(1, 3, 2, "same")(latents)
    decoder = keras.Model(latents, keras.layers.Activation("sigmoid")(grown))
    vae = put_together(keras.Model(images, heads), decoder, input_fit="pad")
    assert (vae.latent_shape, vae.description.image_shape) == ((6, 6, 2), (12, 12, 1))
    pictures = vae.to_pictures(vae.decode(vae.encode(vae.to_model(IMAGES))[0]))
    assert pictures.shape == IMAGES.shape
