from __future__ import annotations

import math

import numpy as np
import pytest

from vae_batch.metrics import bernoulli_nll, gaussian_kl, gaussian_nll
from vae_batch.metrics.likelihood.elbo import (
    bernoulli_nll_from_probabilities,
    gaussian_kl_per_dimension,
)


def test_even_odds_cost_one_bit_a_pixel() -> None:
    # 784 ln 2 = 543.4273895589971 nats, at any target.
    x = np.random.default_rng(0).uniform(size=(3, 28, 28, 1))
    np.testing.assert_allclose(bernoulli_nll(np.zeros_like(x), x), 543.4273895589971, rtol=1e-14)
    nll, clipped = bernoulli_nll_from_probabilities(np.full_like(x, 0.5), x)
    np.testing.assert_allclose(nll, 543.4273895589971, rtol=1e-14)
    np.testing.assert_array_equal(clipped, [0, 0, 0])


@pytest.mark.parametrize(
    ("logit", "x", "expected"),
    [
        (-80.0, 1.0, 80.0),  # softplus(-80) + 80, and exp(-80) is below one rounding of 80
        (80.0, 1.0, math.exp(-80.0)),  # log(1 + e^-80), not 80 - 80
        (80.0, 0.0, 80.0),
        (-1e6, 1.0, 1e6),
        (math.log(3.0), 1.0, math.log(4 / 3)),  # p = 3/4
        (math.log(3.0), 0.5, math.log(4.0) - 0.5 * math.log(3.0)),  # mean of ln 4/3 and ln 4
        (3.0, 1.0, 0.04858735157374196),  # ln(1 + e^-3)
    ],
)
def test_bernoulli_logits_by_hand(logit: float, x: float, expected: float) -> None:
    assert bernoulli_nll([[logit]], [[x]])[0] == pytest.approx(expected, rel=1e-14)


def test_probabilities_of_zero_and_one_are_finite_and_counted() -> None:
    # Row 0: p = 0 where x = 1 costs -ln 1e-7 = 16.11809565095832; p = 1 where x = 1 costs
    # -ln(1 - 1e-7); p = 1/4 where x = 0 costs ln(4/3). Two pixels are clipped. Row 1: none.
    p = [[0.0, 1.0, 0.25], [0.5, 0.5, 0.5]]
    x = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    nll, clipped = bernoulli_nll_from_probabilities(p, x)
    expected = 16.11809565095832 - math.log1p(-1e-7) + math.log(4 / 3)
    np.testing.assert_allclose(nll, [expected, 3 * math.log(2.0)], rtol=1e-14)
    np.testing.assert_array_equal(clipped, [2, 0])
    assert clipped.dtype == np.int64


def test_probabilities_agree_with_logits() -> None:
    rng = np.random.default_rng(1)
    logits, x = rng.normal(size=(4, 5, 5)), rng.uniform(size=(4, 5, 5))
    nll, _ = bernoulli_nll_from_probabilities(1 / (1 + np.exp(-logits)), x)
    np.testing.assert_allclose(nll, bernoulli_nll(logits, x), rtol=1e-12)


def test_grey_targets_have_a_floor_above_zero() -> None:
    # x = p = .3: the entropy -(.3 ln .3 + .7 ln .7) = 0.6108643020548935, not 0.
    assert bernoulli_nll([[math.log(3 / 7)]], [[0.3]])[0] == pytest.approx(0.6108643020548935)


def test_gaussian_by_hand() -> None:
    # 784 pixels, sigma 1, no error: 392 ln(2 pi) = 720.4478100324634.
    x = np.zeros((2, 28, 28, 1))
    np.testing.assert_allclose(gaussian_nll(x, x, 1.0), 720.4478100324634, rtol=1e-14)
    # One pixel, error 3, sigma 2: ln 2 + ln(2 pi)/2 + 9/8.
    expected = math.log(2.0) + 0.5 * math.log(2 * math.pi) + 1.125
    assert gaussian_nll([[1.0]], [[4.0]], 2.0)[0] == pytest.approx(expected, rel=1e-15)
    # A density above 1 has a negative NLL: sigma = .01 gives ln .01 + ln(2 pi)/2 = -3.686.
    assert gaussian_nll([[0.0]], [[0.0]], 0.01)[0] == pytest.approx(-3.686231652783418)


