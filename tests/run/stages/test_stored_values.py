"""What workers store, computed anew from the Keras halves and numpy alone."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.runs.plain_scores as plain_scores
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, ndtri
from scipy.stats import norm
from support.models.toy_models import LATENT, make_decoder, make_encoder
from support.runs.serial_runs import Row, score
from support.stores.stored_rows import folders_of, stored

Array = NDArray[Any]

COUNT, DRAWN, DRAWS, SEED = 40, 70, 30, 9


@pytest.fixture(scope="module")
def run(
    toy_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Row, dict[str, Path], Path]:
    """Row, folders of files by kind, and the classifier of one checkpoint's run."""
    out, checkpoint = tmp_path_factory.mktemp("stored"), str(toy_folder / "runs/step-0001")
    classifier = toy_folder / "classifier.keras"
    settings = {
        "checkpoints": [checkpoint],
        "reference": "digits",
        "reference_samples": COUNT,
        "reference_subset": "first",
        "extractors": [str(classifier)],
        "samples": DRAWN,
        "shard_size": 16,
        "batch_size": 8,
        "iwae_draws": DRAWS,
        "iwae_images": 20,
        "seed": SEED,
        "metrics": "all",
        "workers": 0,
        "out": str(out),
    }
    (row,) = score(settings).rows
    return row.to_record(), folders_of(out, checkpoint), classifier


@pytest.fixture(scope="module")
def images() -> Array:
    from vae_batch.models.references.reference import open_reference

    return open_reference("digits", "test").read(0, COUNT)


def normals(stream: int, count: int, values: int) -> Array:
    """(count, values) draws: sample i owns its own counters of Philox, four words each."""
    words = -(-values // 4) * 4
    random = np.random.Philox(key=[SEED, stream], counter=[0, 0, 0, 0]).random_raw(count * words)
    uniforms = ((random.reshape(count, words)[:, :values] >> np.uint64(11)) + 0.5) * 2.0**-53
    return ndtri(uniforms)


def encode(images: Array) -> tuple[Array, Array]:
    heads = make_encoder(1)((images / 255).astype(np.float32))
    return tuple(np.asarray(head, np.float64) for head in heads)


def decode(latents: Array) -> Array:
    """Probabilities, float64."""
    flat = latents.reshape(-1, LATENT).astype(np.float32)
    return np.asarray(make_decoder(1)(flat), np.float64)


def bernoulli(p: Array, images: Array) -> Array:
    x = images / 255
    return -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))


def to_pixels(p: Array) -> Array:
    return np.rint(255 * p).astype(np.uint8)


# Keras computes in float32, whose rounding a sum over 64 pixels shows as 1e-6 of itself.
CLOSE = {"rtol": 2e-5, "atol": 1e-6}


def test_losses(run: tuple[Row, dict[str, Path], Path], images: Array) -> None:
    found = stored(run[1]["losses"])
    mean, logvar = encode(images)
    drawn = decode(mean + np.exp(logvar / 2) * normals(2, COUNT, LATENT))
    at_mean = decode(mean)
    error = at_mean - images / 255
    expected = {
        "mean": mean,
        "logvar": logvar,
        "kl": 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1),
        "reconstruction_nll": bernoulli(drawn, images),
        "reconstruction_nll_at_mean": bernoulli(at_mean, images),
        "mse": (error**2).mean(axis=(1, 2, 3)),
        "mae": np.abs(error).mean(axis=(1, 2, 3)),
        "psnr": -10 * np.log10((error**2).mean(axis=(1, 2, 3))),
        "reconstruction_sharpness": laplacian_variance(to_pixels(at_mean)),
    }
    assert set(found) == {"index", *expected}
    np.testing.assert_array_equal(found["index"], np.arange(COUNT))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name, **CLOSE)


def laplacian_variance(pixels: Array) -> Array:
    """Variance of the 3 x 3 Laplacian over the inner pixels."""
    x = pixels[..., 0].astype(np.float64)
    around = x[:, 2:, 1:-1] + x[:, :-2, 1:-1] + x[:, 1:-1, 2:] + x[:, 1:-1, :-2]
    return (around - 4 * x[:, 1:-1, 1:-1]).var(axis=(1, 2))


