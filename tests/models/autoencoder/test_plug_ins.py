"""VAEs of plain arrays, as plug-ins give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fake_networks import (
    LATENT,
    SHAPE,
    mean_of,
    pixels_of,
    put_together,
    second_of,
)
from scipy.special import expit

from vae_batch.plan import CheckpointError

LATENTS = np.random.default_rng(3).normal(size=(6, LATENT)).astype(np.float32)


@dataclass
class PlugIn:
    """Arrays of a plug-in, such as a PyTorch decoder's."""

    latent_shape: Any = (LATENT,)
    image_shape: Any = SHAPE
    output: Any = "logits"
    encode: Any = None
    decode: Any = None


def logits_of(latents: np.ndarray) -> np.ndarray:
    return pixels_of(latents).reshape(-1, *SHAPE)


def heads_of(images: np.ndarray) -> tuple[np.ndarray, ...]:
    return mean_of(images), second_of(images)


def test_plug_ins() -> None:
    vae = put_together(PlugIn(encode=heads_of, decode=logits_of))
    found = vae.description
    assert (found.format, found.output, found.second_head) == ("arrays", "logits", "logvar")
    assert found.missing == {}
    np.testing.assert_allclose(vae.decode(LATENTS), logits_of(LATENTS), rtol=1e-6)
    alone = put_together(PlugIn(decode=logits_of))
    assert set(alone.description.missing) == {"encoder", "posterior"}
    encoder_alone = put_together(PlugIn(encode=heads_of))
    assert set(encoder_alone.description.missing) == {"decoder"}
    plain = put_together(PlugIn(encode=lambda x: (mean_of(x), None), decode=logits_of))
    assert set(plain.description.missing) == {"posterior", "prior"}


@pytest.mark.parametrize(
    ("output", "declared", "expected"),
    [
        ("logits", {}, ("bernoulli", "logits")),
        ("probabilities", {}, ("bernoulli", "probabilities")),
        ("probabilities", {"likelihood": "gaussian", "sigma": 1.0}, ("gaussian", "mean")),
        ("mean", {"likelihood": "gaussian", "sigma": 1.0}, ("gaussian", "mean")),
    ],
)
def test_outputs_of_plug_ins(output: str, declared: dict[str, Any], expected: Any) -> None:
    plug_in = PlugIn(decode=lambda z: expit(logits_of(z)), output=output)
    found = put_together(plug_in, **declared).description
    assert (found.likelihood, found.output) == expected


@pytest.mark.parametrize(
    ("plug_in", "declared", "sentence"),
    [
        (PlugIn(), {}, "neither encode nor decode"),
        (PlugIn(decode=logits_of, output="pixels"), {}, "output is 'pixels', expected logits"),
        (PlugIn(decode=logits_of, latent_shape=()), {}, r"latent_shape is \(\)"),
        (PlugIn(decode=pixels_of), {}, r"decode gives an array of shape \(8, 16\)"),
        (PlugIn(encode=lambda x: (*heads_of(x), mean_of(x))), {}, "encode gives 3 arrays"),
        (PlugIn(decode=logits_of, output="mean"), {}, "--likelihood gaussian --sigma S"),
        (PlugIn(decode=logits_of), {"likelihood": "gaussian", "sigma": 1.0}, "leave it out"),
        (PlugIn(decode=logits_of, output="probabilities"), {}, "no Bernoulli probabilities"),
        (PlugIn(decode=lambda z: 1 / 0), {}, "decode cannot be run: division by zero"),
    ],
)
def test_plug_ins_that_keep_to_another_protocol(
    plug_in: PlugIn, declared: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        put_together(plug_in, **declared)
