"""Encoder and decoder found in one model: by name, as attributes, or cut apart at z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_batch.models.formats.keras.network import networks_of


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def library(request: pytest.FixtureRequest) -> Any:
    reason = "tf_keras (the extra of tf.keras 2 files) is not installed"
    return pytest.importorskip(request.param, reason=reason)


def draw(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_halves_of_a_functional_vae(library: Any) -> None:
    layers, image, latents = library.layers, library.Input((16,)), library.Input((2,))
    encoder = library.Model(image, [layers.Dense(2)(image), layers.Dense(2)(image)], name="encoder")
    decode = library.Model(latents, layers.Dense(16, "sigmoid")(latents), name="decoder_1")
    outer = library.Input((16,))
    found = networks_of(library.Model(outer, decode(encoder(outer)[0])), "v.keras", "keras")
    assert found.format == "keras"
    assert found.whole is None
    assert found.encoder is not None
    assert found.decoder is not None
    assert found.encoder.source == "v.keras (encoder)"
    assert [len(found.encoder.outputs), len(found.decoder.outputs)] == [2, 1]
    assert found.decoder.activation == "sigmoid"
    assert found.notes == (
        "encoder: layer 'encoder' of v.keras",
        "decoder: layer 'decoder_1' of v.keras",
    )


def test_halves_that_are_attributes(library: Any) -> None:
    class Vae(library.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.inference_net = library.Sequential([library.layers.Dense(4)])
            self.generative_net = library.Sequential([library.layers.Dense(16, "sigmoid")])

        def call(self, images: Any) -> Any:
            return self.generative_net(self.inference_net(images))

    model = Vae()
    model(draw(2, 16))
    found = networks_of(model, "v.keras", "keras")
    assert found.encoder is not None
    assert found.decoder is not None
    assert (found.encoder.outputs[0].shape, found.decoder.outputs[0].shape) == ((4,), (16,))
    assert found.decoder.activation == "sigmoid"


def test_a_model_without_halves(library: Any) -> None:
    """A Dense that is named encoder is no half: it lacks the layers before it."""
    layers, image = library.layers, library.Input((16,))
    code = layers.Dense(2, name="encoder")(layers.Dense(8, "relu")(image))
    found = networks_of(library.Model(image, layers.Dense(16)(code)), "v.keras", "keras")
    assert found.encoder is None
    assert found.decoder is None
    assert found.whole is not None
    assert found.notes == ("v.keras has no layer or attribute named encoder or decoder",)


def sampling(library: Any) -> type:
    class Sampling(library.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, inputs: Any) -> Any:
            return inputs[0] + 0 * inputs[1]

    return Sampling


def flat_vae(library: Any, *, label: bool = False, skip: bool = False) -> Any:
    """One functional VAE without nested models, as early examples build it."""
    layers, image = library.layers, library.Input((16,), name="image")
    inputs = [image, library.Input((10,), name="label")] if label else [image]
    joined = layers.Concatenate()(inputs) if label else image
    hidden = layers.Dense(8, "relu")(joined)
    mean, logvar = layers.Dense(2, name="mean")(hidden), layers.Dense(2, name="logvar")(hidden)
    z = sampling(library)(name="z")([mean, logvar])
    code = layers.Concatenate()([z, inputs[1]]) if label else z
    pixels = layers.Dense(8, "relu")(layers.Concatenate()([code, hidden]) if skip else code)
    return library.Model(inputs, layers.Dense(16, "sigmoid")(pixels))


@pytest.mark.parametrize("label", [False, True])
def test_a_flat_vae_is_cut_at_z(library: Any, label: bool) -> None:
    model = flat_vae(library, label=label)
    found = networks_of(model, "v.keras", "keras", replaced=("z",))
    assert found.encoder is not None
    assert found.decoder is not None
    assert [port.name for port in found.encoder.outputs] == ["mean", "logvar"]
    assert [port.name for port in found.encoder.inputs] == ["image", *(["label"] * label)]
    assert [port.shape for port in found.decoder.inputs] == [(2,), *([(10,)] * label)]
    assert found.notes == (
        "encoder: the inputs of layer 'z' of v.keras",
        "decoder: what follows layer 'z' of v.keras",
    )
    images, labels = draw(5, 16), [np.eye(10, dtype=np.float32)[:5]] * label
    expected = model([images, *labels])
    mean = found.encoder.run(images, *labels)[0]
    np.testing.assert_allclose(found.decoder.run(mean, *labels)[0], expected, rtol=1e-5)
    assert found.decoder.before_sigmoid is not None
    logits = found.decoder.before_sigmoid().run(mean, *labels)[0]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, atol=1e-6)


def test_a_way_around_z_is_not_cut(library: Any) -> None:
    found = networks_of(flat_vae(library, skip=True), "v.keras", "keras")
    assert found.encoder is None
    assert found.whole is not None


def test_an_encoder_that_gives_z_is_whole(library: Any) -> None:
    """Nothing is made of z, so there is no decoder to be cut off."""
    layers, image = library.layers, library.Input((16,))
    mean, logvar = layers.Dense(2)(image), layers.Dense(2)(image)
    z = sampling(library)()([mean, logvar])
    found = networks_of(library.Model(image, [mean, logvar, z]), "e.keras", "keras")
    assert found.whole is not None
    assert len(found.whole.outputs) == 3


def inline_vae(library: Any, inline: str, *, draws: bool = True) -> tuple[Any, dict[str, Any]]:
    """A VAE of which one half is no layer of its own, and the tensors' models."""
    layers, image, latents = library.layers, library.Input((16,)), library.Input((2,))
    heads = [layers.Dense(2, name="z_mean")(image), layers.Dense(2, name="z_log_var")(image)]
    z = sampling(library)()(heads) if draws else heads[0]
    encoder = library.Model(image, z, name="encoder")
    decode = library.Model(latents, layers.Dense(16, "sigmoid")(latents), name="decoder")
    parts = {"heads": library.Model(image, heads), "decode": decode}
    if inline == "encoder":
        return library.Model(image, decode(z)), parts
    outer = library.Input((16,))
    return library.Model(outer, decode.layers[-1](encoder(outer))), parts


