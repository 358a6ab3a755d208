from __future__ import annotations

import math

import numpy as np
import pytest
from metrics.linear_gaussian_vae import LinearGaussianVae, small_image_vae
from scipy.special import logsumexp
from scipy.stats import norm

from vae_batch.metrics.likelihood import posterior as aggregate_posterior
from vae_batch.metrics.likelihood.elbo import gaussian_kl
from vae_batch.metrics.likelihood.posterior import (
    AggregateInformation,
    aggregate_information,
    aggregate_moment_kl,
    aggregate_prior_mmd,
)

Array = np.ndarray


def _by_definition(z: Array, mean: Array, logvar: Array) -> tuple[float, float]:
    """Mutual information and marginal KL from all N^2 densities, by differences."""
    pairs = norm(mean, np.exp(0.5 * logvar)).logpdf(z[:, None]).sum(axis=2)
    mixture = logsumexp(pairs, axis=1) - math.log(len(z))
    prior = norm.logpdf(z).sum(axis=1)
    return float((pairs.diagonal() - mixture).mean()), float((mixture - prior).mean())


def _posteriors(rng: np.random.Generator, n: int, d: int) -> tuple[Array, Array, Array]:
    mean, logvar = rng.normal(size=(n, d)), rng.normal(size=(n, d)) - 1.0
    return mean + np.exp(0.5 * logvar) * rng.normal(size=(n, d)), mean, logvar


# Mutual information and marginal KL.


def test_two_images_by_hand() -> None:
    # Posteriors N(+-m, 1), draws at their means. own = -ln(2 pi)/2, mixture = own +
    # ln((1 + e^(-2 m^2))/2), prior = own - m^2/2.
    m = 0.8
    mean = np.array([[m], [-m]])
    split = aggregate_information(mean, mean, np.zeros((2, 1)))
    information = math.log(2.0) - math.log1p(math.exp(-2 * m**2))
    assert split.mutual_information == pytest.approx(information, rel=1e-14)
    assert split.marginal_kl == pytest.approx(m**2 / 2 - information, rel=1e-13)
    assert split.rate == pytest.approx(m**2 / 2, rel=1e-14)
    assert split.count == 2


def test_codes_that_ignore_the_image_carry_no_information() -> None:
    # Every posterior N(2, 4), every draw 2 + e: all of the rate is marginal KL.
    z = 2.0 + 2.0 * np.random.default_rng(0).normal(size=(50, 3))
    split = aggregate_information(z, np.full((50, 3), 2.0), np.full((50, 3), math.log(4.0)))
    assert split.mutual_information == pytest.approx(0.0, abs=1e-14)
    expected = norm(2, 2).logpdf(z).sum(axis=1) - norm.logpdf(z).sum(axis=1)
    assert split.marginal_kl == pytest.approx(expected.mean(), rel=1e-13)


def test_codes_far_apart_saturate_at_log_n() -> None:
    for n in (2, 4, 5, 40):  # some of which rounding would carry beyond log n
        mean = np.tile(1000.0 * np.arange(n)[:, None], 40)
        split = aggregate_information(mean, mean, np.full((n, 40), -7.3))
        assert split.mutual_information <= split.ceiling == math.log(n)
        assert split.mutual_information == pytest.approx(math.log(n), rel=1e-13)
        assert split.is_saturated
    assert AggregateInformation(100, math.log(100) - 2.1, 0.0).is_saturated is False
    assert AggregateInformation(100, math.log(100) - 1.9, 0.0).is_saturated is True


@pytest.mark.parametrize(("n", "d"), [(1, 1), (7, 1), (60, 5), (200, 40)])
def test_agrees_with_the_definition(n: int, d: int) -> None:
    z, mean, logvar = _posteriors(np.random.default_rng(n + d), n, d)
    split = aggregate_information(z, mean, logvar)
    expected = _by_definition(z, mean, logvar)
    np.testing.assert_allclose(
        (split.mutual_information, split.marginal_kl), expected, rtol=0, atol=1e-11
    )
    assert split.mutual_information <= math.log(n)


