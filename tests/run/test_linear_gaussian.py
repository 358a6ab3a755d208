"""A VAE whose every likelihood is known in closed form, saved with Keras and scored by a run.

Probabilistic PCA of 4 x 4 images (``linear_gaussian_vae.py``). Images are 8-bit, a step of 0.0039
against a noise of 0.05; all exact values are those of the model at the quantised pixels, so that
the quantisation itself is no error here. What is left is the float32 of the networks: a decoded
pixel errs by 3e-8, a squared error of 16 pixels over 2 sigma^2 by 16 x 0.05 x 3e-8 / 0.0025 = 1e-5
nats, as do the means of posteriors. ``ROUNDING`` allows twice that, on values of about 20 nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metrics.linear_gaussian_vae import LinearGaussianVae, small_image_vae
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from serial_runs import Row, score
from stored_rows import folders_of, stored

from vae_batch.run.executor import SerialExecutor, Task
from vae_batch.run.recipe import Recipe
from vae_batch.run.shard_worker import ShardOutcome

Array = NDArray[Any]
Settings = dict[str, Any]

COUNT, SIGMA, ROUNDING = 1500, 0.05, 2e-5
PIXELS, LATENTS = 16, 3


class Counting(SerialExecutor):
    """Notes the kinds of unit that it computes."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def run_shards(self, tasks: Sequence[Task], recipe: Recipe) -> Iterator[ShardOutcome]:
        self.kinds |= {unit.kind for unit, _ in tasks}
        return super().run_shards(tasks, recipe)


@pytest.fixture(scope="module")
def vae() -> LinearGaussianVae:
    """Signals of 2 and 1 noise deviations, and a dimension that the decoder ignores."""
    return small_image_vae(side=4, norms=(0.1, 0.05, 0.0), sigma=SIGMA)


@pytest.fixture(scope="module")
def pixels(vae: LinearGaussianVae) -> Array:
    drawn = vae.images(COUNT, seed=0)
    assert 0 < drawn.min()  # nothing is cut at black or white
    assert drawn.max() < 1
    return np.rint(255 * drawn).astype(np.uint8)


@pytest.fixture(scope="module")
def x(pixels: Array) -> Array:
    """(n, 16) the quantised pixels on [0, 1]."""
    return pixels / 255.0


def save(folder: Path, vae: LinearGaussianVae, last: str = "linear") -> Path:
    """Both halves as dense layers with the model's own matrices."""
    import keras

    folder.mkdir()
    images, code = keras.Input((4, 4, 1)), keras.Input((LATENTS,))
    flat = keras.layers.Flatten()(images)
    heads = [keras.layers.Dense(LATENTS, name=name) for name in ("mean", "logvar")]
    encoder = keras.Model(images, [head(flat) for head in heads])
    heads[0].set_weights([vae.encoder_weights, vae.encoder_bias])
    heads[1].set_weights([np.zeros((PIXELS, LATENTS)), vae.logvar])
    decoded = keras.layers.Dense(PIXELS, last)(code)
    decoder = keras.Model(code, keras.layers.Reshape((4, 4, 1))(decoded))
    decoder.set_weights([vae.weights.T, vae.bias])
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.keras")
    return folder


@pytest.fixture(scope="module")
def settings(
    vae: LinearGaussianVae, pixels: Array, toy_folder: Path, tmp_path_factory: Any
) -> Settings:
    folder = tmp_path_factory.mktemp("linear")
    np.savez(folder / "images.npz", pixels.reshape(-1, 4, 4, 1))
    return {
        "checkpoints": [str(save(folder / "vae", vae))],
        "reference": str(folder / "images.npz"),
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 64,
        "shard_size": 512,
        "batch_size": 64,
        "likelihood": "gaussian",
        "sigma": SIGMA,
        "iwae_images": 200,
        "iwae_draws": 32,
        "metrics": "losses,latents,iwae,reconstruction",
        "workers": 0,
        "out": str(folder / "out"),
    }


@pytest.fixture(scope="module")
def row(settings: Settings) -> Row:
    (row,) = score(settings).rows
    return row


def posterior_noise(count: int) -> Array:
    """3 of the 4 words of each image's own counter, stream 2 of seed 0."""
    words = np.random.Philox(key=[0, 2], counter=[0, 0, 0, 0]).random_raw(4 * count)
    return ndtri(((words.reshape(count, 4)[:, :LATENTS] >> np.uint64(11)) + 0.5) * 2.0**-53)


def drawn_latents(vae: LinearGaussianVae, x: Array) -> Array:
    mean, logvar = vae.encode(x)
    return mean + np.exp(logvar / 2) * posterior_noise(len(x))


