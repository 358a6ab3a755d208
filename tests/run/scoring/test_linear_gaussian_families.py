"""Likelihood families by a run, of decoders whose linear part is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from metrics.linear_gaussian_vae import LinearGaussianVae
from scipy.special import expit
from support.models.linear_gaussian_files import (
    PIXELS,
    ROUNDING,
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


@pytest.fixture(scope="module")
def settings(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("linear"), toy_folder / "classifier.keras")


@pytest.fixture(scope="module")
def x() -> Array:
    """(n, 16) the quantised pixels on [0, 1]."""
    return draw_pixels() / 255.0


def test_discretised_logistic(settings: Settings, x: Array, tmp_path: Path) -> None:
    change = {"likelihood": "discretized_logistic", "sigma": 0.03, "out": str(tmp_path)}
    (row,) = score(settings | change).rows

    def nll(scale: float) -> float:
        mean = VAE.decode(drawn_latents(VAE, x))
        edges = [(x + side / 510 - mean) / scale for side in (1, -1)]
        upper = np.where(x == 1, 1.0, expit(edges[0]))
        lower = np.where(x == 0, 0.0, expit(edges[1]))
        return float(-np.log(upper - lower).sum(axis=1).mean())

    assert row.value("reconstruction_nll") == pytest.approx(nll(0.03), abs=ROUNDING)
    # A probability of grey levels: no offset.
    bits = -row.value("elbo") / (PIXELS * math.log(2))
    assert row.value("bits_per_dim") == pytest.approx(bits, abs=1e-12)
    assert row.value("iwae") > row.value("elbo") - 4 * row.score("elbo").standard_error
    assert row.conditions.sigma == 0.03
    # Its scale enters nonlinearly, so that losses are computed anew.
    executor = Counting()
    (row,) = score(settings | change | {"sigma": 0.02}, executor).rows
    assert executor.kinds >= {"losses", "importance"}
    assert row.value("reconstruction_nll") == pytest.approx(nll(0.02), abs=ROUNDING)


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
    [("continuous_bernoulli", continuous_bernoulli, math.log2(255)), ("bernoulli", bernoulli, 0)],
)
def test_bernoulli_families(
    settings: Settings,
    x: Array,
    tmp_path: Path,
    likelihood: str,
    formula: Callable[[Array, Array], Array],
    offset: int,
) -> None:
    checkpoint = save(tmp_path / "sigmoid", VAE, "sigmoid")
    change = {
        "checkpoints": [str(checkpoint)],
        "likelihood": likelihood,
        "sigma": None,
        "out": str(tmp_path / "out"),
    }
    (row,) = score(settings | change).rows
    nll, kl = formula(VAE.decode(drawn_latents(VAE, x)), x), exact_kl(VAE, x)
    assert row.conditions.likelihood == likelihood
    assert row.value("reconstruction_nll") == pytest.approx(nll.mean(), abs=ROUNDING)
    assert row.value("elbo") == pytest.approx(-(nll + kl).mean(), abs=ROUNDING)
    bits = -row.value("elbo") / (PIXELS * math.log(2)) + offset
    assert row.value("bits_per_dim") == pytest.approx(bits, abs=1e-12)
    assert (row.value("clipped_pixels"), row.conditions.sigma) == (0.0, None)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_pixels_that_a_clip_decides_are_counted(
    settings: Settings, x: Array, tmp_path: Path, likelihood: str
) -> None:
    """A last activation that reaches 0 and 1: clip(v / 6 + 1/2, 0, 1) of the linear part v."""
    wide = LinearGaussianVae(
        200 * VAE.weights, VAE.bias, 1.0, VAE.encoder_weights, VAE.encoder_bias, VAE.logvar
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
    assert row.value("clipped_pixels") == pytest.approx(clipped.sum(axis=1).mean(), abs=0.05)
    inside = np.clip(p, 1e-7, 1 - 1e-7)
    logits = np.log(inside) - np.log1p(-inside)
    formula = bernoulli if likelihood == "bernoulli" else continuous_bernoulli
    assert row.value("reconstruction_nll") == pytest.approx(formula(logits, x).mean(), rel=1e-3)