def test_narrow_posteriors_and_constant_means_keep_their_digits() -> None:
    # Standard deviations of 1e-6 to 1e-4 beside 1, and a dimension of constant mean 3 and
    # deviation 1e-6: squares expanded about 0 would lose (3e6)^2 1e-16 = 1e-3 nats there.
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(80, 4))
    mean[:, 0] = 3.0
    mean[40:, 1] = mean[:40, 1]  # pairs that only dimensions 2 and 3 tell apart
    logvar = np.tile(2 * np.log([1e-6, 1e-4, 1.0, 0.5]), (80, 1))
    z = mean + np.exp(0.5 * logvar) * rng.normal(size=mean.shape)
    split = aggregate_information(z, mean, logvar)
    expected = _by_definition(z, mean, logvar)
    np.testing.assert_allclose(
        (split.mutual_information, split.marginal_kl), expected, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_posteriors_of_no_width_stay_within_log_n(seed: int) -> None:
    # Deviations of 1e-9: expanded squares lose all digits (1e18 1e-16 = 100 nats), but a code is
    # its own image's. With 30 pairs of equal means the truth lies near ln 60 - ln 2.
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(60, 8))
    logvar = np.full((60, 8), 2 * math.log(1e-9))
    z = mean + 1e-9 * rng.normal(size=mean.shape)
    alone = aggregate_information(z, mean, logvar)
    assert math.log(60) - 1e-12 < alone.mutual_information <= math.log(60)
    own = norm(mean, 1e-9).logpdf(z).sum(axis=1) - norm.logpdf(z).sum(axis=1)
    assert alone.rate == pytest.approx(own.mean(), rel=1e-12)
    mean[30:] = mean[:30]
    z = mean + 1e-9 * rng.normal(size=mean.shape)
    paired = aggregate_information(z, mean, logvar).mutual_information
    assert math.log(60) - 4 < paired <= math.log(60)


def test_linear_gaussian_vae_splits_its_rate() -> None:
    # q(z) = N(0, I): marginal KL 0, and the information is that of a Gaussian channel, 1.7406
    # nats = ln(1 / (.2 x .3077 x .5)) / 2. Per-image terms deviate by about 1.2 nats; of the
    # mixture of 4000 posteriors, 4 standard errors.
    vae = small_image_vae(sigma=0.1)
    assert vae.information == pytest.approx(-0.5 * math.log(0.2 * (4 / 13) * 0.5), rel=1e-12)
    x = vae.images(4000, seed=2)
    mean, logvar = vae.encode(x)
    split = aggregate_information(vae.draw(x, 1, seed=3)[:, 0], mean, logvar)
    assert split.mutual_information == pytest.approx(vae.information, abs=0.08)
    assert split.marginal_kl == pytest.approx(0.0, abs=0.02)
    assert not split.is_saturated
    assert split.rate == pytest.approx(gaussian_kl(mean, logvar).mean(), abs=0.1)


def test_a_biased_encoder_pays_the_marginal_kl() -> None:
    # Moving every posterior by delta moves q(z) to N(delta, I): marginal KL |delta|^2 / 2 = .625,
    # and the information stays.
    vae = small_image_vae(sigma=0.1)
    moved = vae.mismatched(np.array([1.0, 0.0, -0.5, 0.0]), np.zeros(4))
    x = vae.images(4000, seed=4)
    split = aggregate_information(moved.draw(x, 1, seed=5)[:, 0], *moved.encode(x))
    assert split.mutual_information == pytest.approx(vae.information, abs=0.08)
    assert split.marginal_kl == pytest.approx(0.625, abs=0.08)  # 4 |delta| / sqrt 4000 + bias


