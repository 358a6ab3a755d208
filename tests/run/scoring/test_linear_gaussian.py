"""A VAE whose every likelihood is known in closed form, scored by a run, against those values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from metrics.linear_gaussian_vae import LinearGaussianVae
from support.models.linear_gaussian_files import (
    COUNT,
    LATENTS,
    PIXELS,
    ROUNDING,
    SIGMA,
    VAE,
    Array,
    Counting,
    Settings,
    draw_pixels,
    drawn_latents,
    exact_kl,
    save,
    settings_in,
)
from support.runs.serial_runs import score
from support.stores.stored_rows import folders_of, stored

from vae_batch.storage import ScoreRow


@pytest.fixture(scope="module")
def settings(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("linear"), toy_folder / "classifier.keras")


@pytest.fixture(scope="module")
def x() -> Array:
    """(n, 16) the quantised pixels on [0, 1]."""
    return draw_pixels() / 255.0


@pytest.fixture(scope="module")
def row(settings: Settings) -> ScoreRow:
    (row,) = score(settings).rows
    return row


def test_losses_are_exact(row: ScoreRow, x: Array) -> None:
    nll = VAE.nll_of_draws(x, drawn_latents(VAE, x)[:, None])[:, 0]
    at_mean = VAE.nll_of_draws(x, VAE.encode(x)[0][:, None])[:, 0]
    kl = exact_kl(VAE, x)
    exact = {
        "reconstruction_nll": nll,
        "reconstruction_nll_at_mean": at_mean,
        "kl": kl,
        "elbo": -nll - kl,
        "mse": ((x - VAE.decode(VAE.encode(x)[0])) ** 2).mean(axis=1),
    }
    for name, values in exact.items():
        assert row.value(name) == pytest.approx(values.mean(), abs=ROUNDING), name
        error = values.std(ddof=1) / math.sqrt(COUNT)
        assert row.score(name).standard_error == pytest.approx(error, rel=1e-4), name
    # One draw an image estimates the expectation over draws, within four standard errors.
    error = (nll - VAE.expected_nll(x)).std() / math.sqrt(COUNT)
    assert row.value("reconstruction_nll") == pytest.approx(
        VAE.expected_nll(x).mean(), abs=4 * error
    )
    # The encoder is the exact posterior, so that the bound is tight in expectation.
    assert row.value("elbo") == pytest.approx(VAE.log_likelihood(x).mean(), abs=4 * error)
    assert (row.conditions.likelihood, row.conditions.sigma) == ("gaussian", SIGMA)
    assert "gaussian decoder has no probabilities" in row.score("clipped_pixels").reason.text


@pytest.mark.parametrize("draws", [1, 2, 32])
def test_importance_weighted_bound_is_the_likelihood_for_every_number_of_draws(
    settings: Settings, x: Array, tmp_path: Path, draws: int
) -> None:
    change = {"iwae_draws": draws, "metrics": "iwae", "out": str(tmp_path)}
    (row,) = score(settings | change).rows
    exact = VAE.log_likelihood(x[:200])
    assert row.value("iwae") == pytest.approx(exact.mean(), abs=ROUNDING)
    assert row.score("iwae").standard_error == pytest.approx(
        exact.std(ddof=1) / math.sqrt(200), rel=1e-4
    )
    assert row.value("iwae_ess") == pytest.approx(draws, rel=1e-6)
    weights = stored(folders_of(tmp_path, row.checkpoint)["importance"])
    log_weights = (
        weights["log_ratio"]
        - 0.5 * weights["squared_error"] / SIGMA**2
        - PIXELS * math.log(SIGMA * math.sqrt(2 * math.pi))
    )
    np.testing.assert_allclose(log_weights, np.tile(exact[:, None], draws), atol=ROUNDING)
    if draws < 21:
        assert "raise --iwae-draws" in row.score("iwae_pareto_k").reason.text


def test_a_wrong_posterior_loosens_the_bounds_by_the_exact_gap(
    settings: Settings, x: Array, tmp_path: Path
) -> None:
    wrong = VAE.mismatched(np.array([0.1, -0.2, 0.3]), np.array([0.3, -0.2, 0.0]))
    checkpoint = save(tmp_path / "wrong", wrong)
    change = {"checkpoints": [str(checkpoint)], "out": str(tmp_path / "out"), "iwae_draws": 64}
    (row,) = score(settings | change).rows
    gap = wrong.posterior_divergence(x)
    bound = VAE.log_likelihood(x) - gap
    nll = wrong.nll_of_draws(x, drawn_latents(wrong, x)[:, None])[:, 0]
    error = (nll - wrong.expected_nll(x)).std() / math.sqrt(COUNT)
    assert row.value("elbo") == pytest.approx(bound.mean(), abs=4 * error)
    assert row.value("kl") == pytest.approx(exact_kl(wrong, x).mean(), abs=ROUNDING)
    # 64 draws close nearly all of the gap, from below.
    exact = VAE.log_likelihood(x[:200]).mean()
    assert exact - gap[:200].mean() / 10 < row.value("iwae") < exact + 0.01
    assert row.value("iwae_ess") < 63


def test_latents_are_exact(row: ScoreRow, x: Array) -> None:
    mean, logvar = VAE.encode(x)
    z = drawn_latents(VAE, x)
    # Var_x mean_k = |w_k|^2 / (|w_k|^2 + sigma^2) = 0.8, 0.5, 0.
    np.testing.assert_allclose(mean.var(axis=0), [0.8, 0.5, 0.0], atol=0.1)
    assert (row.value("latent_dimensions"), row.value("active_units")) == (3, 2)
    assert row.value("collapsed_dimensions") == 1
    assert "1 of 3 latent dimensions are collapsed (2)" in row.warnings[0].text
    # The estimator itself, all pairs at once: one draw against the mixture of all posteriors.
    deviation = np.exp(logvar[0] / 2)
    squares = (((z[:, None] - mean[None]) / deviation) ** 2).sum(axis=2)
    relative = np.log(np.exp(-0.5 * (squares - squares.diagonal()[:, None])).mean(axis=1))
    assert row.value("mutual_information") == pytest.approx(-relative.mean(), abs=ROUNDING)
    # About the population: ln 5 / 2 + ln 2 / 2 nats through two Gaussian channels; 1500 images
    # scatter by sd / sqrt(1500) and fall short by far less.
    assert VAE.information == pytest.approx((math.log(5) + math.log(2)) / 2)
    error = relative.std() / math.sqrt(COUNT)
    assert row.value("mutual_information") == pytest.approx(VAE.information, abs=4 * error)
    assert row.value("kl") == pytest.approx(VAE.information, abs=4 * row.score("kl").standard_error)
    # The mixture of all posteriors is the prior.
    assert row.value("marginal_kl") == pytest.approx(0.0, abs=0.05)
    moments = mean.mean(axis=0), np.cov(mean.T, ddof=0) + np.diag(deviation**2)
    (centre, covariance), d = moments, LATENTS
    log_determinant = np.linalg.slogdet(covariance)[1]
    exact = 0.5 * (covariance.trace() + centre @ centre - d - log_determinant)
    assert row.value("aggregate_prior_kl") == pytest.approx(exact, abs=1e-6)
    assert exact < d * (d + 3) / 4 / COUNT * 3  # what the sampling of 1500 images leaves
    assert row.value("aggregate_prior_mmd") == pytest.approx(0.0, abs=5e-3)


def test_optimal_sigma_is_that_of_maximum_likelihood(
    settings: Settings, row: ScoreRow, x: Array
) -> None:
    executor = Counting()
    (best,) = score(settings | {"sigma": "optimal"}, executor).rows
    assert executor.kinds == set()  # squared errors are stored, from which any sigma's loss follows
    squares = ((x - VAE.decode(drawn_latents(VAE, x))) ** 2).mean()
    assert best.conditions.sigma == pytest.approx(math.sqrt(squares), rel=1e-6)
    # At the optimum half a squared deviation a pixel is 1/2.
    nll = PIXELS / 2 * (math.log(2 * math.pi * squares) + 1)
    assert best.value("reconstruction_nll") == pytest.approx(nll, abs=ROUNDING)
    for other in (0.9 * best.conditions.sigma, 1.1 * best.conditions.sigma):
        (worse,) = score(settings | {"sigma": other}, executor).rows
        assert worse.conditions.sigma == other
        assert worse.value("reconstruction_nll") > best.value("reconstruction_nll")
        assert worse.value("kl") == best.value("kl") == row.value("kl")
        ratio = squares / other**2
        nll = PIXELS * (math.log(other * math.sqrt(2 * math.pi)) + ratio / 2)
        assert worse.value("reconstruction_nll") == pytest.approx(nll, abs=ROUNDING)
    assert executor.kinds == set()


def test_bits_do_not_depend_on_the_scale_of_the_pixels(
    settings: Settings, row: ScoreRow, tmp_path: Path
) -> None:
    """The same model of pixels on [-1, 1]: twice the scale, a density smaller by 2^16."""
    twice = LinearGaussianVae.with_exact_posterior(2 * VAE.weights, 2 * VAE.bias - 1, 2 * VAE.sigma)
    change = {
        "checkpoints": [str(save(tmp_path / "twice", twice))],
        "model_range": "-1..1",
        "sigma": 2 * SIGMA,
        "out": str(tmp_path / "out"),
    }
    (other,) = score(settings | change).rows
    shift = PIXELS * math.log(2)
    assert other.value("reconstruction_nll") == pytest.approx(
        row.value("reconstruction_nll") + shift, abs=1e-3
    )
    assert other.value("kl") == pytest.approx(row.value("kl"), abs=ROUNDING)
    # Levels are 1/255 apart on [0, 1], 2/255 on [-1, 1].
    assert (row.conditions.bin_width, other.conditions.bin_width) == (1 / 255, 2 / 255)
    for found, width in ((row, 1 / 255), (other, 2 / 255)):
        bits = -found.value("elbo") / (PIXELS * math.log(2)) - math.log2(width)
        assert found.value("bits_per_dim") == pytest.approx(bits, abs=1e-12)
    assert other.value("bits_per_dim") == pytest.approx(row.value("bits_per_dim"), abs=1e-4)
    for name in ("mse", "mae", "psnr"):  # of pixels scaled to 0..1
        assert other.value(name) == pytest.approx(row.value(name), rel=1e-5)
