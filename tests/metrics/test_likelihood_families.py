from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

from vae_batch.metrics.likelihood.elbo import MeanLoss, bernoulli_nll, gaussian_nll
from vae_batch.metrics.likelihood.families import (
    continuous_bernoulli_mean,
    continuous_bernoulli_nll,
    discretized_logistic_nll,
    gaussian_nll_of_scales,
    optimal_sigma,
)

# Continuous Bernoulli.


@pytest.mark.parametrize(
    ("logit", "x", "expected"),
    [
        (0.0, 0.3, 0.0),  # the uniform density
        # p = 3/4: C = 2 atanh(1/2) / (1/2) = 2 ln 3; density C p^x (1-p)^(1-x) at x = 1 and 1/2.
        (math.log(3.0), 1.0, -math.log(2 * math.log(3.0) * 0.75)),
        (math.log(3.0), 0.5, -math.log(2 * math.log(3.0) * math.sqrt(3.0) / 4)),
        (-math.log(3.0), 0.0, -math.log(2 * math.log(3.0) * 0.75)),
        # Large logits: log C = log |l| and log(1 + e^-l) vanishes: an exponential density of
        # rate l at distance 1 - x from the edge.
        (800.0, 1.0, -math.log(800.0)),
        (-800.0, 0.25, 200.0 - math.log(800.0)),
        (1e6, 0.0, 1e6 - math.log(1e6)),
        (1e300, 1.0, -300 * math.log(10.0)),
    ],
)
def test_continuous_bernoulli_by_hand(logit: float, x: float, expected: float) -> None:
    nll = continuous_bernoulli_nll([[logit]], [[x]])
    assert nll[0] == pytest.approx(expected, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("logit", [0.0, 1e-5, -9.9e-3, 1.01e-2, -0.5, 3.0, -30.0, 300.0])
def test_continuous_bernoulli_integrates_to_one(logit: float) -> None:
    def density(x: float) -> float:
        return math.exp(-continuous_bernoulli_nll([[logit]], [[x]])[0])

    edge = 1.0 if logit > 0 else 0.0  # the mass lies within 40/|logit| of one edge
    inner = abs(edge - min(0.5, 40 / max(abs(logit), 1e-300)))
    total = sum(
        quad(density, *sorted(ends), epsabs=1e-14, epsrel=1e-13)[0]
        for ends in ((edge, inner), (inner, 1.0 - edge))
    )
    assert total == pytest.approx(1.0, abs=1e-12)


def test_the_log_normaliser_is_smooth_where_the_series_takes_over() -> None:
    # log C = ln 2 + l^2/12 - 7 l^4/1440 + 31 l^6/90720 - ..., here to more terms than the code's,
    # and log(l / tanh(l/2)) where the ratio is well defined.
    logits = np.concatenate([np.logspace(-320, -3, 50), np.linspace(0.001, 0.2, 401)])[:, None]
    unnormalised = bernoulli_nll(logits, np.full_like(logits, 0.5))
    log_c = unnormalised - continuous_bernoulli_nll(logits, np.full_like(logits, 0.5))
    l2 = logits[:, 0] ** 2
    series = math.log(2.0) + l2 / 12 - 7 * l2**2 / 1440 + 31 * l2**3 / 90720
    np.testing.assert_allclose(log_c[l2 < 1e-4], series[l2 < 1e-4], rtol=0, atol=6e-16)
    away = logits[50:, 0]
    np.testing.assert_allclose(log_c[50:], np.log(away / np.tanh(away / 2)), rtol=0, atol=6e-16)


def test_continuous_bernoulli_sums_pixels_and_mirrors() -> None:
    rng = np.random.default_rng(0)
    logits, x = 5 * rng.normal(size=(4, 3, 3, 2)), rng.uniform(size=(4, 3, 3, 2))
    nll = continuous_bernoulli_nll(logits, x)
    # 2 atanh(1 - 2p) / (1 - 2p) straight from the paper.
    p = expit(logits)
    density = 2 * np.arctanh(1 - 2 * p) / (1 - 2 * p) * p**x * (1 - p) ** (1 - x)
    np.testing.assert_allclose(nll, -np.log(density).sum(axis=(1, 2, 3)), rtol=1e-10)
    np.testing.assert_allclose(continuous_bernoulli_nll(-logits, 1 - x), nll, rtol=1e-13)


# Discretised logistic.


def test_discretised_logistic_by_hand() -> None:
    # Bins 0, 1, 2 of width 1, mean 1, s = 1. Middle: sigmoid(.5) - sigmoid(-.5) = tanh(1/4).
    # First: everything below .5, sigmoid(-.5); last: the same.
    nll = discretized_logistic_nll([[1.0]] * 3, 0.0, [[0.0], [1.0], [2.0]], 1.0, 0.0, 2.0)
    edge = 1 / (1 + math.exp(0.5))
    expected = -np.log([edge, math.tanh(0.25), edge])
    np.testing.assert_allclose(nll, expected, rtol=1e-14)
    # Two pixels of one image add up.
    both = discretized_logistic_nll([[1.0, 1.0]], 0.0, [[0.0, 1.0]], 1.0, 0.0, 2.0)
    assert both[0] == pytest.approx(expected[0] + expected[1], rel=1e-14)


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("log_scale", [-300.0, -12.0, -7.0, -3.0, 0.0, 5.0, 300.0])
@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.3, 127.5 / 255, 1.0, 40.0])
def test_discretised_logistic_sums_to_one(mean: float, log_scale: float, low: float) -> None:
    width = (1.0 - low) / 255
    x = low + width * np.arange(256)[:, None]
    nll = discretized_logistic_nll(np.full_like(x, mean), log_scale, x, width, low, 1.0)
    assert (nll >= 0).all()
    assert np.isfinite(nll).all()
    assert np.exp(-nll).sum() == pytest.approx(1.0, rel=1e-12)


