from __future__ import annotations

import math

import numpy as np
import pytest
from metrics.linear_gaussian_vae import small_image_vae

from vae_batch.metrics.likelihood.elbo import gaussian_kl
from vae_batch.metrics.likelihood.posterior import latent_usage


def test_usage_by_hand() -> None:
    # Means 0, 1, 2 vary by 1 (ddof 1), means 0, .08, .16 by .0064, means 5, 5, 5 by exactly 0. At
    # unit variance a dimension's KL is mean^2 / 2: (0 + .5 + 2)/3, (0 + .0032 + .0128)/3, 12.5;
    # below .01 lie 1/3, 2/3 and none of the images.
    mean = np.array([[0, 0, 5], [1, 0.08, 5], [2, 0.16, 5]])
    usage = latent_usage(mean, np.zeros((3, 3)))
    np.testing.assert_allclose(usage.kl, [2.5 / 3, 0.016 / 3, 12.5], rtol=1e-14)
    np.testing.assert_allclose(usage.mean_variances, [1, 0.0064, 0], rtol=1e-14)
    np.testing.assert_allclose(usage.low_kl_shares, [1 / 3, 2 / 3, 0], rtol=1e-14)
    assert usage.mean_variances[2] == 0.0
    assert usage.rate == pytest.approx(2.516 / 3 + 12.5, rel=1e-14)
    assert usage.active_units == 1
    assert usage.collapsed_dimensions == 0
    assert not usage.is_collapsed


@pytest.mark.parametrize(("unused", "collapsed"), [(99, True), (98, False)])
def test_a_dimension_collapses_at_99_of_100_images(unused: int, collapsed: bool) -> None:
    # KL = m^2/2: .0098 at m = .14 is below .01, .5 at m = 1 is not.
    mean = np.where(np.arange(100) < unused, 0.14, 1.0)[:, None]
    usage = latent_usage(mean, 0 * mean)
    assert (usage.collapsed_dimensions == 1) is collapsed


def test_a_model_collapses_by_rate_or_by_idle_means() -> None:
    # Two dimensions of KL .045 each, with active means (+-.3): rate .09 < .1.
    mean = 0.3 * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
    usage = latent_usage(mean, np.zeros((4, 2)))
    assert usage.rate == pytest.approx(0.09, rel=1e-14)
    assert usage.active_units == 2
    assert usage.is_collapsed
    # A large rate that says nothing about x: a constant posterior away from the prior.
    constant = latent_usage(np.full((4, 2), 3.0), np.zeros((4, 2)))
    assert constant.rate == 9.0
    assert constant.active_units == 0
    assert constant.is_collapsed
    assert not latent_usage(2 * mean, np.zeros((4, 2))).is_collapsed  # rate .36


def test_usage_of_the_linear_gaussian_vae() -> None:
    # Var(mean_k) = |w_k|^2 / m_k = 1 - posterior variance; the column of length 0 has posterior =
    # prior, exactly. E KL_k = ln(1 / posterior variance) / 2, since E mean^2 + variance = 1.
    vae = small_image_vae()
    mean, logvar = vae.encode(vae.images(20_000, seed=1))
    usage = latent_usage(mean, logvar)
    variances = 1 - vae.posterior_variances
    error = math.sqrt(2 / 20_000)  # relative, of a Gaussian variance
    np.testing.assert_allclose(usage.mean_variances, variances, rtol=5 * error)
    np.testing.assert_allclose(
        usage.kl, -0.5 * np.log(vae.posterior_variances), atol=5 * 0.5 * error
    )
    assert usage.active_units == 3
    assert usage.collapsed_dimensions == 1
    assert usage.kl[3] == 0.0
    assert usage.low_kl_shares[3] == 1.0
    assert usage.rate == pytest.approx(gaussian_kl(mean, logvar).mean(), rel=1e-13)


def test_spatial_latents_are_flattened() -> None:
    rng = np.random.default_rng(2)
    mean, logvar = rng.normal(size=(2, 7, 2, 3, 4))
    usage = latent_usage(mean.astype(np.float32), logvar.astype(np.float32))
    flat = latent_usage(
        mean.astype(np.float32).reshape(7, 24).astype(np.float64),
        logvar.astype(np.float32).reshape(7, 24).astype(np.float64),
    )
    assert usage.kl.shape == (24,)
    for name in ("kl", "mean_variances", "low_kl_shares"):
        np.testing.assert_array_equal(getattr(usage, name), getattr(flat, name))


def test_bad_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        latent_usage([[0.0]], [[0.0]])
    with pytest.raises(ValueError, match="mean and logvar: expected one shape"):
        latent_usage([[0.0]], [0.0])
    with pytest.raises(ValueError, match=r"logvar: .*nan in row 1, latent dimension 0"):
        latent_usage([[0.0], [0.0]], [[0.0], [np.nan]])