def exact_kl(vae: LinearGaussianVae, x: Array) -> Array:
    mean, logvar = vae.encode(x)
    return 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)


def test_losses_are_exact(row: Row, vae: LinearGaussianVae, x: Array) -> None:
    nll = vae.nll_of_draws(x, drawn_latents(vae, x)[:, None])[:, 0]
    at_mean = vae.nll_of_draws(x, vae.encode(x)[0][:, None])[:, 0]
    kl = exact_kl(vae, x)
    exact = {
        "reconstruction_nll": nll,
        "reconstruction_nll_at_mean": at_mean,
        "kl": kl,
        "elbo": -nll - kl,
        "mse": ((x - vae.decode(vae.encode(x)[0])) ** 2).mean(axis=1),
    }
    for name, values in exact.items():
        assert row[name] == pytest.approx(values.mean(), abs=ROUNDING), name
        error = values.std(ddof=1) / math.sqrt(COUNT)
        assert row[f"{name}_se"] == pytest.approx(error, rel=1e-4), name
    # One draw an image estimates the expectation over draws, within four standard errors.
    error = (nll - vae.expected_nll(x)).std() / math.sqrt(COUNT)
    assert row["reconstruction_nll"] == pytest.approx(vae.expected_nll(x).mean(), abs=4 * error)
    # The encoder is the exact posterior, so that the bound is tight in expectation.
    assert row["elbo"] == pytest.approx(vae.log_likelihood(x).mean(), abs=4 * error)
    assert (row["likelihood"], row["sigma"]) == ("gaussian", SIGMA)
    assert "gaussian decoder has no probabilities" in row["clipped_pixels_reason"]


@pytest.mark.parametrize("draws", [1, 2, 32])
def test_importance_weighted_bound_is_the_likelihood_for_every_number_of_draws(
    settings: Settings, vae: LinearGaussianVae, x: Array, tmp_path: Path, draws: int
) -> None:
    change = {"iwae_draws": draws, "metrics": "iwae", "out": str(tmp_path)}
    (row,) = score(settings | change).rows
    exact = vae.log_likelihood(x[:200])
    assert row["iwae"] == pytest.approx(exact.mean(), abs=ROUNDING)
    assert row["iwae_se"] == pytest.approx(exact.std(ddof=1) / math.sqrt(200), rel=1e-4)
    assert row["iwae_ess"] == pytest.approx(draws, rel=1e-6)
    weights = stored(folders_of(tmp_path, row["checkpoint"])["importance"])
    log_weights = (
        weights["log_ratio"]
        - 0.5 * weights["squared_error"] / SIGMA**2
        - PIXELS * math.log(SIGMA * math.sqrt(2 * math.pi))
    )
    np.testing.assert_allclose(log_weights, np.tile(exact[:, None], draws), atol=ROUNDING)
    if draws < 21:
        assert "raise --iwae-draws" in row["iwae_pareto_k_reason"]


def test_a_wrong_posterior_loosens_the_bounds_by_the_exact_gap(
    settings: Settings, vae: LinearGaussianVae, x: Array, tmp_path: Path
) -> None:
    wrong = vae.mismatched(np.array([0.1, -0.2, 0.3]), np.array([0.3, -0.2, 0.0]))
    checkpoint = save(tmp_path / "wrong", wrong)
    change = {"checkpoints": [str(checkpoint)], "out": str(tmp_path / "out"), "iwae_draws": 64}
    (row,) = score(settings | change).rows
    gap = wrong.posterior_divergence(x)
    bound = vae.log_likelihood(x) - gap
    nll = wrong.nll_of_draws(x, drawn_latents(wrong, x)[:, None])[:, 0]
    error = (nll - wrong.expected_nll(x)).std() / math.sqrt(COUNT)
    assert row["elbo"] == pytest.approx(bound.mean(), abs=4 * error)
    assert row["kl"] == pytest.approx(exact_kl(wrong, x).mean(), abs=ROUNDING)
    # 64 draws close nearly all of the gap, from below.
    exact = vae.log_likelihood(x[:200]).mean()
    assert exact - gap[:200].mean() / 10 < row["iwae"] < exact + 0.01
    assert row["iwae_ess"] < 63