def test_discretised_logistic_keeps_its_digits_in_both_tails() -> None:
    # s = 1e-3, w = 1: a bin k above the mean's has P = e^-((k - 1/2)/s) up to e^-1000; the NLL of
    # bin 5 under mean 0 is 4500, of its mirror image under mean 10 too.
    s = math.log(1e-3)
    for mean in (0.0, 10.0):
        nll = discretized_logistic_nll([[mean]], s, [[5.0]], 1.0, 0.0, 10.0)
        assert nll[0] == pytest.approx(4500.0, rel=1e-14)
    # s = 1e9: the density is 1/(4 s) over the middle bins, -log(w / 4s).
    nll = discretized_logistic_nll([[3.0]], math.log(1e9), [[5.0]], 1.0, 0.0, 10.0)
    assert nll[0] == pytest.approx(math.log(4e9), rel=1e-14)


def test_discretised_logistic_takes_scales_by_pixel_and_sample() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, size=(3, 2, 2)) / 255
    mean, scales = rng.uniform(size=x.shape), rng.normal(size=x.shape) - 2
    whole = discretized_logistic_nll(mean, scales, x, 1 / 255, 0, 1)
    by_hand = sum(
        discretized_logistic_nll(mean[:, i, j], scales[:, i, j], x[:, i, j], 1 / 255, 0, 1)
        for i in range(2)
        for j in range(2)
    )
    np.testing.assert_allclose(whole, by_hand, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_eight_bit_images_are_on_the_grid_in_every_dtype(dtype: type) -> None:
    x = (np.arange(256) / 255)[:, None]
    exact = discretized_logistic_nll(np.full_like(x, 0.4), -3.0, x, 1 / 255, 0, 1)
    rounded = discretized_logistic_nll(np.full_like(x, 0.4), -3.0, x.astype(dtype), 1 / 255, 0, 1)
    np.testing.assert_array_equal(rounded, exact)


# Gaussian with a learned scale.


def test_gaussian_of_scales_agrees_with_sigma() -> None:
    rng = np.random.default_rng(2)
    mean, x = rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2, 2))
    for log_scale in (
        np.float64(-0.7),
        rng.normal(size=(3, 1, 1)),
        rng.normal(size=(1, 2, 2)),
        rng.normal(size=(3, 2, 2)),
    ):
        expected = gaussian_nll(mean, x, np.exp(log_scale))
        given = log_scale.reshape(3) if log_scale.shape == (3, 1, 1) else log_scale
        np.testing.assert_allclose(gaussian_nll_of_scales(mean, given, x), expected, rtol=1e-13)


def test_gaussian_of_scales_reaches_where_sigma_underflows() -> None:
    # sigma = e^-300, no error: -300 + ln(2 pi)/2.
    nll = gaussian_nll_of_scales([[0.0]], -300.0, [[0.0]])
    assert nll[0] == pytest.approx(-300 + 0.5 * math.log(2 * math.pi), rel=1e-15)


