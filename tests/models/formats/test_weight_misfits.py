"""Weight files that do not fit what a builder returns: an error, and never a random layer."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from builder_modules import Write, load, write_module
from same_vae import keras_models, save
from support.models.toy_builders import decoder_of, encoder_of, whole_of

from vae_batch.plan.errors import CheckpointError

BUILDERS = "support.models.toy_builders"

module = pytest.fixture(write_module)


def legacy(kind: str) -> None:
    if "legacy" in kind:
        pytest.importorskip("tf_keras", reason="makes the file with tf_keras")


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_other_sizes_name_the_weight_and_both_shapes(
    kind: str, library: str, tmp_path: Path, module: Write
) -> None:
    pytest.importorskip(library)
    legacy(kind)
    name = module(
        f"def build():\n    import {library} as k\n"
        "    return whole_of(k, encoder_of(k, hidden=10), decoder_of(k))\n"
    )
    with pytest.raises(CheckpointError, match=r"dense.*kernel.*\(64, 12\).*\(64, 10\)"):
        load(save(kind, tmp_path).files, f"{name}:build")


MORE = """
def build():
    import keras

    latents = keras.Input((LATENT,))
    inner = keras.layers.Dense(12, "tanh")(latents)
    for _ in range(COUNT):
        inner = keras.layers.Dense(12, "tanh")(inner)
    pixels = keras.layers.Dense(64, "sigmoid")(inner)
    decoder = keras.Model(latents, keras.layers.Reshape(SHAPE)(pixels), name="decoder")
    return whole_of(keras, encoder_of(keras), decoder)
"""


@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_a_layer_more_in_the_model_is_an_error(kind: str, tmp_path: Path, module: Write) -> None:
    legacy(kind)
    name = module(MORE.replace("COUNT", "1"))
    with pytest.raises(CheckpointError, match=r"builder 'builders_\d+:build'"):
        load(save(kind, tmp_path).files, f"{name}:build")


def test_a_layer_more_in_the_file_is_an_error(tmp_path: Path, module: Write) -> None:
    """Keras 3 reads the layers that it knows and passes over the others."""
    import keras

    from vae_batch.models.formats.user_modules import user_function

    larger = user_function(f"{module(MORE.replace('COUNT', '2'))}:build", "builder")()
    last = larger.get_layer("decoder").layers[-2]
    wide = keras.layers.Dense(64)
    wide.build((None, 64))
    path = tmp_path / "vae.weights.h5"
    whole_of(keras, *keras_models()).save_weights(path)
    with h5py.File(path, "r+") as file:
        group = file.create_group("layers/functional_1/layers/dense_2/vars")
        group["0"], group["1"] = np.asarray(last.kernel), np.asarray(last.bias)
    with pytest.raises(CheckpointError, match=r"holds 2 weights, such as .*dense_2/vars/0 \(12"):
        load({"model": str(path)}, f"{BUILDERS}:keras_vae")


SWAPPED = """
def build():
    import LIBRARY as k

    images = k.Input(SHAPE)
    inner = k.layers.Dense(12, "tanh")(k.layers.Flatten()(images))
    logvar = k.layers.Dense(LATENT, name="logvar")(inner)
    mean = k.layers.Dense(LATENT, name="mean")(inner)
    encoder = k.Model(images, [logvar, mean], name="encoder")
    return encoder, decoder_of(k)
"""


@pytest.mark.parametrize("kind", ["weights", "legacy_weights"])
def test_heads_in_another_order_are_an_error_and_not_swapped(
    kind: str, tmp_path: Path, module: Write
) -> None:
    """Both layouts tell layers of one shape apart by their order alone."""
    legacy(kind)
    name = module(SWAPPED.replace("LIBRARY", "keras"))
    with pytest.raises(CheckpointError, match=r"layer '(mean|logvar)' would go into layer '"):
        load(save(kind, tmp_path).files, f"{name}:build")


def test_layers_may_have_other_names_than_in_the_file(tmp_path: Path, module: Write) -> None:
    name = module(
        "def build():\n    import keras\n"
        "    encoder = encoder_of(keras)\n"
        "    encoder.get_layer('mean').name = 'z_mu'\n"
        "    return encoder, decoder_of(keras)\n"
    )
    networks = load(save("weights", tmp_path).files, f"{name}:build")
    assert networks.encoder is not None
    assert networks.encoder.outputs[0].shape == (3,)


def test_weights_that_match_nothing_are_an_error(tmp_path: Path) -> None:
    import keras

    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    for builder in ("keras_vae", "keras_subclassed", "keras_halves"):
        with pytest.raises(CheckpointError, match=r"other\.weights\.h5"):
            load(
                {"model": str(tmp_path / "other.weights.h5")},
                f"{BUILDERS}:{builder}",
            )


def test_a_legacy_file_of_other_parts_is_answered_with_both_lists(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="makes the file with tf_keras")
    encoder_of(tf_keras).save_weights(tmp_path / "encoder.h5")
    message = r"3 layers \(dense\w*, mean, logvar\), but .* 2 layers \(encoder, decoder\)"
    with pytest.raises(CheckpointError, match=message):
        load({"model": str(tmp_path / "encoder.h5")}, f"{BUILDERS}:keras_halves")
    encoder = load({"encoder": str(tmp_path / "encoder.h5")}, f"{BUILDERS}:keras_halves").encoder
    assert encoder is not None


def test_a_builder_without_that_half_is_named(tmp_path: Path, module: Write) -> None:
    name = module("def build():\n    import keras\n    return decoder_of(keras)\n")
    decoder_of(__import__("keras")).save_weights(tmp_path / "d.weights.h5")
    with pytest.raises(CheckpointError, match=r"no layer or attribute named 'decoder'"):
        load({"decoder": str(tmp_path / "d.weights.h5")}, f"{name}:build")