def test_latents_are_exact(row: Row, vae: LinearGaussianVae, x: Array) -> None:
    mean, logvar = vae.encode(x)
    z = drawn_latents(vae, x)
    # Var_x mean_k = |w_k|^2 / (|w_k|^2 + sigma^2) = 0.8, 0.5, 0.
    np.testing.assert_allclose(mean.var(axis=0), [0.8, 0.5, 0.0], atol=0.1)
    assert (row["latent_dimensions"], row["active_units"]) == (3, 2)
    assert row["collapsed_dimensions"] == 1
    assert "1 of 3 latent dimensions are collapsed (2)" in row["warnings"]
    # The estimator itself, all pairs at once: one draw against the mixture of all posteriors.
    deviation = np.exp(logvar[0] / 2)
    squares = (((z[:, None] - mean[None]) / deviation) ** 2).sum(axis=2)
    relative = np.log(np.exp(-0.5 * (squares - squares.diagonal()[:, None])).mean(axis=1))
    assert row["mutual_information"] == pytest.approx(-relative.mean(), abs=ROUNDING)
    # About the population: ln 5 / 2 + ln 2 / 2 nats through two Gaussian channels; 1500 images
    # scatter by sd / sqrt(1500) and fall short by far less.
    assert vae.information == pytest.approx((math.log(5) + math.log(2)) / 2)
    error = relative.std() / math.sqrt(COUNT)
    assert row["mutual_information"] == pytest.approx(vae.information, abs=4 * error)
    assert row["kl"] == pytest.approx(vae.information, abs=4 * row["kl_se"])
    # The mixture of all posteriors is the prior.
    assert row["marginal_kl"] == pytest.approx(0.0, abs=0.05)
    moments = mean.mean(axis=0), np.cov(mean.T, ddof=0) + np.diag(deviation**2)
    (centre, covariance), d = moments, LATENTS
    log_determinant = np.linalg.slogdet(covariance)[1]
    exact = 0.5 * (covariance.trace() + centre @ centre - d - log_determinant)
    assert row["aggregate_prior_kl"] == pytest.approx(exact, abs=1e-6)
    assert exact < d * (d + 3) / 4 / COUNT * 3  # what the sampling of 1500 images leaves
    assert row["aggregate_prior_mmd"] == pytest.approx(0.0, abs=5e-3)


def test_optimal_sigma_is_that_of_maximum_likelihood(
    settings: Settings, row: Row, vae: LinearGaussianVae, x: Array
) -> None:
    executor = Counting()
    (best,) = score(settings | {"sigma": "optimal"}, executor).rows
    assert executor.kinds == set()  # squared errors are stored, from which any sigma's loss follows
    squares = ((x - vae.decode(drawn_latents(vae, x))) ** 2).mean()
    assert best["sigma"] == pytest.approx(math.sqrt(squares), rel=1e-6)
    # At the optimum half a squared deviation a pixel is 1/2.
    nll = PIXELS / 2 * (math.log(2 * math.pi * squares) + 1)
    assert best["reconstruction_nll"] == pytest.approx(nll, abs=ROUNDING)
    for other in (0.9 * best["sigma"], 1.1 * best["sigma"]):
        (worse,) = score(settings | {"sigma": other}, executor).rows
        assert worse["sigma"] == other
        assert worse["reconstruction_nll"] > best["reconstruction_nll"]
        assert worse["kl"] == best["kl"] == row["kl"]
        ratio = squares / other**2
        nll = PIXELS * (math.log(other * math.sqrt(2 * math.pi)) + ratio / 2)
        assert worse["reconstruction_nll"] == pytest.approx(nll, abs=ROUNDING)
    assert executor.kinds == set()


def test_bits_do_not_depend_on_the_scale_of_the_pixels(
    settings: Settings, row: Row, vae: LinearGaussianVae, tmp_path: Path
) -> None:
    """The same model of pixels on [-1, 1]: twice the scale, a density smaller by 2^16."""
    twice = LinearGaussianVae.with_exact_posterior(
        2 * vae.weights, 2 * vae.bias - 1, 2 * vae.sigma
    )
    change = {
        "checkpoints": [str(save(tmp_path / "twice", twice))],
        "model_range": "-1..1",
        "sigma": 2 * SIGMA,
        "out": str(tmp_path / "out"),
    }
    (other,) = score(settings | change).rows
    shift = PIXELS * math.log(2)
    assert other["reconstruction_nll"] == pytest.approx(row["reconstruction_nll"] + shift, abs=1e-3)
    assert other["kl"] == pytest.approx(row["kl"], abs=ROUNDING)
    # log2(256 / w): 8 bits on [0, 1], 7 on [-1, 1].
    nats = PIXELS * math.log(2)
    assert row["bits_per_dim"] == pytest.approx(-row["elbo"] / nats + 8, abs=1e-12)
    assert other["bits_per_dim"] == pytest.approx(-other["elbo"] / nats + 7, abs=1e-12)
    assert other["bits_per_dim"] == pytest.approx(row["bits_per_dim"], abs=1e-4)
    for name in ("mse", "mae", "psnr"):  # of pixels scaled to 0..1
        assert other[name] == pytest.approx(row[name], rel=1e-5)


