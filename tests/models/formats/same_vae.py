"""One seeded VAE saved in every format that users have: 8x8x1 images, latent 3.

``for kind in KINDS: saved = save(kind, folder)`` gives the files, what the user has to declare of
them, and what the score table calls the format. Encoder and decoder compute the same function of
the same weights in all of them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from models.formats.edited_files import age_hdf5, age_zip
from support.models.toy_builders import SHAPE, decoder_of, encoder_of, subclassed_of, whole_of
from support.models.toy_models import make_decoder, make_encoder

from vae_batch.models.formats.format import Networks
from vae_batch.plan.reading import Reading

SEED = 5


@dataclass(frozen=True)
class SavedVae:
    """The VAE as a user would hand it over.

    Attributes:
      kind: A key of KINDS.
      path: What the user types: a file, or a folder with both halves.
      files: Role to path, as the scan finds them.
      format: ``model_format`` of its score.
      reading: What has to be declared.
      trust: Whether code has to be run.
    """

    kind: str
    path: str
    files: dict[str, str]
    format: str
    reading: Reading = Reading()  # noqa: RUF009  frozen
    trust: bool = False


def save(kind: str, folder: Path, seed: int = SEED) -> SavedVae:
    """Save the VAE of a seed as one kind, in a folder of that name below ``folder``."""
    target = folder / kind
    target.mkdir(parents=True)
    with _quiet():
        return KINDS[kind](kind, target, seed)


def exact_heads(images: np.ndarray, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of (n, 8, 8, 1) images in float64, by the network's formula."""
    kernel, bias, *heads = (w.astype(np.float64) for w in make_encoder(seed).get_weights())
    hidden = np.tanh(images.reshape(len(images), -1) @ kernel + bias)
    return hidden @ heads[0] + heads[1], hidden @ heads[2] + heads[3]


