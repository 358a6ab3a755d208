"""The Keras adapter: what a checkpoint's outputs mean, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from toy_models import LATENT, SHAPE, make_decoder, make_encoder, save_pair, save_single

from vae_batch.models.checkpoints import find_checkpoints
from vae_batch.models.vae import KerasVae, load_vae
from vae_batch.plan import CheckpointError, make_spec


def load(path: Path, **settings: Any) -> KerasVae:
    spec = make_spec(
        {"checkpoints": [str(path)], "reference": "digits", "batch_size": 4, **settings}
    )
    return load_vae(find_checkpoints([str(path)])[0], spec, SHAPE)


def save_halves(folder: Path, encoder: Any, decoder: Any) -> Path:
    folder.mkdir()
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    return folder


def test_pair_and_single_file_agree(tmp_path: Path) -> None:
    save_pair(tmp_path / "pair", seed=3)
    save_single(tmp_path / "single.keras", seed=3)
    images = np.random.default_rng(0).random((6, *SHAPE)).astype(np.float32)
    latents = np.random.default_rng(1).normal(size=(6, LATENT)).astype(np.float32)
    pair, single = load(tmp_path / "pair"), load(tmp_path / "single.keras")
    for one, other in zip(pair.encode(images), single.encode(images), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(pair.decode(latents), single.decode(latents))


def test_a_final_sigmoid_is_taken_off(tmp_path: Path) -> None:
    save_pair(tmp_path / "pair", seed=3)
    vae = load(tmp_path / "pair")
    latents = np.random.default_rng(1).normal(size=(6, LATENT)).astype(np.float32)
    assert (vae.likelihood, vae.output) == ("bernoulli", "logits")
    expected = np.asarray(make_decoder(3)(latents))
    np.testing.assert_allclose(expit(vae.decode(latents)), expected, atol=1e-6)


def test_a_sigmoid_layer_of_its_own_is_taken_off_too(tmp_path: Path) -> None:
    import keras

    linear = make_decoder(3, "linear")
    output = keras.layers.Activation("sigmoid")(linear.output)
    folder = save_halves(tmp_path / "v", make_encoder(3), keras.Model(linear.input, output))
    latents = np.ones((4, LATENT), np.float32)
    np.testing.assert_allclose(load(folder).decode(latents), linear(latents), rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "settings", "expected"),
    [
        ("linear", {"likelihood": "bernoulli"}, ("bernoulli", "logits")),
        ("hard_sigmoid", {"likelihood": "bernoulli"}, ("bernoulli", "probabilities")),
        ("sigmoid", {"likelihood": "gaussian", "sigma": 1.0}, ("gaussian", "mean")),
        ("tanh", {"likelihood": "gaussian", "sigma": 1.0, "model_range": "-1..1"},
         ("gaussian", "mean")),
    ],
)  # fmt: skip
def test_declared_likelihoods(
    tmp_path: Path, activation: str, settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    save_pair(tmp_path / "pair", seed=1, activation=activation)
    vae = load(tmp_path / "pair", **settings)
    assert (vae.likelihood, vae.output) == expected


@pytest.mark.parametrize(
    ("activation", "settings", "sentence"),
    [
        ("linear", {}, "likelihood cannot be inferred"),
        ("tanh", {"likelihood": "bernoulli"}, "no Bernoulli probabilities"),
        ("sigmoid", {"model_range": "-1..1"}, "needs pixels in 0..1"),
    ],
)
def test_likelihoods_that_cannot_be(
    tmp_path: Path, activation: str, settings: dict[str, Any], sentence: str
) -> None:
    save_pair(tmp_path / "pair", seed=1, activation=activation)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "pair", **settings)


def test_flat_models_are_reshaped(tmp_path: Path) -> None:
    import keras

    flat = keras.Input((64,))
    encoder = make_encoder(2)
    flat_encoder = keras.Model(flat, encoder(keras.layers.Reshape(SHAPE)(flat)))
    latents = keras.Input((LATENT,))
    pixels = keras.layers.Dense(64, "sigmoid")(latents)
    folder = save_halves(tmp_path / "flat", flat_encoder, keras.Model(latents, pixels))
    images = np.random.default_rng(0).random((5, *SHAPE)).astype(np.float32)
    vae = load(folder)
    np.testing.assert_allclose(vae.encode(images)[0], encoder(images)[0], rtol=1e-5)
    assert vae.decode(np.zeros((5, LATENT), np.float32)).shape == (5, *SHAPE)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    save_pair(tmp_path / "pair", seed=1)
    spec = make_spec({"checkpoints": ["x"], "reference": "digits", "batch_size": 4})
    with pytest.raises(CheckpointError, match=r"takes \(8, 8, 1\).*are \(28, 28, 1\)"):
        load_vae(find_checkpoints([str(tmp_path / "pair")])[0], spec, (28, 28, 1))


def test_an_encoder_without_log_variance_is_refused(tmp_path: Path) -> None:
    import keras

    encoder = make_encoder(1)
    plain = keras.Model(encoder.input, encoder.outputs[0])
    folder = save_halves(tmp_path / "v", plain, make_decoder(1))
    with pytest.raises(CheckpointError, match="expected mean and log-variance"):
        load(folder)


def test_python_lambdas_are_refused(tmp_path: Path) -> None:
    import keras

    encoder, decoder = make_encoder(1), make_decoder(1)
    output = keras.layers.Lambda(lambda x: x * 1.0, output_shape=SHAPE)(decoder.output)
    folder = save_halves(tmp_path / "v", encoder, keras.Model(decoder.input, output))
    with pytest.raises(CheckpointError, match="Python lambda"):
        load(folder)


def test_an_unknown_sampling_layer_is_replaced(tmp_path: Path) -> None:
    """A user's unregistered class is absent here; the heads are read without it."""
    import keras

    class ReparameterizationTrick(keras.layers.Layer):
        def __init__(self, temperature: float = 1.0, **settings: Any) -> None:
            super().__init__(**settings)
            self.temperature = temperature

        def call(self, inputs: Any) -> Any:
            return inputs[0] + inputs[1]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "temperature": self.temperature}

    plain = make_encoder(5)
    z = ReparameterizationTrick(0.5)(plain.outputs)
    folder = save_halves(
        tmp_path / "v", keras.Model(plain.input, [*plain.outputs, z]), make_decoder(5)
    )
    del ReparameterizationTrick
    images = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    for one, other in zip(load(folder).encode(images), plain(images), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_another_unknown_class_is_named(tmp_path: Path) -> None:
    import keras

    class MyBlock(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    decoder = make_decoder(1)
    output = MyBlock()(decoder.output)
    folder = save_halves(tmp_path / "v", make_encoder(1), keras.Model(decoder.input, output))
    with pytest.raises(CheckpointError, match="MyBlock"):
        load(folder)


def test_padding_does_not_move_a_row(tmp_path: Path) -> None:
    save_pair(tmp_path / "pair", seed=1)
    vae = load(tmp_path / "pair")
    latents = np.random.default_rng(0).normal(size=(7, LATENT)).astype(np.float32)
    whole = vae.decode(latents)
    np.testing.assert_array_equal(vae.decode(latents[:5]), whole[:5])
