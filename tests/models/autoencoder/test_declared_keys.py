"""Keys that a refusal offers: those that can be right, the likeliest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import (
    LATENT,
    SHAPE,
    decoder,
    encoder,
    mean_of,
    network,
    pair,
    pixels_of,
    put_together,
)
from scipy.special import expit

from vae_batch.models.formats.format import Network, Networks
from vae_batch.plan import CheckpointError

GAUSSIAN = {"likelihood": "gaussian", "sigma": "optimal"}
NOISE = np.random.default_rng(0)


def offered(networks: Any, **declared: Any) -> dict[str, object]:
    with pytest.raises(CheckpointError) as caught:
        put_together(networks, **declared)
    return caught.value.declare


def giving(pixels: Any, activation: str | None = "linear") -> Networks:
    """A decoder that gives these values of its logits."""
    run = lambda z: pixels(pixels_of(z)).reshape(-1, *SHAPE)  # noqa: E731
    half = network({"z": (LATENT,)}, {"x": SHAPE}, run, activation=activation)
    return pair(encoder(), half)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("linear", {"likelihood": ("bernoulli", "gaussian")}),
        (None, {"likelihood": ("bernoulli", "gaussian")}),
        ("tanh", GAUSSIAN),  # below 0, so no probabilities, and no logits
    ],
)
def test_a_likelihood(activation: str | None, expected: dict[str, object]) -> None:
    assert offered(pair(encoder(), decoder(activation))) == expected


def test_values_that_are_no_probabilities() -> None:
    networks = giving(lambda logits: 3 * expit(logits), activation="relu")
    assert offered(networks, likelihood="bernoulli") == GAUSSIAN


@pytest.mark.parametrize(
    ("pixels", "first"),
    [
        (lambda logits: 255 * expit(logits), "0..255"),
        (lambda logits: 2 * expit(4 * logits) - 1, "-1..1"),
    ],
)
def test_a_range_by_the_decoders_values(pixels: Any, first: str) -> None:
    found = offered(giving(pixels), likelihood="gaussian", sigma=1.0)
    assert set(found) == {"model_range"}
    choices = found["model_range"]
    assert isinstance(choices, tuple)
    assert choices[0] == first
    assert set(choices) == {"-1..1", "0..255"}


def test_a_bernoulli_decoder_has_one_range() -> None:
    networks = pair(encoder(), decoder())
    assert offered(networks, model_range="-1..1") == {"model_range": "0..1"}


def with_second_head(second: Any, name: str, *, z: Any = None) -> Networks:
    """Second head of a name; ``z`` is the standard deviation of what is drawn."""
    names = {"z_mean": (LATENT,), name: (LATENT,)} | ({"z": (LATENT,)} if z else {})

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        heads = mean_of(x), second(mean_of(x))
        drawn = (heads[0] + z(heads[1]) * NOISE.normal(size=heads[0].shape),) if z else ()
        return (*heads, *drawn)

    return pair(network({"x": SHAPE}, names, run), decoder())


@pytest.mark.parametrize(
    ("networks", "declared", "expected"),
    [
        (with_second_head(np.tanh, "log_sigma"), None, ("logvar", "log_std")),
        (with_second_head(np.exp, "head"), None, ("logvar", "log_std", "std")),
        (with_second_head(np.tanh, "std"), None, ("logvar", "log_std")),
        (with_second_head(np.tanh, "std"), "std", ("logvar", "log_std")),
        # Its name says the logarithm of a variance, its draws that of a standard deviation.
        (with_second_head(np.tanh, "log_var", z=np.exp), None, "log_std"),
    ],
)
def test_a_second_head(networks: Networks, declared: str | None, expected: Any) -> None:
    asked = {"second_head": declared} if declared else {}
    assert offered(networks, **asked) == {"second_head": expected}


@pytest.mark.parametrize(
    ("side", "declared", "expected"),
    [
        (6, {}, ("pad", "resize")),
        (3, {}, "resize"),
        (3, {"input_fit": "pad"}, "resize"),
    ],
)
def test_another_size(side: int, declared: dict[str, str], expected: Any) -> None:
    shape = (side, side, 1)
    half = network({"z": (LATENT,)}, {"x": shape},
                   lambda z: np.zeros((len(z), *shape)), activation="sigmoid")  # fmt: skip
    assert offered(pair(None, half), **declared) == {"input_fit": expected}


def labelled() -> Network:
    return network({"z": (LATENT,), "y": (5,)}, {"x": SHAPE},
                   lambda z, y: expit(pixels_of(z)).reshape(-1, *SHAPE),
                   activation="sigmoid")  # fmt: skip


def test_labels_of_another_form() -> None:
    networks = pair(None, labelled())
    assert offered(networks, classes=5, labels="integer") == {"labels": "one-hot"}


def test_no_key_gives_a_reference_labels() -> None:
    assert offered(pair(None, labelled())) == {}
