"""One seeded VAE of 8x8 digits in every shape that a VAE may have, as real Keras files.

All have the halves of ``toy_models`` inside, so that what each gives follows from float64 formulas:
mean and log-variance of ``exact_heads``, pixels before the sigmoid of ``exact_logits``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from models.formats.same_vae import exact_logits
from support.models.toy_models import LATENT, SHAPE, make_decoder, make_encoder

SEED = 5
CLASSES = 10
BORDER = 2

#: Shift of each class, (10, 3) of the posterior's mean and (10, 64) of the logits.
OF_MEAN = np.random.default_rng(11).normal(size=(CLASSES, LATENT)).astype(np.float32)
OF_LOGITS = np.random.default_rng(12).normal(size=(CLASSES, 64)).astype(np.float32)


@dataclass(frozen=True)
class SavedVae:
    """Files, and what has to be declared of them.

    Attributes:
      path: A folder with halves, or one file.
      declared: Keys of the spec.
    """

    path: str
    declared: Mapping[str, Any] = field(default_factory=dict)


def save_vae(shape: str, folder: Path) -> SavedVae:
    """Save one of SHAPES in a folder of its name below ``folder``."""
    target = folder / shape
    target.mkdir(parents=True)
    halves, declared = SHAPES[shape]()
    if set(halves) == {"model"}:
        halves["model"].save(target / "vae.keras")
        return SavedVae(str(target / "vae.keras"), declared)
    for role, half in halves.items():
        half.save(target / f"{role}.keras")
    return SavedVae(str(target), declared)


Made = tuple[dict[str, Any], dict[str, Any]]


def _pair() -> Made:
    return {"encoder": make_encoder(SEED), "decoder": make_decoder(SEED)}, {}


def _decoder_alone() -> Made:
    return {"decoder": make_decoder(SEED)}, {}


def _encoder_alone() -> Made:
    return {"encoder": make_encoder(SEED)}, {}


def _plain() -> Made:
    """An autoencoder's code is its only output."""
    import keras

    encoder = make_encoder(SEED)
    code = keras.Model(encoder.inputs, encoder.outputs[0])
    return {"encoder": code, "decoder": make_decoder(SEED)}, {}


def _plain_with_prior() -> Made:
    return _plain()[0], {"prior": "normal"}


def _plain_in_one() -> Made:
    """Images to images, without layers named encoder and decoder."""
    import keras

    images = keras.Input(SHAPE)
    hidden, heads = images, make_encoder(SEED)
    for layer in heads.layers[1:3]:
        hidden = layer(hidden)
    hidden = heads.get_layer("mean")(hidden)
    for layer in make_decoder(SEED).layers[1:]:
        hidden = layer(hidden)
    return {"model": keras.Model(images, hidden)}, {}


def _conditional(label: Callable[[], Any], one_hot: Callable[[Any], Any]) -> Made:
    """Labels shift the mean and the logits."""
    import keras

    images, of_image, of_latent = keras.Input(SHAPE, name="images"), label(), label()
    mean, logvar = make_encoder(SEED)(images)
    shift = keras.layers.Dense(LATENT, use_bias=False)
    moved = keras.layers.Add(name="mean")([mean, shift(one_hot(of_image))])
    logvar = keras.layers.Identity(name="logvar")(logvar)
    encoder = keras.Model([images, of_image], [moved, logvar])
    latents = keras.Input((LATENT,), name="z")
    pixels = keras.layers.Dense(64, use_bias=False)
    logits = keras.layers.Reshape(SHAPE)(pixels(one_hot(of_latent)))
    both = keras.layers.Add()([make_decoder(SEED, "linear")(latents), logits])
    decoder = keras.Model([latents, of_latent], keras.layers.Activation("sigmoid")(both))
    shift.set_weights([OF_MEAN])
    pixels.set_weights([OF_LOGITS])
    return {"encoder": encoder, "decoder": decoder}, {}


def _conditional_one_hot() -> Made:
    import keras

    return _conditional(lambda: keras.Input((CLASSES,), name="label"), lambda labels: labels)


def _conditional_integer() -> Made:
    import keras

    def one_hot(labels: Any) -> Any:
        table = keras.layers.Embedding(CLASSES, CLASSES, embeddings_initializer="identity")
        return keras.layers.Flatten()(table(labels))

    return _conditional(lambda: keras.Input((1,), dtype="int32", name="label"), one_hot)