def test_gaussian_scale_may_vary_by_pixel_or_sample() -> None:
    x = np.random.default_rng(2).normal(size=(3, 2, 2))
    by_pixel = np.array([[0.5, 1.0], [2.0, 3.0]])
    by_hand = sum(
        gaussian_nll(0 * x[:, i, j], x[:, i, j], by_pixel[i, j]) for i in range(2) for j in range(2)
    )
    np.testing.assert_allclose(gaussian_nll(0 * x, x, by_pixel), by_hand, rtol=1e-14)
    by_sample = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    expected = [gaussian_nll(0 * x[i : i + 1], x[i : i + 1], 2.0**i)[0] for i in range(3)]
    np.testing.assert_allclose(gaussian_nll(0 * x, x, by_sample), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("mean", "logvar", "expected"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, 0.5),
        (0.0, math.log(4.0), 0.8068528194400547),  # (4 - 1 - ln 4) / 2
        (0.0, 89.0, 0.5 * (math.exp(89.0) - 90.0)),  # 2.2448e38: a float32 exp overflows
        (0.0, 1e-6, 2.5e-13 * (1 + 1e-6 / 3)),  # lv^2/4 + lv^3/12
        (0.0, -1000.0, 499.5),  # (0 - 1 + 1000) / 2
    ],
)
def test_kl_by_hand(mean: float, logvar: float, expected: float) -> None:
    assert gaussian_kl([[mean]], [[logvar]])[0] == pytest.approx(expected, rel=1e-8)


def test_kl_sums_all_latent_axes() -> None:
    # A (2, 3, 4) latent of means 1 and unit variances: 24 / 2 nats, not 2 (the last axis).
    mean = np.ones((5, 2, 3, 4))
    np.testing.assert_array_equal(gaussian_kl(mean, 0 * mean), np.full(5, 12.0))
    per_dimension = gaussian_kl_per_dimension(mean, 0 * mean)
    np.testing.assert_array_equal(per_dimension, np.full((5, 24), 0.5))


def test_kl_is_never_negative() -> None:
    logvar = np.concatenate([-np.logspace(-300, 2, 400), np.logspace(-300, 2, 400)])[:, None]
    assert (gaussian_kl(0 * logvar, logvar) >= 0).all()


@pytest.mark.parametrize(("bad", "text"), [(np.nan, "nan"), (np.inf, "inf"), (701.0, "701")])
def test_a_diverged_logvar_names_row_and_dimension(bad: float, text: str) -> None:
    logvar = np.zeros((4, 2, 3))
    logvar[2, 1, 0] = bad  # flattened in C order: dimension 3
    message = f"{text} in row 2, latent dimension 3 .1 of 4 rows"
    for metric in (gaussian_kl, gaussian_kl_per_dimension):
        with pytest.raises(ValueError, match=message):
            metric(np.zeros((4, 2, 3)), logvar)
    logvar[2, 1, 0] = 700.0
    assert np.isfinite(gaussian_kl(np.zeros((4, 2, 3)), logvar)).all()


def test_other_bad_inputs_are_named() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"logits and x: expected one shape, got \(2,\) and"):
        bernoulli_nll(np.zeros(2), x)
    with pytest.raises(ValueError, match=r"mean and logvar: expected one shape"):
        gaussian_kl(x, np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\].*\[0, 255\].*row 1.*255"):
        bernoulli_nll(x, [[0, 0, 0], [0, 255, 0]])
    with pytest.raises(ValueError, match=r"p: expected values in .*pass logits to bernoulli_nll"):
        bernoulli_nll_from_probabilities(x + 3.0, x)
    with pytest.raises(ValueError, match="x: expected values in"):
        bernoulli_nll_from_probabilities(x, x - 1.0)
    with pytest.raises(ValueError, match=r"clip: .*got 0.5"):
        bernoulli_nll_from_probabilities(x, x, clip=0.5)
    with pytest.raises(ValueError, match=r"logits: .*got inf in row 0, entry \(0, 1\)"):
        bernoulli_nll([[[0.0, np.inf]]], np.zeros((1, 1, 2)))
    with pytest.raises(ValueError, match=r"mean: .*got nan in row 1"):
        gaussian_kl([[0.0], [np.nan]], [[0.0], [0.0]])
    with pytest.raises(ValueError, match="scale: expected positive finite values, got a minimum"):
        gaussian_nll(x, x, 0.0)
    with pytest.raises(ValueError, match=r"broadcasts to \(2, 3\), got \(2,\)"):
        gaussian_nll(x, x, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"first axis.*got shape \(\)"):
        bernoulli_nll(0.0, 0.0)
