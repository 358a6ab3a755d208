"""Parts of an autoencoder, and one network whose shapes say what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_networks import (
    LATENT,
    SHAPE,
    decoder,
    encoder,
    images_like,
    mean_of,
    network,
    pair,
    pixels_of,
    put_together,
    second_of,
)
from scipy.special import expit

from vae_batch.models.formats.format import Network, Networks
from vae_batch.plan import CheckpointError

LATENTS = np.random.default_rng(3).normal(size=(6, LATENT)).astype(np.float32)


def whole(network: Network) -> Networks:
    return Networks("keras", whole=network)


def through(run: Callable[..., Any] | None = None, **known: Any) -> Network:
    """Images to images."""
    known = {"activation": "sigmoid"} | known
    same = run or (lambda x: expit(pixels_of(mean_of(x))).reshape(-1, *SHAPE))
    return network({"x": SHAPE}, {"y": SHAPE}, same, **known)


def test_a_decoder_alone() -> None:
    vae = put_together(pair(None, decoder()))
    reason = "the checkpoint holds a decoder alone"
    assert vae.description.missing == {"encoder": reason, "posterior": reason}
    assert vae.decode(LATENTS).shape == (6, *SHAPE)
    with pytest.raises(CheckpointError, match=reason):
        vae.encode(vae.to_model(images_like(2)))


def test_an_encoder_alone() -> None:
    vae = put_together(pair(encoder(), None))
    assert vae.description.missing == {"decoder": "the checkpoint holds an encoder alone"}
    assert (vae.description.likelihood, vae.description.output) == (None, None)
    assert (
        "without a decoder it cannot be checked; declare --model-range"
        in (vae.description.warnings[0])
    )
    assert vae.encode(vae.to_model(images_like(2)))[0].shape == (2, LATENT)
    with pytest.raises(CheckpointError, match="the checkpoint holds an encoder alone"):
        vae.decode(LATENTS)
    declared = put_together(pair(encoder(), None), model_range="-1..1")
    assert declared.description.warnings == ()
    with pytest.raises(CheckpointError, match=r"nothing can be scored.*add its decoder"):
        put_together(pair(encoder(["code"]), None))


def test_a_plain_autoencoder() -> None:
    vae = put_together(pair(encoder(["code"]), decoder()))
    assert set(vae.description.missing) == {"posterior", "prior"}
    assert "--prior normal" in vae.description.missing["prior"]
    mean, logvar = vae.encode(vae.to_model(images_like(2)))
    assert logvar is None
    assert mean.shape == (2, LATENT)
    declared = put_together(pair(encoder(["code"]), decoder()), prior="normal")
    assert set(declared.description.missing) == {"posterior"}
    assert declared.description.second_head is None


def test_a_vae_of_which_only_z_is_left() -> None:
    """Drawn, it cannot reconstruct; with its sampler replaced, it is the posterior mean."""
    noise = np.random.default_rng(0)
    drawn = network({"x": SHAPE}, {"z": (LATENT,)},
                    lambda x: mean_of(x) + noise.normal(size=(len(x), LATENT)))  # fmt: skip
    vae = put_together(pair(drawn, decoder()))
    assert set(vae.description.missing) == {"encoder", "posterior"}
    assert (
        "nothing but 'z', which is a random sample; save the encoder"
        in vae.description.missing["encoder"]
    )
    shimmed = put_together(pair(encoder(["z"], replaced=("sampling",)), decoder()))
    assert set(shimmed.description.missing) == {"posterior"}
    assert shimmed.encode(shimmed.to_model(images_like(2)))[1] is None


def test_one_network_of_images_to_images() -> None:
    vae = put_together(whole(through()))
    assert set(vae.description.missing) == {"posterior", "prior"}
    assert vae.latent_shape == SHAPE
    images = vae.to_model(images_like(5))
    code, logvar = vae.encode(images)
    assert logvar is None
    expected = expit(pixels_of(mean_of(images)))
    np.testing.assert_allclose(vae.decode(code).reshape(5, -1), expected, rtol=1e-5)
    assert "prior" in put_together(whole(through()), prior="normal").description.missing


def test_one_conditional_network_of_images_to_images() -> None:
    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return expit(pixels_of(mean_of(x)) + y.argmax(axis=1)[:, None]).reshape(-1, *SHAPE)

    one = network({"x": SHAPE, "y": (5,)}, {"out": SHAPE}, run, activation="sigmoid")
    vae = put_together(whole(one), classes=5)
    assert vae.description.condition == "one-hot labels, 5 classes"
    images, labels = vae.to_model(images_like(3)), np.array([4, 0, 2])
    expected = expit(pixels_of(mean_of(images)) + labels[:, None])
    decoded = vae.decode(vae.encode(images, labels)[0], labels)
    np.testing.assert_allclose(decoded.reshape(3, -1), expected, rtol=1e-5)


def test_one_drawing_network_of_images_to_images_is_refused() -> None:
    noise = np.random.default_rng(0)

    def run(x: np.ndarray) -> np.ndarray:
        z = mean_of(x) + noise.normal(size=(len(x), LATENT))
        return expit(pixels_of(z)).reshape(-1, *SHAPE)

    with pytest.raises(CheckpointError, match=r"draws a latent sample inside.*encoder\.keras"):
        put_together(whole(through(run)))


@pytest.mark.parametrize(
    ("one", "missing"),
    [
        (encoder(), {"decoder"}),
        (decoder(), {"encoder", "posterior"}),
        (
            network(
                {"x": SHAPE},
                {"y": SHAPE, "mu": (LATENT,), "log_var": (LATENT,)},
                lambda x: (x, mean_of(x), second_of(x)),
            ),
            {"decoder"},
        ),
    ],
)
def test_the_shapes_of_one_network_say_what_it_is(one: Network, missing: set[str]) -> None:
    assert set(put_together(whole(one)).description.missing) == missing


@pytest.mark.parametrize(
    "one",
    [
        network({"x": SHAPE}, {"classes": (5,)}, lambda x: x.reshape(-1, 16)[:, :5]),
        network({"z": (2,)}, {"y": (3,)}, lambda z: z.repeat(2, axis=1)[:, :3]),
    ],
)
def test_one_network_that_is_no_autoencoder(one: Network) -> None:
    with pytest.raises(CheckpointError, match=r"inputs '[xz]' .*; outputs .*; name the model's"):
        put_together(whole(one))


def test_a_larger_model_asks_how_images_fit() -> None:
    """Digits of 4x4 in a model of 6x6: as halves, and as one network."""

    def encode(x: np.ndarray) -> tuple[np.ndarray, ...]:
        inner = x[:, 1:5, 1:5]
        return mean_of(inner), second_of(inner)

    def decode(z: np.ndarray) -> np.ndarray:
        image = expit(pixels_of(z)).reshape(-1, 4, 4, 1)
        return np.pad(image, [(0, 0), (1, 1), (1, 1), (0, 0)])

    half = network({"x": (6, 6, 1)}, {"mean": (LATENT,), "logvar": (LATENT,)}, encode)
    other = network({"z": (LATENT,)}, {"y": (6, 6, 1)}, decode, activation="sigmoid")
    for networks in (pair(half, other), pair(None, other), whole(other), whole(half)):
        with pytest.raises(CheckpointError, match=r"--input-fit pad .* or --input-fit resize"):
            put_together(networks)
    pixels = images_like(3)
    padded = put_together(pair(half, other), input_fit="pad", probe_images=pixels)
    found = padded.description
    assert (found.image_shape, found.input_fit) == ((6, 6, 1), "pad")
    mean, _ = padded.encode(padded.to_model(pixels))
    expected = mean_of(pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    pictures = padded.to_pictures(padded.decode(mean))
    np.testing.assert_allclose(
        pictures.reshape(3, -1), 255 * expit(pixels_of(mean)), atol=0.51, rtol=0
    )
    resized = put_together(pair(half, other), input_fit="resize", probe_images=pixels)
    assert resized.to_pictures(resized.decode(mean)).shape == (3, *SHAPE)
    unneeded = put_together(pair(encoder(), decoder()), input_fit="pad")
    assert unneeded.description.input_fit is None


def test_an_encoder_of_free_size_takes_the_decoders() -> None:
    def encode(x: np.ndarray) -> tuple[np.ndarray, ...]:
        assert x.shape[1:] == (6, 6, 1)
        return mean_of(x[:, :4, :4]), second_of(x[:, :4, :4])

    heads = {"mean": (LATENT,), "logvar": (LATENT,)}
    half = network({"x": (None, None, 1)}, heads, encode)
    other = network({"z": (LATENT,)}, {"y": (6, 6, 1)},
                    lambda z: z[:, :1, None, None].repeat(6, 1).repeat(6, 2),
                    activation="linear")  # fmt: skip
    vae = put_together(pair(half, other), input_fit="resize", likelihood="bernoulli")
    assert vae.description.image_shape == (6, 6, 1)


def test_halves_of_two_vaes_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"outputs of shapes \[\(3,\), \(3,\)\].*\(2,\)"):
        put_together(pair(encoder(), network({"z": (2,)}, {"y": SHAPE}, lambda z: z)))
    large = network({"z": (LATENT,)}, {"y": (6, 6, 1)}, lambda z: np.ones((len(z), 6, 6, 1)),
                    activation="sigmoid")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"takes images of 4x4, but the decoder gives"):
        put_together(pair(encoder(), large), input_fit="pad")