def exact_logits(latents: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Pixels of (n, 3) latents before the sigmoid, (n, 8, 8, 1) in float64."""
    first, bias, last, shift = (w.astype(np.float64) for w in make_decoder(seed).get_weights())
    return (np.tanh(latents @ first + bias) @ last + shift).reshape(-1, *SHAPE)


def check_same(networks: Networks) -> None:
    """Assert that loaded networks compute the seeded VAE's function in float32."""
    draw = np.random.default_rng(0)
    images = draw.random((5, *SHAPE)).astype(np.float32)
    latents = draw.normal(size=(5, 3)).astype(np.float32)
    heads = dict(zip(("mean", "logvar"), exact_heads(images), strict=True))
    given = networks.encoder.run(images)
    for place, (port, values) in enumerate(zip(networks.encoder.outputs, given, strict=True)):
        name = port.name if port.name in heads else ("mean", "logvar", "z")[place]
        if name in heads:
            np.testing.assert_allclose(values, heads[name], rtol=1e-5, atol=1e-5)
    assert networks.encoder.inputs[0].shape == SHAPE
    assert networks.decoder.inputs[0].shape == (3,)
    assert networks.decoder.outputs[0].shape == SHAPE
    assert networks.decoder.activation == "sigmoid"
    logits = exact_logits(latents)
    (pixels,) = networks.decoder.run(latents)
    np.testing.assert_allclose(pixels, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    (before,) = networks.decoder.before_sigmoid().run(latents)
    np.testing.assert_allclose(before, logits, rtol=1e-5, atol=1e-5)
    assert {values.size for _, values in networks.decoder.weights()} == {36, 12, 768, 64}


def keras_models(seed: int = SEED) -> tuple[Any, Any]:
    """Encoder (mean, log-variance) and decoder in Keras 3."""
    return make_encoder(seed), make_decoder(seed)


def tf_keras_models(seed: int = SEED, sampling: str | None = None) -> tuple[Any, Any]:
    """The same in tf_keras; the encoder perhaps with a third output z."""
    import tf_keras

    encoder, decoder = encoder_of(tf_keras, sampling), decoder_of(tf_keras)
    for ours, theirs in zip((encoder, decoder), keras_models(seed), strict=True):
        ours.set_weights(theirs.get_weights())
    return encoder, decoder


def pair(kind: str, folder: Path, suffix: str, form: str, **declared: Any) -> SavedVae:
    files = {role: str(folder / f"{role}{suffix}") for role in ("encoder", "decoder")}
    return SavedVae(kind, str(folder), files, form, **declared)


def single(kind: str, path: Path, form: str, **declared: Any) -> SavedVae:
    return SavedVae(kind, str(path), {"model": str(path)}, form, **declared)


def _keras_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in keras_models(seed):
        model.save(folder / f"{model.name}.keras")
    return pair(kind, folder, ".keras", "keras")


def _keras_single(kind: str, folder: Path, seed: int) -> SavedVae:
    import keras

    whole_of(keras, *keras_models(seed)).save(folder / "vae.keras")
    return single(kind, folder / "vae.keras", "keras")


def _h5_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in keras_models(seed):
        model.save(folder / f"{model.name}.h5")
    return pair(kind, folder, ".h5", "hdf5")


def _hdf5_named_keras(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in keras_models(seed):
        model.save(folder / "model.h5")
        (folder / "model.h5").rename(folder / f"{model.name}.keras")
    return pair(kind, folder, ".keras", "hdf5")


def _tf_keras_h5_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    """As TF 2.7 saved it; Keras 3 can read it."""
    for model in tf_keras_models(seed):
        model.save(folder / f"{model.name}.h5")
        age_hdf5(folder / f"{model.name}.h5")
    return pair(kind, folder, ".h5", "hdf5")


def _tf_keras_ops(kind: str, folder: Path, seed: int) -> SavedVae:
    """Sampling written with TensorFlow functions, which only tf.keras 2 can read."""
    import tf_keras

    whole_of(tf_keras, *tf_keras_models(seed, "ops")).save(folder / "vae.h5")
    age_hdf5(folder / "vae.h5")
    return single(kind, folder / "vae.h5", "tf_keras")


def _tf_keras_lambda(kind: str, folder: Path, seed: int) -> SavedVae:
    """Sampling in a Python Lambda, whose bytecode is in the file; Keras 3 cannot resolve the calls
    of nested models that tf.keras 2 saved."""
    import tf_keras

    whole_of(tf_keras, *tf_keras_models(seed, "lambda")).save(folder / "vae.h5")
    return single(kind, folder / "vae.h5", "tf_keras", trust=True)


def _tf_keras_zip_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in tf_keras_models(seed):
        model.save(folder / f"{model.name}.keras")
        age_zip(folder / f"{model.name}.keras")
    return pair(kind, folder, ".keras", "tf_keras")


def _tf_keras_zip_ops(kind: str, folder: Path, seed: int) -> SavedVae:
    import tf_keras

    whole_of(tf_keras, *tf_keras_models(seed, "ops")).save(folder / "vae.keras")
    age_zip(folder / "vae.keras")
    return single(kind, folder / "vae.keras", "tf_keras")


def _saved_model(kind: str, folder: Path, seed: int) -> SavedVae:
    import keras

    encoder, decoder = keras_models(seed)
    archive = keras.export.ExportArchive()
    for name, model in (("encode", encoder), ("decode", decoder)):
        archive.track(model)
        spec = keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32")
        archive.add_endpoint(name, model.call, [spec])
    archive.write_out(str(folder / "vae"), verbose=False)
    return single(kind, folder / "vae", "saved_model")


def _saved_model_signatures(kind: str, folder: Path, seed: int) -> SavedVae:
    """A tf.Module with signatures of its own names and a dictionary of heads."""
    import tensorflow as tf

    encoder, decoder = keras_models(seed)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)])
    def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        mean, logvar = encoder(images)
        return {"mean": mean, "logvar": logvar}

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
    def generate(latents: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": decoder(latents)}

    module = tf.Module()
    module.parts = [encoder, decoder]
    tf.saved_model.save(
        module, str(folder / "vae"), signatures={"infer": infer, "generate": generate}
    )
    reading = Reading(encode_signature="infer", decode_signature="generate")
    return single(kind, folder / "vae", "saved_model", reading=reading)


def _saved_model_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in keras_models(seed):
        model.export(str(folder / model.name), verbose=False)
    return pair(kind, folder, "", "saved_model")


def _tf_keras_saved_model_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in tf_keras_models(seed):
        model.save(str(folder / model.name), save_format="tf")
    return pair(kind, folder, "", "saved_model")


def _weights(kind: str, folder: Path, seed: int) -> SavedVae:
    import keras

    whole_of(keras, *keras_models(seed)).save_weights(folder / "vae.weights.h5")
    return _built(kind, folder / "vae.weights.h5", "keras_vae")


def _weights_into_halves(kind: str, folder: Path, seed: int) -> SavedVae:
    import keras

    whole_of(keras, *keras_models(seed)).save_weights(folder / "vae.weights.h5")
    return _built(kind, folder / "vae.weights.h5", "keras_halves")


def _weights_pair(kind: str, folder: Path, seed: int) -> SavedVae:
    for model in keras_models(seed):
        model.save_weights(folder / f"{model.name}.weights.h5")
    reading = Reading(builder="support.models.toy_builders:keras_halves")
    return pair(kind, folder, ".weights.h5", "weights+builder", reading=reading, trust=True)


def _legacy_weights(kind: str, folder: Path, seed: int) -> SavedVae:
    """As the official Keras example saved vae_mlp_mnist.h5."""
    import tf_keras

    whole_of(tf_keras, *tf_keras_models(seed)).save_weights(folder / "vae_mlp.h5")
    return _built(kind, folder / "vae_mlp.h5", "keras_vae")


def _legacy_weights_tf_keras(kind: str, folder: Path, seed: int) -> SavedVae:
    import tf_keras

    whole_of(tf_keras, *tf_keras_models(seed)).save_weights(folder / "vae_mlp.h5")
    return _built(kind, folder / "vae_mlp.h5", "tf_keras_halves")


def _subclassed_weights(kind: str, folder: Path, seed: int) -> SavedVae:
    import keras

    vae = subclassed_of(keras, *keras_models(seed))
    vae.built = True  # without it Keras refuses to save the weights of a model without call
    vae.save_weights(folder / "vae.weights.h5")
    return _built(kind, folder / "vae.weights.h5", "keras_subclassed")


def _built(kind: str, path: Path, builder: str) -> SavedVae:
    reading = Reading(builder=f"support.models.toy_builders:{builder}")
    return single(kind, path, "weights+builder", reading=reading, trust=True)


KINDS: dict[str, Callable[[str, Path, int], SavedVae]] = {
    "keras_pair": _keras_pair,
    "keras_single": _keras_single,
    "h5_pair": _h5_pair,
    "hdf5_named_keras": _hdf5_named_keras,
    "tf_keras_h5_pair": _tf_keras_h5_pair,
    "tf_keras_ops": _tf_keras_ops,
    "tf_keras_lambda": _tf_keras_lambda,
    "tf_keras_zip_pair": _tf_keras_zip_pair,
    "tf_keras_zip_ops": _tf_keras_zip_ops,
    "saved_model": _saved_model,
    "saved_model_signatures": _saved_model_signatures,
    "saved_model_pair": _saved_model_pair,
    "tf_keras_saved_model_pair": _tf_keras_saved_model_pair,
    "weights": _weights,
    "weights_into_halves": _weights_into_halves,
    "weights_pair": _weights_pair,
    "legacy_weights": _legacy_weights,
    "legacy_weights_tf_keras": _legacy_weights_tf_keras,
    "subclassed_weights": _subclassed_weights,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Saving in old formats warns that they are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("absl").setLevel(logging.ERROR)
        yield
