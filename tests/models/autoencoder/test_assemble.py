"""Whole pairs: what goes in and out of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_networks import (
    BATCH,
    LATENT,
    SHAPE,
    decisions,
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

from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import CheckpointError

LATENTS = np.random.default_rng(3).normal(size=(6, LATENT)).astype(np.float32)


def test_a_pair() -> None:
    pixels = images_like(6)
    vae = put_together(pair(encoder(), decoder()), probe_images=pixels)
    found = vae.description
    assert (found.format, found.latent_shape, found.image_shape) == ("keras", (LATENT,), SHAPE)
    assert (found.likelihood, found.output, found.second_head) == ("bernoulli", "logits", "logvar")
    assert (found.condition, found.input_fit, found.missing) == (None, None, {})
    images = vae.to_model(pixels)
    mean, logvar = vae.encode(images)
    np.testing.assert_allclose(mean, mean_of(images), rtol=1e-5)
    np.testing.assert_allclose(logvar, second_of(images), rtol=1e-5)
    decoded = vae.decode(LATENTS)
    assert (decoded.shape, decoded.dtype) == ((6, *SHAPE), np.float32)
    np.testing.assert_allclose(decoded.reshape(6, -1), pixels_of(LATENTS), rtol=1e-5)
    assert vae.to_pictures(decoded).dtype == np.uint8
    assert Description.from_json(found.to_json()) == found
    assert decisions(vae) == {
        "parts": "encoder and decoder",
        "decoder output": "logits, bernoulli likelihood",
        "posterior": "mean is 'z_mean', second head is 'z_log_var'",
        "prior": "N(0, I)",
        "images in": "channels-last (4, 4, 1)",
        "images out": "channels-last (4, 4, 1)",
        "value range": "0..1",
        "second head": "log-variance",
    }


def test_it_is_the_same_description_every_time() -> None:
    made = [
        put_together(pair(encoder(), decoder()), probe_images=images_like(40)).description.to_json()
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_rows_do_not_depend_on_their_number() -> None:
    sizes = []

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append(len(x))
        return mean_of(x), second_of(x)

    half = network({"x": SHAPE}, {"z_mean": (LATENT,), "z_log_var": (LATENT,)}, run)
    vae = put_together(pair(half, decoder()))
    images = vae.to_model(images_like(11))
    np.testing.assert_array_equal(vae.encode(images)[0][:5], vae.encode(images[:5])[0])
    assert set(sizes) == {BATCH}


@pytest.mark.parametrize("kind", ["log_std", "std"])
def test_second_heads_arrive_as_log_variance(kind: str) -> None:
    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        second = second_of(x) if kind == "log_std" else np.exp(second_of(x))
        return mean_of(x), second

    half = network({"x": SHAPE}, {"mu": (LATENT,), kind: (LATENT,)}, run)
    vae = put_together(pair(half, decoder()))
    images = vae.to_model(images_like(3))
    np.testing.assert_allclose(vae.encode(images)[1], 2 * second_of(images), rtol=1e-4, atol=1e-5)
    assert vae.description.second_head == kind


def test_draws_of_z_decide_an_ambiguous_head() -> None:
    noise = np.random.default_rng(0)

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        mean, sigma = mean_of(x), second_of(x)
        return noise.normal(size=mean.shape) * np.exp(sigma) + mean, mean, sigma

    heads = {"z": (LATENT,), "z_mean": (LATENT,), "z_log_sigma": (LATENT,)}
    vae = put_together(pair(network({"x": SHAPE}, heads, run), decoder()))
    assert vae.description.second_head == "log_std"
    assert decisions(vae)["posterior"] == (
        "mean is 'z_mean', second head is 'z_log_sigma', z is 'z'"
    )


def test_a_shimmed_sampler_cannot_decide() -> None:
    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return mean_of(x), second_of(x), mean_of(x)

    heads = {"z_mean": (LATENT,), "z_log_sigma": (LATENT,), "sampling": (LATENT,)}
    half = network({"x": SHAPE}, heads, run, replaced=("sampling",))
    with pytest.raises(CheckpointError, match="declare --second-head logvar, log_std or std"):
        put_together(pair(half, decoder()))
    vae = put_together(pair(half, decoder()), second_head="logvar")
    assert vae.description.second_head == "logvar"
    named = network({"x": SHAPE}, {"a": (LATENT,), "logvar": (LATENT,), "z": (LATENT,)}, run,
                    replaced=("sampling",))  # fmt: skip
    how = repr(put_together(pair(named, decoder())).description.decisions)
    assert "layer 'sampling' is replaced by its mean" in how


def test_packed_heads() -> None:
    def run(x: np.ndarray) -> np.ndarray:
        return np.concatenate([mean_of(x), second_of(x)], axis=1)

    half = network({"x": SHAPE}, {"dense": (2 * LATENT,)}, run)
    vae = put_together(pair(half, decoder()))
    images = vae.to_model(images_like(5))
    mean, logvar = vae.encode(images)
    np.testing.assert_allclose(mean, mean_of(images), rtol=1e-5)
    np.testing.assert_allclose(logvar, second_of(images), rtol=1e-5)
    assert vae.latent_shape == (LATENT,)


def test_a_second_head_of_another_shape_is_not_dropped() -> None:
    """One variance for all dimensions: read as a plain autoencoder it would lose its posterior."""
    heads = {"z_mean": (LATENT,), "z_log_var": (1,)}
    half = network({"x": SHAPE}, heads, lambda x: (mean_of(x), second_of(x)[:, :1]))
    with pytest.raises(CheckpointError, match=r"outputs of shapes \[\(3,\), \(1,\)\]"):
        put_together(pair(half, decoder()))


def test_spatial_latents_and_free_sizes() -> None:
    """A convolutional pair with free sizes: the probe's run tells them."""

    def encode(x: np.ndarray) -> tuple[np.ndarray, ...]:
        small = x[:, ::2, ::2].repeat(2, axis=-1)
        return small, small - 1

    def decode(z: np.ndarray) -> np.ndarray:
        return z[..., :1].repeat(2, axis=1).repeat(2, axis=2) - 0.5

    free = (None, None, 2)
    half = network({"x": (None, None, 1)}, {"mean": free, "logvar": free}, encode)
    other = network({"z": free}, {"y": (None, None, 1)}, decode, activation="linear")
    vae = put_together(pair(half, other), likelihood="bernoulli")
    assert (vae.latent_shape, vae.description.image_shape) == ((2, 2, 2), SHAPE)
    with pytest.raises(CheckpointError, match="expected a fixed shape of the decoder input"):
        put_together(pair(None, other), likelihood="bernoulli")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    sick = network({"z": (LATENT,)}, {"y": SHAPE}, lambda z: np.full((len(z), *SHAPE), bad),
                   activation="sigmoid")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"the decoder gives 1024 non-finite values"):
        put_together(pair(encoder(), sick))
    heads = {"mean": (LATENT,), "logvar": (LATENT,)}
    half = network({"x": SHAPE}, heads, lambda x: (mean_of(x), bad * np.ones((len(x), LATENT))))
    with pytest.raises(CheckpointError, match="second head gives 768 non-finite values"):
        put_together(pair(half, decoder()))
    half = network({"x": SHAPE}, {"code": (LATENT,)}, lambda x: bad * np.ones((len(x), LATENT)))
    with pytest.raises(CheckpointError, match="encoder's mean gives 6 non-finite values"):
        put_together(pair(half, decoder()))
    weights = encoder(weights=lambda: iter([("dense/kernel", np.array([1, bad]))]))
    with pytest.raises(CheckpointError, match="encoder's weight dense/kernel holds NaN"):
        put_together(pair(weights, decoder()))