def test_optimal_sigma_by_hand() -> None:
    # Two images of 3 values with squared errors 1 + 4 + 1 and 0 + 0 + 6: mean 12 / 6 = 2.
    assert optimal_sigma([6.0, 6.0], 3) == pytest.approx(math.sqrt(2.0), rel=1e-15)
    shards = MeanLoss.from_values([1.0]).merge(MeanLoss.from_values([2.0, 9.0]))
    assert optimal_sigma(shards, 4) == pytest.approx(1.0, rel=1e-15)  # 12 / (3 * 4)


def test_optimal_sigma_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(3)
    mean, x = rng.normal(size=(5, 4, 4)), rng.normal(size=(5, 4, 4))
    squares = ((x - mean) ** 2).sum(axis=(1, 2))
    best = optimal_sigma(squares, 16)
    at_best = gaussian_nll(mean, x, best).mean()
    # There the mean NLL is D/2 (ln 2 pi sigma^2 + 1), and less on either side.
    assert at_best == pytest.approx(8 * (math.log(2 * math.pi * best**2) + 1), rel=1e-14)
    assert gaussian_nll(mean, x, 0.99 * best).mean() > at_best
    assert gaussian_nll(mean, x, 1.01 * best).mean() > at_best


def test_bad_inputs_are_named() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
        continuous_bernoulli_nll(x, x + 2)
    with pytest.raises(ValueError, match=r"mean and x: expected one shape"):
        discretized_logistic_nll(x[:, :2], 0.0, x, 0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x: expected bin centres 0 \+ k 0.5, found 0.2 in row 1"):
        discretized_logistic_nll(x, 0.0, [[0, 0.5, 1], [0, 0.2, 1]], 0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"x: expected values in .*range of \[0, 255\]"):
        discretized_logistic_nll(x, 0.0, [[0, 255, 0]] * 2, 1 / 255, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"whole number of steps .* 3.33333 steps of 0.3"):
        discretized_logistic_nll(x, 0.0, x, 0.3, 0.0, 1.0)
    with pytest.raises(ValueError, match="bin_width: expected a positive finite number"):
        discretized_logistic_nll(x, 0.0, x, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"whole number of steps .* -255 steps"):
        discretized_logistic_nll(x, 0.0, x, 1 / 255, 1.0, 0.0)
    for bad, text in ((np.nan, "nan"), (301.0, "301"), (-np.inf, "-inf")):
        with pytest.raises(ValueError, match=f"log_scale: .*got {text} in row 1"):
            gaussian_nll_of_scales(x, [0.0, bad], x)
        with pytest.raises(ValueError, match=f"log_scale: .*got {text} in row 0"):
            discretized_logistic_nll(x, bad, x, 0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"\(2,\) one a sample, \(1, 3\) one a pixel.*got shape"):
        gaussian_nll_of_scales(x, np.zeros(3), x)
    with pytest.raises(ValueError, match=r"mean: .*nan in row 0"):
        gaussian_nll_of_scales(x + np.nan, 0.0, x)
    with pytest.raises(ValueError, match="dimensions: expected at least 1, got 0"):
        optimal_sigma([1.0], 0)
    with pytest.raises(ValueError, match=r"expected values in \[0, inf\].*sums of squares"):
        optimal_sigma([1.0, -1.0], 3)
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        optimal_sigma(MeanLoss.empty(), 3)
    with pytest.raises(ValueError, match="perfect reconstruction has no optimal sigma"):
        optimal_sigma([0.0, 0.0], 3)


@pytest.mark.parametrize("logit", [-30.0, -2.0, -0.5, -1e-3, 0.0, 1e-3, 0.0099, 0.0101, 3.0, 200.0])
def test_continuous_bernoulli_mean_is_the_integral_of_x(logit: float) -> None:
    """p(x) is proportional to exp(t x) on [0, 1], so E x = int x e^(tx) / int e^(tx)."""
    shift = max(logit, 0.0)
    weight = quad(lambda x: math.exp(logit * x - shift), 0, 1, epsabs=1e-14)[0]
    first = quad(lambda x: x * math.exp(logit * x - shift), 0, 1, epsabs=1e-14)[0]
    found = continuous_bernoulli_mean(np.array([logit]))
    np.testing.assert_allclose(found, first / weight, rtol=1e-9)