def test_blocks_order_and_axes_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    z, mean, logvar = (a.astype(np.float32) for a in _posteriors(np.random.default_rng(6), 50, 6))
    expected = aggregate_information(z, mean, logvar)
    order = np.random.default_rng(7).permutation(50)
    shuffled = aggregate_information(z[order], mean[order], logvar[order])
    spatial = aggregate_information(*(a.reshape(50, 1, 3, 2) for a in (z, mean, logvar)))
    wide = aggregate_information(*(a.astype(np.float64) for a in (z, mean, logvar)))
    monkeypatch.setattr(aggregate_posterior, "BLOCK_ENTRIES", 350)  # 7 rows of 50
    blocks = aggregate_information(z, mean, logvar)
    assert spatial == wide == expected
    for other in (shuffled, blocks):
        assert other.mutual_information == pytest.approx(expected.mutual_information, rel=1e-12)
        assert other.marginal_kl == pytest.approx(expected.marginal_kl, rel=1e-11)


# Moments.


def test_moment_kl_by_hand() -> None:
    # Means +-1 and variance 1/2: S = 1.5. (1.5 - 1 - ln 1.5)/2.
    one = aggregate_moment_kl([[1.0], [-1.0]], np.full((2, 1), math.log(0.5)))
    assert one.kl == pytest.approx((0.5 - math.log(1.5)) / 2, rel=1e-14)
    # Means (2, 1) +- (1, 1), unit variances: m = (2, 1), S = [[2, 1], [1, 2]] of determinant 3:
    # (4 + 5 - 2 - ln 3)/2, of it 5/2 for the shift, 1 - ln 2 for the variances and
    # -ln(3/4)/2 for the correlation 1/2.
    two = aggregate_moment_kl([[3.0, 2.0], [1.0, 0.0]], np.zeros((2, 2)))
    assert two.kl == pytest.approx((7 - math.log(3.0)) / 2, rel=1e-14)
    assert two.mean_shift == 2.5
    assert two.variances == pytest.approx(1 - math.log(2.0), rel=1e-14)
    assert two.correlations == pytest.approx(-math.log(0.75) / 2, rel=1e-13)


def test_matched_moments_are_zero_and_near_ones_keep_their_digits() -> None:
    # 2d means at +-sqrt(d (1 - s)) along each axis: covariance (1 - s) I, so S = I.
    d, s = 3, 0.25
    mean = np.vstack([np.eye(d), -np.eye(d)]) * math.sqrt(d * (1 - s))
    assert aggregate_moment_kl(mean, np.full((6, d), math.log(s))).kl < 1e-15
    # S = e^lv: (expm1 lv - lv)/2 = lv^2/4 (1 + lv/3 + ...).
    for lv in (1e-6, -3e-7, 1e-7):
        near = aggregate_moment_kl(np.full((4, 1), 7e-8), np.full((4, 1), lv))
        assert near.variances == pytest.approx(lv**2 / 4 * (1 + lv / 3), rel=1e-8, abs=0)
        assert near.mean_shift == pytest.approx(0.5 * 4.9e-15, rel=1e-12, abs=0)
    # Far from 1: (e^-690 - 1 + 690)/2 and (e^690 - 1 - 690)/2.
    assert aggregate_moment_kl([[0.0]], [[-690.0]]).kl == pytest.approx(344.5, rel=1e-14)
    assert aggregate_moment_kl([[0.0]], [[690.0]]).kl == pytest.approx(
        0.5 * math.exp(690), rel=1e-9
    )


def test_moments_of_the_linear_gaussian_vae() -> None:
    # q(z) = N(0, I): only the sampling of n images is left, at most d (d + 3)/4n on average.
    vae = small_image_vae()
    mean, logvar = vae.encode(vae.images(5000, seed=8))
    assert aggregate_moment_kl(mean, logvar).kl < 4 * (4 * 7 / 20_000)
    # An encoder twice as wide in dimension 0: S_00 = 1 + s with s its exact variance.
    wide = vae.mismatched(np.array([0.0, 0.3, 0, 0]), np.log([2.0, 1, 1, 1]))
    divergence = aggregate_moment_kl(*wide.encode(vae.images(200_000, seed=9)))
    s = vae.posterior_variances[0]
    assert divergence.mean_shift == pytest.approx(0.045, abs=4 * 0.3 / math.sqrt(200_000))
    assert divergence.variances == pytest.approx((s - math.log1p(s)) / 2, abs=2e-4)
    assert divergence.correlations < 2e-4


