from __future__ import annotations

import math

import numpy as np
import pytest
from metrics.linear_gaussian_vae import LinearGaussianVae, small_image_vae
from scipy.stats import genpareto, norm

from vae_batch.metrics.likelihood import importance
from vae_batch.metrics.likelihood.elbo import elbo, gaussian_kl
from vae_batch.metrics.likelihood.importance import (
    PARETO_K_LIMIT,
    effective_sample_size,
    importance_weighted_bound,
    log_gaussian_posterior,
    log_standard_normal,
    pareto_k,
    pareto_k_limit,
)


def _log_weights(vae: LinearGaussianVae, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
    latents = vae.draw(x, draws, seed)
    mean, logvar = vae.encode(x)
    log_ratio = log_standard_normal(latents) - log_gaussian_posterior(latents, mean, logvar)
    return log_ratio - vae.nll_of_draws(x, latents)


def test_bound_and_effective_sample_size_by_hand() -> None:
    # Weights 1 and 3: mean 2; (1 + 3)^2 / (1 + 9) = 1.6. Weights e^-2000 (1, 3): the same, less
    # 2000 nats. Equal weights: their value, and all draws.
    log_weights = np.log([[1.0, 3.0], [1.0, 3.0], [7.0, 7.0]]) - [[0.0], [2000.0], [0.0]]
    bound = importance_weighted_bound(log_weights)
    np.testing.assert_allclose(bound, [math.log(2), math.log(2) - 2000, math.log(7)], rtol=1e-15)
    np.testing.assert_allclose(effective_sample_size(log_weights), [1.6, 1.6, 2.0], rtol=1e-12)
    # One draw is the ELBO of that draw; K draws of which one counts lose log K.
    np.testing.assert_array_equal(importance_weighted_bound([[-3.5]]), [-3.5])
    alone = [[0.0, -1e4, -1e4, -1e5]]
    assert importance_weighted_bound(alone)[0] == pytest.approx(-math.log(4), rel=1e-15)
    assert effective_sample_size(alone)[0] == 1.0


def test_equal_weights_are_exact() -> None:
    for value in (-1234.567, 0.1, 3e5):
        equal = np.full((2, 7), value)
        np.testing.assert_array_equal(importance_weighted_bound(equal), [value, value])
        np.testing.assert_array_equal(effective_sample_size(equal), [7.0, 7.0])


def test_log_densities_by_hand() -> None:
    # N(0, I) at (1, 2): -(1 + 4)/2 - ln 2 pi. N((1, 0), diag(4, 1)) there: the squared noise is
    # 0 + 4, the log variances ln 4: -(4 + ln 4)/2 - ln 2 pi.
    z, log_2pi = [[[1.0, 2.0]]], math.log(2 * math.pi)
    assert log_standard_normal(z)[0, 0] == pytest.approx(-2.5 - log_2pi, rel=1e-15)
    value = log_gaussian_posterior(z, [[1.0, 0.0]], [[math.log(4.0), 0.0]])
    assert value[0, 0] == pytest.approx(-2 - math.log(2.0) - log_2pi, rel=1e-15)


def test_all_latent_axes_are_summed() -> None:
    rng = np.random.default_rng(0)
    z, mean, logvar = rng.normal(size=(3, 5, 2, 2, 3)), *rng.normal(size=(2, 3, 2, 2, 3))
    expected = norm(mean[:, None], np.exp(0.5 * logvar)[:, None]).logpdf(z).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(log_gaussian_posterior(z, mean, logvar), expected, rtol=1e-12)
    np.testing.assert_allclose(
        log_standard_normal(z), norm.logpdf(z).sum(axis=(2, 3, 4)), rtol=1e-13
    )


# The linear-Gaussian VAE.


@pytest.mark.parametrize("draws", [1, 2, 50])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_exact_posterior_gives_log_p_for_every_k_and_seed(draws: int, seed: int) -> None:
    vae = small_image_vae()
    x = vae.images(9, seed=4) + 0.3  # off the model's own distribution, too
    log_weights = _log_weights(vae, x, draws, seed)
    exact = vae.log_likelihood(x)
    np.testing.assert_allclose(importance_weighted_bound(log_weights), exact, rtol=1e-11)
    np.testing.assert_allclose(effective_sample_size(log_weights), draws, rtol=1e-10)
    if draws >= 21:
        np.testing.assert_array_equal(pareto_k(log_weights), np.zeros(9))


def test_the_elbo_gap_is_the_divergence_from_the_posterior() -> None:
    vae = small_image_vae().mismatched(np.array([0.1, -0.2, 0.0, 0.3]), np.array([0.5, -1, 0, 0.2]))
    x = vae.images(20, seed=5)
    bound = elbo(vae.expected_nll(x), gaussian_kl(*vae.encode(x)))
    gap = vae.log_likelihood(x) - bound
    np.testing.assert_allclose(gap, vae.posterior_divergence(x), rtol=1e-9)
    # One draw's log weight is the ELBO on average: 4000 draws, 5 standard errors.
    log_weights = _log_weights(vae, x, 4000, seed=6)
    error = log_weights.std(axis=1, ddof=1) / math.sqrt(4000)
    assert (np.abs(log_weights.mean(axis=1) - bound) < 5 * error).all()


def _one_dimensional(ratio: float) -> LinearGaussianVae:
    """One pixel, one latent; the encoder's variance is `ratio` times the posterior's."""
    vae = LinearGaussianVae.with_exact_posterior(np.ones((1, 1)), np.zeros(1), 0.5)
    return vae.mismatched(np.zeros(1), np.log([ratio]))


def test_the_bound_is_low_by_the_weights_variance_over_2k() -> None:
    # Weights w/p(x) = posterior/q have mean 1 and, for q twice as wide as the posterior (in
    # variance), E (w/p)^2 = ratio / sqrt(2 ratio - 1) = 2/sqrt 3: variance .1547. The bound is
    # low by .1547/2K at leading order; the next term is of order 1/K^2.
    vae = _one_dimensional(ratio=2.0)
    x = np.zeros((40_000, 1))
    log_weights = _log_weights(vae, x, 16, seed=7) - vae.log_likelihood(x)[:, None]
    assert np.exp(log_weights).mean() == pytest.approx(1.0, abs=5 * math.sqrt(0.1547 / 640_000))
    variance = 2 / math.sqrt(3) - 1
    means = {}
    for k in (1, 4, 16):
        bounds = importance_weighted_bound(log_weights[:, :k])
        means[k] = bounds.mean()
        standard_error = bounds.std() / math.sqrt(len(x))
        if k > 1:
            expected = -variance / (2 * k)
            assert means[k] == pytest.approx(expected, abs=4 * standard_error + 0.25 / k**2)
    assert means[1] < means[4] < means[16] < 0
    # ESS / K tends to 1 / E (w/p)^2 = sqrt(3)/2.
    share = effective_sample_size(log_weights.reshape(4, -1)) / 160_000
    np.testing.assert_allclose(share, math.sqrt(3) / 2, rtol=0.01)


def test_a_narrow_encoder_is_flagged_and_a_wide_one_is_not() -> None:
    # With the encoder's variance r times the posterior's, log w = const + (1 - r) e^2 / 2 for the
    # noise e, so that P(w > t) falls as t^(-1/(1-r)) up to logarithms: shape 1 - r. For r > 1 the
    # weights are bounded.
    x = np.zeros((30, 1))
    shapes = {r: pareto_k(_log_weights(_one_dimensional(r), x, 4000, 8)) for r in (0.02, 0.5, 1.5)}
    assert np.median(shapes[0.02]) == pytest.approx(0.98, abs=0.15)
    assert np.median(shapes[0.5]) == pytest.approx(0.5, abs=0.15)
    assert (shapes[0.02] > PARETO_K_LIMIT).mean() > 0.8
    assert (shapes[0.5] < PARETO_K_LIMIT).mean() > 0.9
    assert (shapes[1.5] < 0.2).all()


# Pareto shapes.


@pytest.mark.parametrize("shape", [0.1, 0.3, 0.5, 0.7, 0.9, 1.2])
@pytest.mark.parametrize("draws", [64, 500, 5000])
def test_exact_pareto_weights_give_back_their_shape(shape: float, draws: int) -> None:
    # w = u^-k is Pareto of shape k, and its excess over any cutoff is exactly generalised Pareto
    # of the same shape. At the quantiles u = (i - 1/2)/K a fit gives k but for the prior's 10
    # pseudo-draws of 1/2 among M = min(K/5, 3 sqrt K) tail draws: (M k + 5) / (M + 10). The
    # quantiles cut the tail beyond the last of them: a bias of order 1/M, here within a fifth of
    # the standard error (1 + k)/sqrt M of a fit to random weights.
    log_weights = -shape * np.log((np.arange(draws) + 0.5) / draws)[None]
    tail = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    expected = (tail * shape + 5) / (tail + 10)
    tolerance = 0.2 * (1 + shape) / math.sqrt(tail)
    assert pareto_k(log_weights)[0] == pytest.approx(expected, abs=tolerance)


def test_random_pareto_weights_scatter_by_the_standard_error() -> None:
    # sd about (1 + k)/sqrt M, shrunk with the mean: M = 213 of K = 5000, k = .7: .111 a fit, and
    # .0111 for the mean of 100.
    log_weights = 0.7 * np.random.default_rng(9).exponential(size=(100, 5000))
    shapes = pareto_k(log_weights)
    assert shapes.mean() == pytest.approx((213 * 0.7 + 5) / 223, abs=4 * 0.0111)
    assert shapes.std() == pytest.approx(0.111, rel=0.3)
    # Maximum likelihood, an independent fit, scatters alike around the same shape.
    row = np.sort(np.exp(log_weights[0]))[-214:]
    fitted = (213 * genpareto.fit(row[1:] - row[0], floc=0.0)[0] + 5) / 223
    assert shapes[0] == pytest.approx(fitted, abs=0.05)


def test_shapes_agree_with_arviz() -> None:
    # Golden values of arviz 0.21.0: [az.psislw(row)[1] for row in rows(K)].
    def rows(k: int) -> np.ndarray:
        t = (np.arange(k) * 0.6180339887498949) % 1.0  # a fixed, well spread sequence
        return np.stack([3 * norm.ppf(0.999 * t + 5e-4), -2 * np.log(1 - t), np.sin(40 * t), t**9])

    few = [0.8523264152920964, 1.1652472391357853, -0.704392229749078, 0.24089745942103055]
    many = [1.0068728516744334, 1.8147473399773133, -1.6114522705894596, -0.4723207946400788]
    np.testing.assert_allclose(pareto_k(rows(64)), few, rtol=1e-9)
    np.testing.assert_allclose(pareto_k(rows(1000)), many, rtol=1e-9)


def test_shape_does_not_depend_on_shift_order_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    log_weights = 2 * rng.normal(size=(12, 100))
    expected = pareto_k(log_weights)
    np.testing.assert_allclose(pareto_k(log_weights - 5e3), expected, rtol=1e-8)
    np.testing.assert_array_equal(pareto_k(log_weights[:, ::-1]), expected)
    monkeypatch.setattr(importance, "BLOCK_ENTRIES", 3000)  # 20 weights x 34 points: 4 rows
    np.testing.assert_allclose(pareto_k(log_weights), expected, rtol=1e-13)


def test_weights_over_thousands_of_nats_are_flagged() -> None:
    # The largest weight is beyond all others by more than float64's range: nothing but a flag.
    wild = 1e4 * np.random.default_rng(11).normal(size=(5, 64))
    shapes = pareto_k(wild)
    assert np.isfinite(shapes).all()
    assert (shapes > PARETO_K_LIMIT).all()
    np.testing.assert_allclose(effective_sample_size(wild), 1.0)


def test_a_grid_point_at_the_exponential_limit_is_finite() -> None:
    # b = 1 + (1 - sqrt(m / (j + 1/2))) / 3q is exactly 0 for one j where the quartile q says so:
    # there the likelihood is that of an exponential, whose limit 1/mean stands for 0/0.
    tail, points = 13, 33
    steps = 1 - np.sqrt(points / (np.arange(points) + 0.5))
    quartile = next(q for q in -steps / 3 if 0.2 < q < 0.6 and (1 + steps / (3 * q) == 0).any())
    excess = np.linspace(0.9 * quartile, 1.0, tail)
    excess[:3] = quartile * np.array([0.3, 0.7, 1.0])
    near = excess * np.where(np.arange(tail) == 2, 1 + 1e-9, 1.0)
    shape = importance._generalised_pareto_shape(excess[None])[0]
    assert shape == pytest.approx(importance._generalised_pareto_shape(near[None])[0], abs=1e-6)


def test_bad_inputs_are_named() -> None:
    z = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match=r"log_weights: expected \(n, K\).*got shape \(3,\)"):
        importance_weighted_bound(np.zeros(3))
    with pytest.raises(ValueError, match=r"log_weights: .*got shape \(3, 0\)"):
        effective_sample_size(np.zeros((3, 0)))
    with pytest.raises(ValueError, match=r"log_weights: .*-inf in row 1"):
        importance_weighted_bound([[0.0], [-np.inf]])
    with pytest.raises(ValueError, match="at least 21 draws an image, got 20"):
        pareto_k(np.zeros((2, 20)))
    with pytest.raises(ValueError, match=r"latents: expected \(n, K, \*shape\).*\(2, 3\)"):
        log_standard_normal(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"latents: .*nan in row 0"):
        log_standard_normal(z + np.nan)
    with pytest.raises(ValueError, match=r"\(n, \*shape\), got \(2, 3, 4\) and \(2, 3\)"):
        log_gaussian_posterior(z, np.zeros((2, 3)), np.zeros((2, 3)))
    for bad in (701.0, -701.0):
        with pytest.raises(ValueError, match=r"logvar: .*\[-700, 700\].*encoder diverged"):
            log_gaussian_posterior(z, np.zeros((2, 4)), np.full((2, 4), bad))


def test_the_limit_of_the_shape_grows_with_the_draws() -> None:
    # 1 - 1/log10 K: of 100 draws 1/2, of 1000 2/3, then .7 for ever.
    assert [pareto_k_limit(k) for k in (100, 1000)] == pytest.approx([1 / 2, 2 / 3], rel=1e-15)
    assert pareto_k_limit(64) == pytest.approx(0.4463, abs=1e-4)
    assert pareto_k_limit(2154) < pareto_k_limit(2155) == pareto_k_limit(10**6) == PARETO_K_LIMIT
    with pytest.raises(ValueError, match="at least 21, got 20"):
        pareto_k_limit(20)