def test_whatever_a_network_raises_is_the_checkpoints_fault() -> None:
    def fail(x: np.ndarray) -> np.ndarray:
        raise MemoryError("64 GiB")

    half = network({"x": SHAPE}, {"mean": (LATENT,), "logvar": (LATENT,)}, fail)
    with pytest.raises(CheckpointError, match="the encoder cannot be run: 64 GiB"):
        put_together(pair(half, decoder()))


def test_reconstructions_that_are_no_better_than_the_mean_image() -> None:
    """Images along one axis: an encoder and a decoder of that axis beat their mean."""
    level = np.linspace(0, 255, 40).astype(np.uint8)
    pixels = np.broadcast_to(level[:, None, None, None], (40, *SHAPE)).copy()

    def encode(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return x.reshape(-1, 16)[:, :LATENT], second_of(x)

    heads = {"mean": (LATENT,), "logvar": (LATENT,)}
    half = network({"x": SHAPE}, heads, encode)
    good = network({"z": (LATENT,)}, {"y": SHAPE}, lambda z: z[:, :1].repeat(16, 1))
    flat = network({"z": (LATENT,)}, {"y": SHAPE}, lambda z: 0 * z[:, :1].repeat(16, 1))
    for other in (good, flat):
        object.__setattr__(other, "run", _as_images(other.run))
    gaussian = {"likelihood": "gaussian", "sigma": 1.0}
    assert (
        put_together(pair(half, good), probe_images=pixels, **gaussian).description.warnings == ()
    )
    warned = put_together(pair(half, flat), probe_images=pixels, **gaussian).description.warnings
    assert "no better than the mean of the first 40 reference images" in warned[0]
    # mean of squares of an even spread over 0..1, against its variance: 1/3 and 1/12
    assert "mean squared error 0.34 against 0.088" in warned[0]


def _as_images(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arrays: tuple(output.reshape(-1, *SHAPE) for output in run(*arrays))


def test_a_colour_model_of_channels_first() -> None:
    shape = (2, 4, 3)
    weights = np.random.default_rng(5).normal(size=(24, LATENT)).astype(np.float32)

    def encode(x: np.ndarray) -> tuple[np.ndarray, ...]:
        assert x.shape[1:] == (3, 2, 4)
        flat = np.moveaxis(x, 1, -1).reshape(len(x), -1)
        return flat @ weights, -(flat @ weights)

    half = network({"x": (3, 2, 4)}, {"mean": (LATENT,), "logvar": (LATENT,)}, encode)
    other = network({"z": (LATENT,)}, {"y": (24,)}, lambda z: z @ weights.T, activation="linear")
    vae = put_together(pair(half, other), shape=shape, likelihood="bernoulli")
    images = vae.to_model(images_like(3, shape))
    np.testing.assert_allclose(vae.encode(images)[0], images.reshape(3, -1) @ weights, rtol=1e-4)
    assert vae.decode(LATENTS).shape == (6, *shape)