@pytest.mark.parametrize("inline", ["encoder", "decoder"])
@pytest.mark.parametrize("draws", [True, False])
def test_a_half_beside_one_that_is_found_by_name(library: Any, inline: str, draws: bool) -> None:
    """The layers before a nested decoder are the encoder, not nothing at all."""
    model, parts = inline_vae(library, inline, draws=draws)
    found = networks_of(model, "v.keras", "keras")
    assert found.encoder is not None
    assert found.decoder is not None
    images, latents = draw(5, 16), draw(5, 2)
    outputs = found.encoder.run(images)
    for output, head in zip(outputs[: 2 if draws else 1], parts["heads"](images), strict=False):
        np.testing.assert_allclose(output, head, rtol=1e-6)
    assert len(outputs) == (1 if not draws else 2 if inline == "encoder" else 3)
    np.testing.assert_allclose(found.decoder.run(latents)[0], parts["decode"](latents), rtol=1e-6)


def test_heads_of_an_encoder_that_returns_z_alone(library: Any) -> None:
    """They are what its sampling layer takes, whether its class is known or not."""
    from vae_batch.models.formats.keras.network import LoadedModel, as_networks

    _, parts = inline_vae(library, "encoder")
    image = parts["heads"].inputs[0]
    z = sampling(library)()(parts["heads"].outputs)
    halves = {
        "encoder": LoadedModel(library.Model(image, z), "e.keras", "keras"),
        "decoder": LoadedModel(parts["decode"], "d.keras", "keras"),
    }
    found = as_networks(halves)
    assert found.encoder is not None
    assert [port.name for port in found.encoder.outputs][:2] == ["z_mean", "z_log_var"]
    images = draw(5, 16)
    for output, head in zip(found.encoder.run(images)[:2], parts["heads"](images), strict=True):
        np.testing.assert_allclose(output, head, rtol=1e-6)
