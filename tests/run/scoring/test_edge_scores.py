"""Rows at the edges: few images, sets of unequal size, constant images, missing parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.runs.plain_scores as plain_scores
from numpy.typing import NDArray
from support.models.toy_models import make_decoder, make_encoder, save_classifier
from support.runs.serial_runs import Row, score
from support.stores.stored_rows import assert_value_or_reason, folders_of, stored

from vae_batch.metrics import METRICS
from vae_batch.plan import InputError
from vae_batch.storage import Store, read_score_rows

Settings = dict[str, Any]
Score = Callable[..., Row]


@pytest.fixture
def score_one(toy_folder: Path, tmp_path: Path) -> Score:
    """Scores one checkpoint with every group of metrics but the one that needs training images."""

    def run(checkpoint: str | Path = toy_folder / "runs/step-0001", **more: Any) -> Row:
        settings = {
            "checkpoints": [str(checkpoint)],
            "reference": "digits",
            "reference_samples": 30,
            "reference_subset": "first",
            "extractors": [str(toy_folder / "classifier.keras")],
            "samples": 30,
            "shard_size": 16,
            "batch_size": 8,
            "splits": 2,
            "metrics": "all",
            "workers": 0,
            "out": str(tmp_path / "out"),
        }
        score(settings | more)
        (row,) = read_score_rows(Store.open(str(more.get("out", settings["out"]))))
        assert (row.status, row.reason) == ("scored", None)
        record = row.to_record()
        assert_value_or_reason(record)
        return record

    return run


def save_halves(folder: Path, encoder: Any = None, decoder: Any = None) -> Path:
    folder.mkdir()
    for name, half in (("encoder", encoder), ("decoder", decoder)):
        if half is not None:
            half.save(folder / f"{name}.keras")
    return folder


def undefined(row: Row) -> dict[str, str]:
    return {name: row[f"{name}_reason"] for name in METRICS if row[name] is None}


@pytest.mark.parametrize(
    ("samples", "references"),
    [(2, 2), (3, 2), (2, 3), (4, 4), (5, 6), (6, 5), (10, 10), (11, 11), (12, 40), (40, 12)],
)
def test_few_and_unequal_numbers_of_images(
    score_one: Score, tmp_path: Path, toy_folder: Path, samples: int, references: int
) -> None:
    row = score_one(samples=samples, reference_samples=references)
    few = min(samples, references)
    lacking = undefined(row)
    assert (row["kid"] is None) == (few < 3)  # leaving one out must leave a pair
    assert (row["coverage"] is None) == (few < 6)  # five neighbours
    assert (row["near_duplicate_rate_reference"] is None) == (references < 4)  # two halves
    assert row["fid"] > 0
    assert "bias-dominated" in row["fid_warning"]
    assert "no interval is sound" in lacking["fid_corrected"]
    assert f"found {few}" in lacking["kid_subsets"]
    folders = folders_of(tmp_path / "out", row["checkpoint"])
    x, y = (stored(folders[kind])["features"] for kind in ("generated", "reference"))
    assert row["vendi_score"] == pytest.approx(plain_scores.vendi(x[:few]), rel=1e-9)
    assert row["vendi_score_reference"] == pytest.approx(
        plain_scores.vendi(plain_scores.drawn(y, few)), rel=1e-9
    )
    assert row["near_duplicate_rate"] == plain_scores.near_duplicates(x, y)
    assert (row["n_generated"], row["n_reference"]) == (samples, references)


def test_a_reference_of_one_colour(score_one: Score, tmp_path: Path) -> None:
    np.savez(tmp_path / "black.npz", np.zeros((30, 8, 8, 1), np.uint8))
    row = score_one(reference=str(tmp_path / "black.npz"))
    lacking = undefined(row)
    constant = "the median reference image is constant, so the ratio is undefined"
    for name in ("sharpness_ratio", "reconstruction_sharpness_ratio", "sharpness_ratio_reference"):
        assert lacking[name] == constant
    assert "no power above half the Nyquist frequency" in lacking["high_frequency_ratio"]
    assert "all reference images are equal" in lacking["pixel_diversity_ratio"]
    assert row["duplicate_rate_reference"] == pytest.approx(29 / 30)
    assert row["fid"] > 0
    assert row["active_units"] == 0
    assert "posterior collapse" in row["warnings"]
    # All images are equal, so the mixture of their posteriors is that one posterior. TensorFlow may
    # round equal rows of a batch differently in float32, depending on the CPU's vector width.
    assert row["mutual_information"] == pytest.approx(0.0, abs=1e-7)


def test_a_decoder_that_ignores_its_latents(score_one: Score, tmp_path: Path) -> None:
    decoder = make_decoder(1)
    *others, weights, bias = decoder.get_weights()
    decoder.set_weights([*others, np.zeros_like(weights), bias])
    row = score_one(save_halves(tmp_path / "same", make_encoder(1), decoder))
    assert row["duplicate_rate"] == pytest.approx(29 / 30)
    assert row["near_duplicate_rate"] == 1.0
    assert row["vendi_score"] == pytest.approx(1.0)
    assert row["pixel_diversity_ratio"] == 0.0
    assert row["latent_smoothness"] == 0.0
    # One row of class probabilities for all: nothing is known of a class by its image.
    assert row["inception_score"] == pytest.approx(1.0, abs=1e-12)
    assert row["inception_score_se"] == pytest.approx(0.0, abs=1e-12)
    assert row["recall"] == 0.0  # balls without extent hold no other image
    assert row["coverage"] <= 5 / 30  # and one image is within few balls of the reference
    for words in ("samples repeat: 96.7%", "samples are alike: 100.0%"):
        assert words in row["warnings"]


def test_an_encoder_alone_has_the_baselines_of_real_images(
    score_one: Score, tmp_path: Path
) -> None:
    row = score_one(save_halves(tmp_path / "half", make_encoder(1)))
    lacking = undefined(row)
    for name, metric in METRICS.items():
        if {"decoder", "prior"} & set(metric.needs):
            assert "encoder alone" in lacking[name], name
    for name in METRICS:
        if name.endswith("_reference") and not name.startswith("authentic"):
            assert row[name] is not None, name
    assert row["kl"] > 0
    assert row["feature_dim"] is None


def test_a_decoder_alone_has_no_losses(score_one: Score, tmp_path: Path) -> None:
    row = score_one(save_halves(tmp_path / "half", decoder=make_decoder(1)))
    lacking = undefined(row)
    for name, metric in METRICS.items():
        if "encoder" in metric.needs:
            assert "decoder alone" in lacking[name], name
    assert row["fid"] > 0
    assert row["sharpness_ratio"] > 0


def plain_autoencoder(scale: float = 1.0) -> tuple[Any, Any]:
    """A code of 64 values that are the pixels, and back; exact at a scale of 1."""
    import keras

    images, code = keras.Input((8, 8, 1)), keras.Input((64,))
    encoder = keras.Model(images, keras.layers.Flatten(name="code")(images), name="encoder")
    pixels = keras.layers.Dense(64, use_bias=False)(code)
    decoder = keras.Model(code, keras.layers.Reshape((8, 8, 1))(pixels), name="decoder")
    decoder.set_weights([np.eye(64, dtype=np.float32) * scale])
    return encoder, decoder


def test_a_plain_autoencoder_has_reconstructions_and_no_samples(
    score_one: Score, tmp_path: Path
) -> None:
    checkpoint = save_halves(tmp_path / "plain", *plain_autoencoder(0.75))
    row = score_one(checkpoint, likelihood="gaussian", sigma=0.25)
    lacking = undefined(row)
    assert "no prior" in lacking["fid"]
    for name in ("reconstruction_fid", "mse", "psnr", "reconstruction_nll", "latent_dimensions"):
        assert row[name] is not None
    folders = folders_of(tmp_path / "out", row["checkpoint"])
    x, y = (stored(folders[kind])["features"] for kind in ("reconstructed", "reference"))
    assert row["reconstruction_fid"] == pytest.approx(plain_scores.frechet(x, y), rel=1e-6)
    assert row["feature_dim"] == 16
    # Without posterior noise the loss of a draw is the loss at the mean.
    assert row["reconstruction_nll"] == row["reconstruction_nll_at_mean"]


def test_perfect_reconstructions_have_no_optimal_sigma(score_one: Score, tmp_path: Path) -> None:
    checkpoint = save_halves(tmp_path / "exact", *plain_autoencoder())
    row = score_one(checkpoint, likelihood="gaussian", sigma="optimal", prior="normal")
    lacking = undefined(row)
    assert "all reconstructions are perfect" in lacking["reconstruction_nll"]
    assert "30 perfect images and no other" in lacking["psnr"]
    assert row["perfect_reconstructions"] == 30
    assert (row["mse"], row["mae"], row["sigma"]) == (0.0, 0.0, None)
    assert row["reconstruction_fid"] == 0.0
    assert row["fid"] > 0


def test_an_extractor_without_numbers_stops_the_run(
    score_one: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        concurrent_batches = 1

        def extract(self, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
            features = np.ones((len(images), 4), np.float32)
            features[3:, 2] = np.inf
            return features, np.ones((len(images), 1), np.float32)

    monkeypatch.setattr("vae_batch.run.execute.worker.load_extractor", lambda *_: Broken())
    with pytest.raises(InputError, match=r"infinite activations for image 3 .* are broken"):
        score_one()


@pytest.mark.slow
@pytest.mark.long
def test_a_thousand_larger_images(tmp_path: Path) -> None:
    """Subsets of a thousand, and structural similarity: what the small sets above have not."""
    import keras
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1003, 12, 12, 1), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images)
    pixels, code = keras.Input((12, 12, 1)), keras.Input((4,))
    flat = keras.layers.Flatten()(pixels)
    encoder = keras.Model(pixels, [keras.layers.Dense(4, name=n)(flat) for n in ("mean", "logvar")])
    decoded = keras.layers.Reshape((12, 12, 1))(keras.layers.Dense(144, "sigmoid")(code))
    decoder = keras.Model(code, decoded)
    for half in (encoder, decoder):
        half.set_weights([rng.normal(0, 0.1, w.shape) for w in half.get_weights()])
    checkpoint = save_halves(tmp_path / "large", encoder, decoder)
    save_classifier(tmp_path / "classifier.keras")
    settings = {
        "checkpoints": [str(checkpoint)],
        "reference": str(tmp_path / "noise.npz"),
        "extractors": [str(tmp_path / "classifier.keras")],
        "samples": 1001,
        "batch_size": 32,
        "metrics": "kid,reconstruction",
        "workers": 0,
        "out": str(tmp_path / "out"),
    }
    (row,) = score(settings).rows
    folders = folders_of(tmp_path / "out", row.checkpoint)
    x, y = (stored(folders[kind])["features"] for kind in ("generated", "reference"))
    for name, value in plain_scores.kernel_subsets(x, y).items():
        assert row.value(name) == pytest.approx(value, rel=1e-9)
    scaled = (images / 255).astype(np.float32)
    mean = encoder(scaled)[0]
    found: NDArray[Any] = np.asarray(decoder(mean), np.float64)
    expected = [
        structural_similarity(
            *(z[i, ..., 0].astype(np.float64) for z in (found, images / 255)),
            data_range=1.0,
            win_size=11,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for i in range(50)
    ]
    ssim = stored(folders["losses"])["ssim"]
    np.testing.assert_allclose(ssim[:50], expected, rtol=1e-4, atol=1e-6)
    assert row.value("ssim") == pytest.approx(ssim.mean(), rel=1e-12)
    assert row.score("ms_ssim").reason.text == "needs images of at least 161 pixels a side"