def test_discretised_logistic(
    settings: Settings, vae: LinearGaussianVae, pixels: Array, x: Array, tmp_path: Path
) -> None:
    change = {"likelihood": "discretized_logistic", "sigma": 0.03, "out": str(tmp_path)}
    (row,) = score(settings | change).rows

    def nll(scale: float) -> float:
        mean = vae.decode(drawn_latents(vae, x))
        edges = [(x + side / 510 - mean) / scale for side in (1, -1)]
        upper = np.where(pixels == 255, 1.0, expit(edges[0]))
        lower = np.where(pixels == 0, 0.0, expit(edges[1]))
        return float(-np.log(upper - lower).sum(axis=1).mean())

    assert row["reconstruction_nll"] == pytest.approx(nll(0.03), abs=ROUNDING)
    # A probability of grey levels: no offset.
    bits = -row["elbo"] / (PIXELS * math.log(2))
    assert row["bits_per_dim"] == pytest.approx(bits, abs=1e-12)
    assert row["iwae"] > row["elbo"] - 4 * row["elbo_se"]
    assert row["sigma"] == 0.03
    # Its scale enters nonlinearly: losses are computed anew, and nothing else.
    executor = Counting()
    (row,) = score(settings | change | {"sigma": 0.02}, executor).rows
    assert executor.kinds == {"losses", "importance"}
    assert row["reconstruction_nll"] == pytest.approx(nll(0.02), abs=ROUNDING)


def continuous_bernoulli(logits: Array, x: Array) -> Array:
    """arXiv:1907.06845: a Bernoulli's formula and its normaliser, in plain form."""
    p = expit(logits)
    normaliser = np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p))
    return -(x * np.log(p) + (1 - x) * np.log(1 - p) + normaliser).sum(axis=1)


def bernoulli(logits: Array, x: Array) -> Array:
    p = expit(logits)
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)


@pytest.mark.parametrize(
    ("likelihood", "formula", "offset"),
    [("continuous_bernoulli", continuous_bernoulli, 8), ("bernoulli", bernoulli, 0)],
)
def test_bernoulli_families(
    settings: Settings,
    vae: LinearGaussianVae,
    x: Array,
    tmp_path: Path,
    likelihood: str,
    formula: Callable[[Array, Array], Array],
    offset: int,
) -> None:
    checkpoint = save(tmp_path / "sigmoid", vae, "sigmoid")
    change = {
        "checkpoints": [str(checkpoint)],
        "likelihood": likelihood,
        "sigma": None,
        "out": str(tmp_path / "out"),
    }
    (row,) = score(settings | change).rows
    nll, kl = formula(vae.decode(drawn_latents(vae, x)), x), exact_kl(vae, x)
    assert row["likelihood"] == likelihood
    assert row["reconstruction_nll"] == pytest.approx(nll.mean(), abs=ROUNDING)
    assert row["elbo"] == pytest.approx(-(nll + kl).mean(), abs=ROUNDING)
    bits = -row["elbo"] / (PIXELS * math.log(2)) + offset
    assert row["bits_per_dim"] == pytest.approx(bits, abs=1e-12)
    assert (row["clipped_pixels"], row["sigma"]) == (0.0, None)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_pixels_that_a_clip_decides_are_counted(
    settings: Settings, vae: LinearGaussianVae, x: Array, tmp_path: Path, likelihood: str
) -> None:
    """A last activation that reaches 0 and 1: clip(v / 6 + 1/2, 0, 1) of the linear part v."""
    wide = LinearGaussianVae(
        200 * vae.weights, vae.bias, 1.0, vae.encoder_weights, vae.encoder_bias, vae.logvar
    )
    checkpoint = save(tmp_path / "hard", wide, "hard_sigmoid")
    change = {
        "checkpoints": [str(checkpoint)],
        "likelihood": likelihood,
        "sigma": None,
        "out": str(tmp_path / "out"),
    }
    (row,) = score(settings | change).rows
    p = np.clip(wide.decode(drawn_latents(wide, x)) / 6 + 0.5, 0, 1)
    clipped = (p < 1e-7) | (p > 1 - 1e-7)
    assert clipped.mean() > 0.1
    assert row["clipped_pixels"] == pytest.approx(clipped.sum(axis=1).mean(), abs=0.05)
    inside = np.clip(p, 1e-7, 1 - 1e-7)
    logits = np.log(inside) - np.log1p(-inside)
    formula = bernoulli if likelihood == "bernoulli" else continuous_bernoulli
    assert row["reconstruction_nll"] == pytest.approx(formula(logits, x).mean(), rel=1e-3)
