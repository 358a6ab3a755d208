"""One BLAS thread, and a linear-Gaussian VAE (probabilistic PCA) whose ELBO is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from threadpoolctl import threadpool_limits

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LinearGaussianVae:
    """z ~ N(0, I), x|z ~ N(W z + b, sigma^2 I), with orthogonal columns of W.

    Then W^T W is diagonal, and so is the exact posterior (Tipping and Bishop 1999, eq. 7):
    M = W^T W + sigma^2 I, mean M^-1 W^T (x - b), covariance sigma^2 M^-1. This encoder is that
    posterior, so that its ELBO equals log p(x) for every x.
    """

    weights: FloatArray
    bias: FloatArray
    sigma: float

    def encode(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Exact posterior means and log variances, (n, k) each."""
        m = (self.weights**2).sum(axis=0) + self.sigma**2
        mean = (x - self.bias) @ self.weights / m
        return mean, np.broadcast_to(np.log(self.sigma**2 / m), mean.shape)

    def decode(self, z: FloatArray) -> FloatArray:
        """Means of x, (n, D)."""
        return z @ self.weights.T + self.bias

    def decoder_spread(self, logvar: FloatArray) -> FloatArray:
        """E_q |W (z - mean)|^2 = sum_k |w_k|^2 exp(logvar_k), one value a sample."""
        return np.exp(logvar) @ (self.weights**2).sum(axis=0)

    def log_likelihood(self, x: FloatArray) -> FloatArray:
        """log N(x; b, W W^T + sigma^2 I), one value a sample."""
        covariance = self.weights @ self.weights.T + self.sigma**2 * np.eye(len(self.bias))
        return multivariate_normal(self.bias, covariance).logpdf(x)


@pytest.fixture(autouse=True, scope="module")
def _one_blas_thread() -> Iterator[None]:
    # As reductions run in the product; on a busy machine small products wait less, too.
    with threadpool_limits(1):
        yield


@pytest.fixture
def linear_gaussian_vae() -> LinearGaussianVae:
    rng = np.random.default_rng(7)
    columns = np.linalg.qr(rng.normal(size=(6, 2)))[0] * [2.0, 0.5]
    return LinearGaussianVae(columns, rng.normal(size=6), sigma=0.3)
