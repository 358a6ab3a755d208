from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vae_batch.metrics import MeanLoss, bits_per_dim, elbo, gaussian_kl, gaussian_nll

if TYPE_CHECKING:
    from tests.metrics.conftest import LinearGaussianVae


def test_elbo_by_hand() -> None:
    # -(100 + 10) and -(50 + 2); at beta 4: -(100 + 40) and -(50 + 8).
    np.testing.assert_array_equal(elbo([100.0, 50.0], [10.0, 2.0]), [-110.0, -52.0])
    np.testing.assert_array_equal(elbo([100.0, 50.0], [10.0, 2.0], beta=4.0), [-140.0, -58.0])
    np.testing.assert_array_equal(elbo([100.0], [10.0], beta=0.0), [-100.0])


def test_the_exact_posterior_makes_the_elbo_tight(linear_gaussian_vae: LinearGaussianVae) -> None:
    # With q the exact posterior, ELBO(x) = log p(x) for every x. The expected NLL under q is
    # the NLL at the posterior mean plus E_q |W (z - mean)|^2 / (2 sigma^2).
    vae = linear_gaussian_vae
    x = np.random.default_rng(0).normal(scale=2.0, size=(9, 6))
    mean, logvar = vae.encode(x)
    nll = gaussian_nll(vae.decode(mean), x, vae.sigma)
    nll = nll + vae.decoder_spread(logvar) / (2 * vae.sigma**2)
    bound = elbo(nll, gaussian_kl(mean, logvar))
    np.testing.assert_allclose(bound, vae.log_likelihood(x), rtol=1e-12)


def test_another_posterior_loosens_the_elbo_by_its_divergence(
    linear_gaussian_vae: LinearGaussianVae,
) -> None:
    # log p(x) - ELBO = KL(q || posterior); moving the mean of a Gaussian with variances v by
    # delta costs sum delta^2 / (2 v).
    vae = linear_gaussian_vae
    x = np.random.default_rng(1).normal(size=(5, 6))
    mean, logvar = vae.encode(x)
    delta = np.array([0.05, -0.2])
    moved = mean + delta
    nll = gaussian_nll(vae.decode(moved), x, vae.sigma)
    nll = nll + vae.decoder_spread(logvar) / (2 * vae.sigma**2)
    gap = vae.log_likelihood(x) - elbo(nll, gaussian_kl(moved, logvar))
    np.testing.assert_allclose(gap, (delta**2 / (2 * np.exp(logvar))).sum(axis=1), rtol=1e-9)


def test_one_dimensional_linear_gaussian_by_hand() -> None:
    # x|z ~ N(z, 1), z ~ N(0, 1), x = 2: the posterior is N(1, 1/2).
    # KL = (1/2 + 1 - 1 + ln 2)/2 = 0.5965735902799727.
    # E_q NLL = ln(2 pi)/2 + ((2 - 1)^2 + 1/2)/2 = 0.9189385332046727 + 0.75.
    # Their sum, 2.2655121234846454, is -log N(2; 0, 2) = ln(4 pi)/2 + 1.
    kl = gaussian_kl([[1.0]], [[-math.log(2.0)]])
    assert kl[0] == pytest.approx(0.5965735902799727, rel=1e-14)
    nll = gaussian_nll([[1.0]], [[2.0]], 1.0) + 0.25
    assert elbo(nll, kl)[0] == pytest.approx(-(0.5 * math.log(4 * math.pi) + 1.0), rel=1e-14)


def test_bits_per_dim_by_hand() -> None:
    # 784 ln 2 nats over 784 pixels are 1 bit each.
    assert bits_per_dim(784 * math.log(2.0), 784) == pytest.approx(1.0, rel=1e-15)
    # A uniform density on [0, 1] (NLL 0) gives each of 256 levels 1/256: 8 bits.
    assert bits_per_dim(0.0, 3072, bin_width=1 / 256) == 8.0
    # The same on [-1, 1]: density 1/2, NLL D ln 2, that is 1 bit + 7.
    assert bits_per_dim(10 * math.log(2.0), 10, bin_width=2 / 256) == pytest.approx(8.0)
    bits = bits_per_dim(np.array([0.0, 2 * math.log(2.0)], dtype=np.float32), 2)
    assert bits.dtype == np.float64
    np.testing.assert_allclose(bits, [0.0, 1.0], rtol=1e-7)


def test_mean_loss_by_hand() -> None:
    # 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14; standard error sqrt(14/3/4).
    loss = MeanLoss.from_values([1.0, 2.0, 3.0, 6.0])
    assert loss == MeanLoss(4, 3.0, 14.0)
    assert loss.standard_error == pytest.approx(math.sqrt(14 / 12), rel=1e-15)
    # {1, 2} and {3, 6}: means 1.5 and 4.5, scatters .5 and 4.5; 3^2 * 2*2/4 = 9; sum 14.
    halves = MeanLoss.from_values([1.0, 2.0]).merge(MeanLoss.from_values([3.0, 6.0]))
    assert halves == MeanLoss(4, 3.0, 14.0)
    assert MeanLoss.empty().merge(loss) is loss
    assert loss.merge(MeanLoss.empty()) is loss


def test_bad_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="reconstruction_nll and kl: expected one shape"):
        elbo([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match=r"shape \(n,\).*got \(1, 1\)"):
        elbo([[1.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"kl: .*nan in row 1"):
        elbo([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(ValueError, match=r"beta: .*got -1"):
        elbo([1.0], [1.0], beta=-1.0)
    with pytest.raises(ValueError, match="dimensions: expected at least 1, got 0"):
        bits_per_dim(1.0, 0)
    with pytest.raises(ValueError, match="bin_width: expected a positive finite number"):
        bits_per_dim(1.0, 1, bin_width=0.0)
    with pytest.raises(ValueError, match=r"values: .*inf in row 0"):
        MeanLoss.from_values([np.inf])
    with pytest.raises(ValueError, match=r"got \(0,\)"):
        MeanLoss.from_values([])
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        _ = MeanLoss.from_values([1.0]).standard_error
