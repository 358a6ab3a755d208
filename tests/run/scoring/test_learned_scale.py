"""A decoder that learns its own scale: a second output beside the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.toy_models import LATENT, SHAPE, make_encoder
from support.runs.serial_runs import score

from vae_batch.models.references.reference import open_reference
from vae_batch.models.sampling import standard_normals


def save(folder: Path, name: str, size: int) -> Any:
    import keras

    folder.mkdir(parents=True)
    latents = keras.Input((LATENT,))
    hidden = keras.layers.Dense(12, "tanh")(latents)
    mean = keras.layers.Reshape(SHAPE, name="mean")(keras.layers.Dense(64, "sigmoid")(hidden))
    scale = keras.layers.Dense(size, name=name, bias_initializer="zeros")(hidden)
    decoder = keras.Model(latents, [mean, scale], name="decoder")
    make_encoder(1).save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    return decoder


@pytest.mark.parametrize(
    ("name", "size", "halved"),
    [("log_std", 64, 1.0), ("pixel_log_var", 64, 0.5), ("log_scale", 1, 1.0)],
)
def test_the_nll_takes_the_decoders_own_scale(
    toy_settings: dict[str, Any], tmp_path: Path, name: str, size: int, halved: float
) -> None:
    decoder = save(tmp_path / "vae", name, size)
    settings = toy_settings | {"checkpoints": [str(tmp_path / "vae")], "metrics": "losses,iwae"}
    settings |= {"likelihood": "gaussian", "sigma": "learned", "iwae_draws": 4, "iwae_images": 10}
    (row,) = score(settings).rows
    assert row.status == "scored"
    assert (row.conditions.sigma, row.conditions.sigma_source) == (None, "learned")
    x = open_reference("digits", "test").read(0, 100).astype(np.float32) / 255
    mean, logvar = (np.asarray(value) for value in make_encoder(1)(x))
    z = mean + np.exp(logvar / 2) * standard_normals(0, "posterior_noise", 0, 100, (LATENT,))
    decoded, scale = (np.asarray(value, np.float64) for value in decoder(z))
    log_std = (halved * scale).reshape(100, *(SHAPE if size == 64 else (1, 1, 1)))
    # -log N(x | m, s) = (x - m)^2 / 2 s^2 + log s + log(2 pi) / 2, summed over 64 pixels
    terms = 0.5 * ((x - decoded) / np.exp(log_std)) ** 2 + log_std + 0.5 * np.log(2 * np.pi)
    expected = np.broadcast_to(terms, x.shape).sum(axis=(1, 2, 3)).mean()
    assert row.value("reconstruction_nll") == pytest.approx(expected, rel=1e-5)
    assert row.value("iwae") is not None
    assert row.value("bits_per_dim") is not None


def test_an_unnamed_second_output_is_asked_for(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    save(tmp_path / "vae", "another", 64)
    settings = toy_settings | {"checkpoints": [str(tmp_path / "vae")], "metrics": "losses"}
    (row,) = score(settings | {"likelihood": "gaussian", "sigma": "learned"}).rows
    assert row.status == "failed"
    assert "log_var, log_std or std" in row.reason.text
    assert "'another'" in row.reason.text