# Maximum mean discrepancy.


def _mmd_by_definition(x: Array, y: Array) -> float:
    def k(a: Array, b: Array) -> float:
        square, d = float(((a - b) ** 2).sum()), a.size
        return 2 * d / (2 * d + square)

    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs) / (n * (n - 1))
    return within - 2 * sum(k(a, b) for a in x for b in y) / n**2


@pytest.mark.parametrize("block_entries", [2**22, 28])
def test_mmd_agrees_with_the_definition(
    block_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate_posterior, "BLOCK_ENTRIES", block_entries)  # 4 rows of 7
    x = np.random.default_rng(10).normal(size=(7, 2, 3)) * 2 + 1
    prior = np.random.default_rng(123).standard_normal((7, 6))
    expected = _mmd_by_definition(x.reshape(7, 6), prior)
    assert aggregate_prior_mmd(x, 123) == pytest.approx(expected, rel=1e-12)
    assert aggregate_prior_mmd(x.reshape(7, 6), 123) == aggregate_prior_mmd(x, 123)


def test_mmd_of_prior_draws_is_zero_on_average() -> None:
    rng = np.random.default_rng(11)
    values = [aggregate_prior_mmd(rng.normal(size=(40, 3)), seed) for seed in range(300)]
    assert min(values) < 0 < max(values)
    assert np.mean(values) == pytest.approx(0.0, abs=4 * np.std(values) / math.sqrt(300))


def test_bad_inputs_are_named() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="latents and mean: expected one shape"):
        aggregate_information(x[:2], x, x)
    with pytest.raises(ValueError, match="mean and logvar: expected one shape"):
        aggregate_information(x, x, x[:, :1])
    for metric in (
        lambda lv: aggregate_information(x, x, lv),
        lambda lv: aggregate_moment_kl(x, lv),
    ):
        with pytest.raises(ValueError, match=r"logvar: .*\[-700, 700\].*encoder diverged"):
            metric(x + 701)
        with pytest.raises(ValueError, match=r"logvar: .*nan in row 0"):
            metric(x + np.nan)
    with pytest.raises(ValueError, match="covariance is singular; latent dimensions repeat"):
        aggregate_moment_kl([[1.0, 1.0], [-1.0, -1.0]], np.full((2, 2), -100.0))
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        aggregate_prior_mmd([[0.0]], 0)
    with pytest.raises(ValueError, match=r"latents: .*nan"):
        aggregate_prior_mmd(x + np.nan, 0)


def test_the_fixture_is_what_it_says() -> None:
    vae = small_image_vae()
    deviations = np.sqrt((vae.weights**2).sum(axis=1) + vae.sigma**2)
    # (.04 + .0225 + .01)/16 + .000625 a pixel.
    np.testing.assert_allclose(deviations, math.sqrt(0.00515625), rtol=1e-12)
    assert (6 * deviations < 0.5).all()
    # sigma^2 / (|w|^2 + sigma^2), where sigma is 1/8, 1/6 and 1/4 of the lengths.
    np.testing.assert_allclose(vae.posterior_variances, [1 / 65, 1 / 37, 1 / 17, 1], rtol=1e-12)
    # E over x of q(z|x) = N(0, I): A^T Cov(x) A + posterior covariance = I.
    covariance = vae.weights @ vae.weights.T + vae.sigma**2 * np.eye(16)
    aggregate = vae.encoder_weights.T @ covariance @ vae.encoder_weights
    np.testing.assert_allclose(
        aggregate + np.diag(np.exp(vae.logvar)), np.eye(4), rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(vae.posterior_divergence(vae.images(5, 0)), 0, rtol=0, atol=1e-14)
    with pytest.raises(AssertionError):
        LinearGaussianVae.with_exact_posterior(np.ones((2, 2)), np.zeros(2), 0.1)
