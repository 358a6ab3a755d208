"""Logits, probabilities or a mean; the likelihood; and what black and white are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import (
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
from scipy.special import expit

from vae_batch.plan import CheckpointError

LATENTS = np.random.default_rng(3).normal(size=(6, LATENT)).astype(np.float32)
GAUSSIAN = {"likelihood": "gaussian", "sigma": 0.5}


@pytest.mark.parametrize(
    ("activation", "separable", "declared", "expected"),
    [
        ("sigmoid", True, {}, ("bernoulli", "logits", "0..1")),
        ("sigmoid", False, {}, ("bernoulli", "probabilities", "0..1")),
        ("sigmoid", True, {"likelihood": "bernoulli"}, ("bernoulli", "logits", "0..1")),
        ("sigmoid", True, GAUSSIAN, ("gaussian", "mean", "0..1")),
        ("linear", True, {"likelihood": "bernoulli"}, ("bernoulli", "logits", "0..1")),
        (None, True, {"likelihood": "bernoulli"}, ("bernoulli", "logits", "0..1")),
        ("tanh", True, GAUSSIAN, ("gaussian", "mean", "-1..1")),
        ("tanh", True, GAUSSIAN | {"model_range": "0..1"}, ("gaussian", "mean", "0..1")),
        ("linear", True, GAUSSIAN | {"model_range": "-1..1"}, ("gaussian", "mean", "-1..1")),
    ],
)
def test_likelihoods_and_ranges(
    activation: str | None, separable: bool, declared: dict[str, Any], expected: tuple[str, ...]
) -> None:
    half = decoder(activation, separable=separable)
    vae = put_together(pair(encoder(), half), **declared)
    found = vae.description
    assert (found.likelihood, found.output, found.value_range) == expected
    means = {"sigmoid": expit, "tanh": np.tanh}.get(activation or "", lambda x: x)
    if expected[1] == "logits":
        means = expit
    np.testing.assert_allclose(
        vae.to_means(vae.decode(LATENTS)).reshape(6, -1), means(pixels_of(LATENTS)), rtol=1e-5
    )


def test_values_replace_an_unknown_activation() -> None:
    """A format that tells no activation: values within 0..1 are probabilities."""
    half = network({"z": (LATENT,)}, {"x": SHAPE}, lambda z: expit(pixels_of(z)).reshape(-1, 4, 4))
    vae = put_together(pair(None, half), likelihood="bernoulli")
    assert vae.description.output == "probabilities"


@pytest.mark.parametrize(
    ("activation", "declared", "sentence"),
    [
        ("linear", {}, r"likelihood cannot be inferred: .*activation 'linear'.*--likelihood gauss"),
        (None, {}, r"likelihood cannot be inferred: the decoder's last activation is unknown"),
        ("tanh", {"likelihood": "bernoulli"}, "which are no Bernoulli probabilities"),
        ("sigmoid", {"model_range": "-1..1"}, "needs pixels in 0..1"),
    ],
)
def test_likelihoods_that_cannot_be(
    activation: str | None, declared: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        put_together(pair(encoder(), decoder(activation)), **declared)


def test_a_sigmoid_that_is_not_the_last_step_stays() -> None:
    """The network without it gives other images (here: scaled), so probabilities are kept."""

    def broken() -> Any:
        return network({"z": (LATENT,)}, {"x": SHAPE}, lambda z: 9 * z @ np.ones((LATENT, 16)))

    half = network({"z": (LATENT,)}, {"x": (16,)}, lambda z: expit(pixels_of(z)),
                   activation="sigmoid", before_sigmoid=broken)  # fmt: skip
    vae = put_together(pair(None, half))
    assert vae.description.output == "probabilities"
    assert "cannot be removed" in repr(vae.description.decisions)


def two_outputs(first: str, second: str, scale_shape: tuple[int, ...] = SHAPE) -> Any:
    def run(z: np.ndarray) -> tuple[np.ndarray, ...]:
        mean = np.tanh(pixels_of(z)).reshape(-1, *SHAPE)
        scale = np.full((len(z), *scale_shape), -7, np.float32)
        return (scale, mean) if "scale" in first else (mean, scale)

    shapes = (scale_shape, SHAPE) if "scale" in first else (SHAPE, scale_shape)
    return network({"z": (LATENT,)}, dict(zip((first, second), shapes, strict=True)), run)


@pytest.mark.parametrize(
    "half",
    [
        two_outputs("mean", "dense"),
        two_outputs("dense", "log_scale"),
        two_outputs("log_scale", "dense"),
        two_outputs("dense", "dense_1", scale_shape=(1,)),
    ],
)
def test_the_mean_of_two_outputs_is_taken(half: Any) -> None:
    vae = put_together(pair(None, half), **GAUSSIAN, model_range="-1..1")
    expected = np.tanh(pixels_of(LATENTS)).reshape(-1, *SHAPE)
    np.testing.assert_allclose(vae.decode(LATENTS), expected, rtol=1e-6)


def test_two_nameless_images_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"'dense' .* 'dense_1' .*save a decoder with that"):
        put_together(pair(None, two_outputs("dense", "dense_1")), **GAUSSIAN)


def test_drawn_pixels_are_refused() -> None:
    draw = np.random.default_rng(0)
    half = network({"z": (LATENT,)}, {"x": SHAPE},
                   lambda z: draw.random((len(z), *SHAPE)), activation="sigmoid")  # fmt: skip
    with pytest.raises(CheckpointError, match="other images for the same latents"):
        put_together(pair(None, half))


def scaled_decoder(low: float, high: float) -> Any:
    def run(z: np.ndarray) -> np.ndarray:
        return (low + (high - low) * expit(pixels_of(z))).reshape(-1, *SHAPE)

    return network({"z": (LATENT,)}, {"x": SHAPE}, run, activation="linear")


@pytest.mark.parametrize(
    ("low", "high", "hint", "found"),
    [
        (0, 1, None, "0..1"),
        (-0.1, 1.1, None, "0..1"),  # overshoot
        (0, 255, "0..255", "0..255"),
        (0, 1, "0..1", "0..1"),
    ],
)
def test_inferred_ranges_that_fit(low: float, high: float, hint: str | None, found: str) -> None:
    halves = pair(encoder(input_hint=hint), scaled_decoder(low, high))
    assert put_together(halves, **GAUSSIAN).description.value_range == found


@pytest.mark.parametrize(("low", "high", "hint"), [(-1, 1, None), (0, 255, None), (0, 1, "0..255")])
def test_inferred_ranges_that_do_not_fit(low: float, high: float, hint: str | None) -> None:
    halves = pair(encoder(input_hint=hint), scaled_decoder(low, high))
    with pytest.raises(CheckpointError, match=r"do not look like pixels in .*--model-range"):
        put_together(halves, **GAUSSIAN)


def test_a_declared_range_that_does_not_fit_is_a_warning() -> None:
    halves = pair(encoder(), scaled_decoder(0, 255))
    vae = put_together(halves, **GAUSSIAN, model_range="0..1")
    assert "declared by --model-range" in vae.description.warnings[0]
    images = put_together(halves, **GAUSSIAN, model_range="0..255")
    assert images.description.warnings == ()


def test_an_encoder_that_rescales_gets_its_own_range() -> None:
    """Rescaling(1/255) first, a sigmoid last: the decoder gives 0..1, the encoder takes 0..255."""
    seen = []

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(float(x.max()))
        return mean_of(x / 255), second_of(x / 255)

    half = network({"x": SHAPE}, {"z_mean": (LATENT,), "z_log_var": (LATENT,)}, run,
                   input_hint="0..255")  # fmt: skip
    vae = put_together(pair(half, decoder()))
    assert (vae.description.value_range, vae.description.output) == ("0..1", "logits")
    assert decisions(vae)["encoder's own range"] == "0..255"
    images = vae.to_model(images_like(3))
    mean, _ = vae.encode(images)
    assert seen[-1] > 200
    np.testing.assert_allclose(mean, mean_of(images), rtol=1e-4, atol=1e-5)


def test_an_encoder_of_integers_gets_pixels() -> None:
    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        assert x.dtype == np.uint8
        return mean_of(x / np.float32(255)), second_of(x / np.float32(255))

    half = network({"x:uint8": SHAPE}, {"z_mean": (LATENT,), "z_log_var": (LATENT,)}, run)
    vae = put_together(pair(half, decoder()))
    images = vae.to_model(images_like(3))
    np.testing.assert_allclose(vae.encode(images)[0], mean_of(images), rtol=1e-4, atol=1e-5)
