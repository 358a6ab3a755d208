"""Halves that a format does not keep: the sentence says how to save them, and that works."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.formats.same_vae import tf_keras_models
from support.models.toy_builders import whole_of
from support.models.toy_models import SHAPE

from vae_batch.models.autoencoder.assemble import assemble
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.load import load_networks
from vae_batch.plan import CheckpointError, Reading

IMAGES = np.random.default_rng(0).integers(0, 256, (32, *SHAPE)).astype(np.uint8)
REMEDY = (
    r"where tf\.keras saved this folder, (tf_keras\.models\.load_model) of it\) and save "
    r"model\.(get_layer)\('(encoder)'\) and model\.get_layer\('(decoder)'\) in one folder as "
    r"(encoder\.keras) and (decoder\.keras)"
)


def read(files: dict[str, str]) -> Autoencoder:
    networks = load_networks(files, LoadOptions(Reading(), trust=False, memory_cap=1 << 30))
    return assemble(networks, Reading(), SHAPE, None, 16, probe_images=IMAGES)


def save_whole(path: Path, *, drawn: bool) -> None:
    """A functional VAE of tf.keras as a SavedModel; its image is of the mean or of a drawn z."""
    import tf_keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder, decoder = tf_keras_models(5, "ops")
        images = tf_keras.Input(SHAPE)
        whole = whole_of(tf_keras, encoder, decoder)
        if drawn:
            whole = tf_keras.Model(images, decoder(encoder(images)[2]), name="vae")
        whole.save(str(path), save_format="tf")


def do_as_told(sentence: str, path: Path, folder: Path) -> dict[str, str]:
    """Save the halves as the sentence says."""
    import tf_keras

    told = re.search(REMEDY, sentence)
    assert told is not None, sentence
    load, get, *halves, encoder_file, decoder_file = told.groups()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = eval(load, {"tf_keras": tf_keras})(path)
        files = {
            half: str(folder / file)
            for half, file in zip(halves, (encoder_file, decoder_file), strict=True)
        }
        for half, file in files.items():
            getattr(model, get)(half).save(file)
    return files


def test_a_saved_model_that_draws_is_refused_with_the_way_out(tmp_path: Path) -> None:
    save_whole(tmp_path / "vae", drawn=True)
    with pytest.raises(CheckpointError, match="draws a latent sample inside") as caught:
        read({"model": str(tmp_path / "vae")})
    mended = read(do_as_told(str(caught.value), tmp_path / "vae", tmp_path))
    assert mended.description.missing == {}
    assert mended.description.second_head == "logvar"


def test_a_saved_model_of_means_says_why_columns_are_null(tmp_path: Path) -> None:
    save_whole(tmp_path / "vae", drawn=False)
    missing = read({"model": str(tmp_path / "vae")}).description.missing
    assert set(missing) == {"posterior", "prior"}
    mended = read(do_as_told(missing["posterior"], tmp_path / "vae", tmp_path))
    assert mended.description.missing == {}