def _padded() -> Made:
    """A black border goes in, and one of probability 1/2 comes out."""
    import keras

    side = SHAPE[0] + 2 * BORDER
    images, latents = keras.Input((side, side, 1)), keras.Input((LATENT,))
    inner = keras.layers.Cropping2D(BORDER)(images)
    logits = keras.layers.ZeroPadding2D(BORDER)(make_decoder(SEED, "linear")(latents))
    encoder = keras.Model(images, _named(make_encoder(SEED)(inner)))
    decoder = keras.Model(latents, keras.layers.Activation("sigmoid")(logits))
    return {"encoder": encoder, "decoder": decoder}, {"input_fit": "pad"}


def _of_range(low: float, high: float, last: str, scale: float) -> dict[str, Any]:
    """Halves for pixels of another range, which no layer tells.

    The encoder's first weights undo the range; the decoder gives low + (high - low) * (1 + t) / 2,
    where t is ``last`` of ``scale`` times the logits.
    """
    width = high - low
    encoder, decoder = make_encoder(SEED), make_decoder(SEED, last)
    kernel, bias, *heads = encoder.get_weights()
    encoder.set_weights([kernel / width, bias - low / width * kernel.sum(axis=0), *heads])
    *first, kernel, bias = decoder.get_weights()
    if last == "linear":
        decoder.set_weights(
            [*first, kernel * scale * width / 2, bias * scale * width / 2 + (low + high) / 2]
        )
    else:
        decoder.set_weights([*first, kernel * scale, bias * scale])
    return {"encoder": encoder, "decoder": decoder}


def _minus_one_to_one() -> Made:
    """tanh(l / 2) = 2 sigmoid(l) - 1, so its picture is the pair's."""
    return _of_range(-1.0, 1.0, "tanh", 0.5), {"likelihood": "gaussian", "sigma": 0.5}


def _bytes() -> Made:
    declared = {"likelihood": "gaussian", "sigma": 50.0, "model_range": "0..255"}
    return _of_range(0.0, 255.0, "linear", 0.2), declared


def _packed() -> Made:
    import keras

    encoder = make_encoder(SEED)
    joined = keras.layers.Concatenate()(encoder.outputs)
    return {
        "encoder": keras.Model(encoder.inputs, joined), "decoder": make_decoder(SEED)
    }, {}  # fmt: skip


def _with_second_head(name: str, of_logvar: Callable[[Any], Any]) -> Made:
    encoder = make_encoder(SEED)
    import keras

    mean, logvar = encoder.outputs
    second = keras.layers.Identity(name=name)(of_logvar(logvar))
    return {
        "encoder": keras.Model(encoder.inputs, [mean, second]), "decoder": make_decoder(SEED)
    }, {}  # fmt: skip


def _log_std() -> Made:
    import keras

    return _with_second_head("z_log_std", keras.layers.Rescaling(0.5))


def _std() -> Made:
    import keras

    return _with_second_head("z_std", lambda v: keras.ops.exp(keras.layers.Rescaling(0.5)(v)))


def unclear_head() -> Made:
    """``sigma`` may be a standard deviation or its logarithm or twice that; values do not tell."""
    import keras

    made, _ = _with_second_head("log_sigma", keras.layers.Rescaling(0.5))
    return made, {"second_head": "log_std"}


def unclear_likelihood() -> Made:
    """Nothing follows the logits."""
    halves = {"encoder": make_encoder(SEED), "decoder": make_decoder(SEED, "linear")}
    return halves, {"likelihood": "bernoulli"}


def _named(heads: Any) -> list[Any]:
    import keras

    names = ("mean", "logvar")
    return [keras.layers.Identity(name=n)(h) for n, h in zip(names, heads, strict=True)]


def logits_of_class(latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What the conditional decoders give before their sigmoid, (n, 8, 8, 1) float64."""
    return exact_logits(latents, SEED) + OF_LOGITS[labels].astype(np.float64).reshape(-1, *SHAPE)


SHAPES: dict[str, Callable[[], Made]] = {
    "pair": _pair,
    "decoder_alone": _decoder_alone,
    "encoder_alone": _encoder_alone,
    "plain": _plain,
    "plain_with_prior": _plain_with_prior,
    "plain_in_one": _plain_in_one,
    "conditional_one_hot": _conditional_one_hot,
    "conditional_integer": _conditional_integer,
    "padded": _padded,
    "minus_one_to_one": _minus_one_to_one,
    "bytes": _bytes,
    "packed": _packed,
    "log_std": _log_std,
    "std": _std,
    "unclear_head": unclear_head,
    "unclear_likelihood": unclear_likelihood,
}
