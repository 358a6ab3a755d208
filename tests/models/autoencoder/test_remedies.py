"""What a refusal tells to do is done as it says, and the checkpoint can be scored.

Refusals of files are in ``tests/commands/test_inspect_toml.py``; here are those of networks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fake_networks import (
    CLASSES,
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

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import Network
from vae_batch.plan import CheckpointError

Settings = Mapping[str, Any]
DRAW = np.random.default_rng(0)
GAUSSIAN = {"likelihood": "gaussian", "sigma": 0.5}
HEADS = {"z_mean": (LATENT,), "z_log_var": (LATENT,)}


def heads(*names: str, run: Callable[[Any], tuple[Any, ...]]) -> Network:
    return network({"images": SHAPE}, {name: (LATENT,) for name in names}, run)


def noise(images: np.ndarray) -> np.ndarray:
    return DRAW.normal(size=(len(images), LATENT))


def decoder_of(run: Callable[[Any], Any], *names: str, activation: str | None = None) -> Network:
    outputs = {name: SHAPE for name in names or ("pixels",)}
    return network({"z": (LATENT,)}, outputs, run, activation=activation)


def pixels(latents: np.ndarray) -> np.ndarray:
    return expit(pixels_of(latents)).reshape(-1, *SHAPE)


def with_scale(name: str, of: Callable[[Any], Any] = lambda logs: logs) -> Network:
    """A decoder with a second output made from log standard deviations of -2 to -1."""

    def run(latents: np.ndarray) -> tuple[np.ndarray, ...]:
        means = pixels(latents)
        return means, of(means - 2)

    return decoder_of(run, "mean", name)


def second(name: str, of: Callable[[Any], Any] = lambda logvar: logvar) -> Network:
    return heads("z_mean", name, run=lambda x: (mean_of(x), of(second_of(x))))


def labelled(ports: Settings) -> Network:
    return network(ports, HEADS, lambda x, *_: (mean_of(x), second_of(x)))


@dataclass(frozen=True)
class Case:
    """Halves that are refused, and the same after the remedy.

    Attributes:
        words: Of the sentence; what it tells to do is a part of them.
        encoder: Half, or None.
        decoder: Half, or None.
        settings: Declared, or of the reference.
        encoder_then: Saved again as the sentence says; the same where the remedy is declared.
        decoder_then: As ``encoder_then``.
        declare: What the sentence tells to declare, or to change in the reference.
    """

    words: str
    encoder: Network | None = None
    decoder: Network | None = None
    settings: Settings = field(default_factory=dict)
    encoder_then: Network | None = None
    decoder_then: Network | None = None
    declare: Settings = field(default_factory=dict)


MEAN_AND_LOGVAR = encoder()
PIXELS = decoder()
FIXED_SAVE = r"save an encoder with the outputs \[mean, log-variance\]"

CASES = {
    # Declared
    "likelihood, bernoulli": Case(
        "declare --likelihood bernoulli", encoder(), decoder("linear"),
        declare={"likelihood": "bernoulli"},
    ),
    "likelihood, gaussian": Case(
        "or --likelihood gaussian --sigma S", encoder(), decoder("linear"),
        declare={**GAUSSIAN, "model_range": "-1..1"},
    ),
    "tanh": Case(
        "declare --likelihood gaussian --sigma S", encoder(), decoder("tanh"),
        {"likelihood": "bernoulli"}, declare=GAUSSIAN,
    ),
    "bernoulli of another range": Case(
        r"set --model-range 0\.\.1", encoder(), PIXELS, {"model_range": "-1..1"},
        declare={"model_range": "0..1"},
    ),
    "bernoulli of another range, gaussian": Case(
        "or declare --likelihood gaussian --sigma S", encoder(), PIXELS, {"model_range": "-1..1"},
        declare=GAUSSIAN,
    ),
    "range": Case(
        r"declare the --model-range of its training images: .*0\.\.255", encoder(),
        decoder_of(lambda z: 255 * pixels(z), activation="linear"), GAUSSIAN,
        declare={"model_range": "0..255"},
    ),
    "second head, logvar": Case(
        "declare --second-head logvar", second("z_log_sigma"), PIXELS,
        declare={"second_head": "logvar"},
    ),
    "second head, log_std": Case(
        "logvar, log_std or std", second("z_log_sigma"), PIXELS,
        declare={"second_head": "log_std"},
    ),
    "second head, std": Case(
        "log_std or std, whichever", second("dense_1", lambda s: np.exp(s / 2)), PIXELS,
        declare={"second_head": "std"},
    ),
    "negative std": Case(
        "declare --second-head logvar or log_std", second("std"), PIXELS, {"second_head": "std"},
        declare={"second_head": "logvar"},
    ),
    "labels": Case(
        "declare --labels one-hot or leave it out", labelled({"x": SHAPE, "y": (CLASSES,)}), None,
        {"classes": CLASSES, "labels": "integer"}, declare={"labels": "one-hot"},
    ),
    "labels, left out": Case(
        "declare --labels one-hot or leave it out", labelled({"x": SHAPE, "y": (CLASSES,)}), None,
        {"classes": CLASSES, "labels": "integer"}, declare={"labels": None},
    ),
    "classes": Case(
        "score this checkpoint against the data set it was trained on",
        labelled({"x": SHAPE, "y": (7,)}), None, {"classes": 5}, declare={"classes": 7},
    ),
    "larger images, padded": Case(
        "declare --input-fit pad", encoder(), PIXELS, {"shape": (3, 3, 1)},
        declare={"input_fit": "pad"},
    ),
    "larger images, resized": Case(
        "or --input-fit resize", encoder(), PIXELS, {"shape": (3, 3, 1)},
        declare={"input_fit": "resize"},
    ),
    "smaller images": Case(
        "declare --input-fit resize", encoder(), PIXELS, {"shape": (8, 8, 1)},
        declare={"input_fit": "resize"},
    ),
    "smaller images, padded": Case(
        "pad is impossible; declare --input-fit resize", encoder(), PIXELS,
        {"shape": (8, 8, 1), "input_fit": "pad"}, declare={"input_fit": "resize"},
    ),
    "colours": Case(
        "declare --reference-colours grey", encoder(), PIXELS, {"shape": (4, 4, 3)},
        declare={"shape": (4, 4, 1)},
    ),
    "no scale": Case(
        "or declare --sigma as a number or optimal", encoder(), PIXELS,
        {"likelihood": "gaussian", "sigma": "learned"}, declare={"sigma": "optimal"},
    ),
    # Saved again
    "no scale of this name": Case(
        "is named log_var, log_std or std; .*name it so", encoder(), with_scale("dense_1"),
        {"likelihood": "gaussian", "sigma": "learned"}, decoder_then=with_scale("log_std"),
    ),
    "negative scale": Case(
        "name it log_std or log_var", encoder(), with_scale("std"),
        {"likelihood": "gaussian", "sigma": "learned"}, decoder_then=with_scale("log_var"),
    ),
    "two images": Case(
        "save a decoder with that output alone", encoder(),
        decoder_of(lambda z: (pixels(z), pixels(z)), "dense", "dense_1"), GAUSSIAN,
        decoder_then=decoder_of(pixels, "dense"),
    ),
    "drawn pixels": Case(
        r"save a decoder that returns the mean \(or probabilities, or logits\)", encoder(),
        decoder_of(lambda z: DRAW.random((len(z), *SHAPE)), activation="sigmoid"),
        decoder_then=PIXELS,
    ),
    "a random mean": Case(
        FIXED_SAVE, heads("z_mean", "z_log_var", run=lambda x: (noise(x), second_of(x))), PIXELS,
        encoder_then=MEAN_AND_LOGVAR,
    ),
    "all random": Case(
        FIXED_SAVE, heads("z_mean", "z_log_var", run=lambda x: (noise(x), noise(x))), PIXELS,
        encoder_then=MEAN_AND_LOGVAR,
    ),
    "z and a second head": Case(
        FIXED_SAVE, heads("z", "z_log_var", run=lambda x: (noise(x), second_of(x))), PIXELS,
        encoder_then=MEAN_AND_LOGVAR,
    ),
    "a variance": Case(
        "save an encoder whose second output is its logarithm",
        heads("z_mean", "z_var", "z", run=lambda x: (
            mean_of(x), np.exp(second_of(x)),
            mean_of(x) + np.exp(second_of(x) / 2) * noise(x),
        )), PIXELS,
        encoder_then=MEAN_AND_LOGVAR,
    ),
    "another input": Case(
        "save it without the others", labelled({"x": SHAPE, "y": (CLASSES,), "t": (1,)}), None,
        {"classes": CLASSES}, encoder_then=labelled({"x": SHAPE, "y": (CLASSES,)}),
    ),
    "labels of no form": Case(
        "save a model that takes labels in one of these forms",
        labelled({"x": SHAPE, "y": (2, 3)}), None, {"classes": CLASSES},
        encoder_then=labelled({"x": SHAPE, "y:int32": (1,)}),
    ),
    "latents of no size, with the encoder": Case(
        "save its encoder beside it", None,
        network({"z": (None,)}, {"x": SHAPE}, pixels, activation="sigmoid"),
        encoder_then=MEAN_AND_LOGVAR,
    ),
    "latents of no size": Case(
        "or the decoder with a fixed input shape", None,
        network({"z": (None,)}, {"x": SHAPE}, pixels, activation="sigmoid"),
        decoder_then=PIXELS,
    ),
    "a code alone, with the decoder": Case(
        "add its decoder", heads("code", run=lambda x: (mean_of(x),)), None, decoder_then=PIXELS,
    ),
    "a code alone": Case(
        r"or save the encoder with the outputs \[mean, log-variance\]",
        heads("code", run=lambda x: (mean_of(x),)), None, encoder_then=MEAN_AND_LOGVAR,
    ),
    "halves of two sizes": Case(
        "save a decoder that ends in the size it was trained against", encoder(),
        network({"z": (LATENT,)}, {"x": (6, 6, 1)}, lambda z: np.zeros((len(z), 6, 6, 1)) + 0.5),
        GAUSSIAN,
        decoder_then=decoder_of(pixels, "dense"),
    ),
}  # fmt: skip


def open_halves(one: Network | None, other: Network | None, settings: Settings) -> Autoencoder:
    shape = settings.get("shape", SHAPE)
    labels = np.arange(64) % settings["classes"] if settings.get("classes") else None
    return put_together(
        pair(one, other),
        **settings,
        probe_images=images_like(64, shape),
        probe_labels=labels,
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_remedy_of_a_refusal_works(case: Case) -> None:
    with pytest.raises(CheckpointError, match=case.words) as refusal:
        open_halves(case.encoder, case.decoder, case.settings)
    for key, value in case.declare.items():
        flag = "--" + key.replace("_", "-")
        if key in ("likelihood", "second_head", "labels", "input_fit") and value is not None:
            assert re.search(rf"{flag}[a-z_, -]* {value}\b", str(refusal.value))
    assert case.declare or case.encoder_then or case.decoder_then
    vae = open_halves(
        case.encoder_then or case.encoder,
        case.decoder_then or case.decoder,
        {**case.settings, **case.declare},
    )
    shape, classes = {**case.settings, **case.declare}.get("shape", SHAPE), vae.description
    labels = np.array([0, 1, 2])
    if "encoder" not in vae.description.missing:
        mean, logvar = vae.encode(vae.to_model(images_like(3, shape)), labels)
        assert np.isfinite(mean).all()
        assert logvar is None or np.isfinite(logvar).all()
    if "decoder" not in vae.description.missing:
        decoded = vae.decode(np.ones((3, LATENT), np.float32), labels)
        assert np.isfinite(decoded).all()
    assert classes.missing.keys() <= {"encoder", "decoder", "posterior", "prior"}