def test_importance_weights(run: tuple[Row, dict[str, Path], Path], images: Array) -> None:
    row, folders, _ = run
    found = stored(folders["importance"])
    mean, logvar = (head[:20, None] for head in encode(images))
    noise = normals(4, 20, DRAWS * LATENT).reshape(20, DRAWS, LATENT)
    z = mean + np.exp(logvar / 2) * noise
    prior, posterior = norm.logpdf(z), norm.logpdf(z, mean, np.exp(logvar / 2))
    ratio = (prior - posterior).sum(axis=2)
    repeated = np.repeat(images[:20], DRAWS, axis=0)
    nll = bernoulli(decode(z), repeated).reshape(20, DRAWS)
    np.testing.assert_allclose(found["log_ratio"], ratio, **CLOSE)
    np.testing.assert_allclose(found["reconstruction_nll"], nll, **CLOSE)
    bound = logsumexp(ratio - nll, axis=1) - math.log(DRAWS)
    assert row["iwae"] == pytest.approx(bound.mean(), rel=1e-5)


def test_pictures(run: tuple[Row, dict[str, Path], Path], images: Array) -> None:
    row, folders, _ = run
    pixels = to_pixels(decode(normals(1, DRAWN, LATENT)))
    for kind, expected in (("pictures", pixels), ("reference_pictures", images)):
        found = stored(folders[kind])
        digests = [hashlib.blake2b(x.tobytes(), digest_size=8).digest() for x in expected]
        np.testing.assert_array_equal(
            found["digest"], [int.from_bytes(digest, "little") for digest in digests]
        )
        np.testing.assert_allclose(found["sharpness"], laplacian_variance(expected), rtol=1e-12)
        np.testing.assert_allclose(found["high_frequency"], high_frequency(expected), rtol=1e-9)
    ratio = plain_scores.pixel_diversity(pixels) / plain_scores.pixel_diversity(images)
    assert row["pixel_diversity_ratio"] == pytest.approx(ratio, rel=1e-12)


def high_frequency(pixels: Array) -> Array:
    """Share of power above a quarter cycle a pixel, of all but the mean's."""
    power = np.abs(np.fft.fft2(pixels[..., 0])) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8), indexing="ij"))
    return power[:, radius > 0.25].sum(axis=1) / power[:, radius > 0].sum(axis=1)


def test_smoothness(run: tuple[Row, dict[str, Path], Path]) -> None:
    """The squared change of a pixel along a path that stays on the prior, by finite steps."""
    begins, ends = normals(1, DRAWN, LATENT), normals(5, DRAWN, LATENT)
    words = np.random.Philox(key=[SEED, 6], counter=[0, 0, 0, 0]).random_raw(4 * DRAWN)[::4]
    places = ((words >> np.uint64(11)) + 0.5) * 2.0**-53 * 0.99

    def at(t: Array) -> Array:
        t = t[:, None]
        return decode(((1 - t) * begins + t * ends) / np.sqrt(t**2 + (1 - t) ** 2))

    expected = ((at(places + 0.01) - at(places)) ** 2).mean(axis=(1, 2, 3)) / 0.01**2
    found = stored(run[1]["pictures"])["path_change"]
    # The step's change of some 1e-3 is taken from float32 pixels.
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_activations(run: tuple[Row, dict[str, Path], Path], images: Array) -> None:
    """Of images rounded to 8 bits: 16 features behind a ReLU and a softmax of 10 classes."""
    import keras

    _, folders, classifier = run
    (hidden, bias, head, head_bias) = keras.saving.load_model(classifier).get_weights()
    sources = {
        "reference": images,
        "generated": to_pixels(decode(normals(1, DRAWN, LATENT))),
        "reconstructed": to_pixels(decode(encode(images)[0])),
    }
    for kind, pixels in sources.items():
        grey = np.repeat(pixels, 3, axis=-1).reshape(len(pixels), -1) / 255
        features = np.maximum(grey @ hidden.astype(np.float64) + bias, 0)
        scores = features @ head.astype(np.float64) + head_bias
        probabilities = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
        found = stored(folders[kind])
        np.testing.assert_allclose(found["features"], features, err_msg=kind, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["probabilities"], probabilities, rtol=1e-4, atol=1e-6)


def test_toy_decoder_ends_in_a_sigmoid() -> None:
    """What the plain formulas above take as probabilities."""
    model = make_decoder(1)
    z = np.zeros((1, LATENT), np.float32)
    *_, weights, bias = model.get_weights()
    first, first_bias = model.get_weights()[:2]
    logits = np.tanh(z @ first + first_bias) @ weights + bias
    np.testing.assert_allclose(decode(z).ravel(), expit(logits).ravel(), rtol=1e-5)
