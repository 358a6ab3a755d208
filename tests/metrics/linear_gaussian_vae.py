"""A linear-Gaussian VAE (probabilistic PCA) whose every likelihood is known exactly.

    z ~ N(0, I_d),  x|z ~ N(W z + b, sigma^2 I_D),  q(z|x) = N(x A + a, diag exp(logvar))

Tipping and Bishop 1999. The columns of W are orthogonal, so that the exact posterior has a
diagonal covariance and a VAE's encoder can be it: with m_k = |w_k|^2 + sigma^2 its mean is
(x - b) W / m and its variance sigma^2 / m. Then

    log p(x) = ELBO(x) = IWAE_K(x) for every K and every draw
    q(z) = E_x q(z|x) = N(0, I), so that the marginal KL is 0
    I(x; z) = E_x KL = rate = sum_k ln(m_k / sigma^2) / 2
    Var_x(mean_k) = |w_k|^2 / m_k

All parameters are plain float64 arrays, from which a network can be built:
`weights` (D, d), `bias` (D,), `encoder_weights` (D, d), `encoder_bias` (d,), `logvar` (d,).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.stats import multivariate_normal

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LinearGaussianVae:
    """Decoder N(z weights^T + bias, sigma^2); encoder N(x encoder_weights + encoder_bias, ...)."""

    weights: FloatArray
    bias: FloatArray
    sigma: float
    encoder_weights: FloatArray
    encoder_bias: FloatArray
    logvar: FloatArray

    @classmethod
    def with_exact_posterior(
        cls, weights: FloatArray, bias: FloatArray, sigma: float
    ) -> LinearGaussianVae:
        """The encoder is the posterior; the columns of `weights` must be orthogonal."""
        gram = weights.T @ weights
        np.testing.assert_allclose(gram, np.diag(gram.diagonal()), atol=1e-12)
        m = gram.diagonal() + sigma**2
        encoder = weights / m
        return cls(weights, bias, sigma, encoder, -bias @ encoder, np.log(sigma**2 / m))

    def mismatched(self, mean_shift: FloatArray, logvar_shift: FloatArray) -> LinearGaussianVae:
        """The same decoder under an encoder that is off by (d,) shifts."""
        return replace(
            self,
            encoder_bias=self.encoder_bias + mean_shift,
            logvar=self.logvar + logvar_shift,
        )

    @property
    def posterior_variances(self) -> FloatArray:
        """(d,) variances of the exact posterior."""
        return self.sigma**2 / ((self.weights**2).sum(axis=0) + self.sigma**2)

    @property
    def information(self) -> float:
        """Mutual information of x and z, nats: a Gaussian channel a dimension."""
        return float(-0.5 * np.log(self.posterior_variances).sum())

    def images(self, n: int, seed: int) -> FloatArray:
        """(n, D) draws of x from the model."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(n, self.weights.shape[1]))
        return self.decode(z) + self.sigma * rng.normal(size=(n, len(self.bias)))

    def encode(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and log variances of q, (n, d) each."""
        mean = x @ self.encoder_weights + self.encoder_bias
        return mean, np.tile(self.logvar, (len(x), 1))

    def draw(self, x: FloatArray, draws: int, seed: int) -> FloatArray:
        """(n, draws, d) latents from q(z|x)."""
        mean, logvar = self.encode(x)
        noise = np.random.default_rng(seed).normal(size=(len(x), draws, mean.shape[1]))
        return mean[:, None] + np.exp(0.5 * logvar)[:, None] * noise

    def decode(self, z: FloatArray) -> FloatArray:
        """Means of x for (..., d) latents, (..., D)."""
        return z @ self.weights.T + self.bias

    def nll_of_draws(self, x: FloatArray, latents: FloatArray) -> FloatArray:
        """-log p(x|z) of (n, K, d) latents, (n, K)."""
        squares = ((x[:, None] - self.decode(latents)) ** 2).sum(axis=2)
        constant = 0.5 * len(self.bias) * np.log(2 * np.pi * self.sigma**2)
        return constant + 0.5 * squares / self.sigma**2

    def decoder_spread(self, logvar: FloatArray) -> FloatArray:
        """E_q |W (z - mean)|^2 = sum_k |w_k|^2 exp(logvar_k), one value a sample."""
        return np.exp(logvar) @ (self.weights**2).sum(axis=0)

    def expected_nll(self, x: FloatArray) -> FloatArray:
        """E_q -log p(x|z): the NLL at the mean plus E_q |W (z - mean)|^2 / 2 sigma^2."""
        mean, logvar = self.encode(x)
        at_mean = self.nll_of_draws(x, mean[:, None])[:, 0]
        return at_mean + self.decoder_spread(logvar) / (2 * self.sigma**2)

    def posterior_divergence(self, x: FloatArray) -> FloatArray:
        """KL(q(z|x) || p(z|x)), one value a sample: the gap log p(x) - ELBO(x)."""
        mean, logvar = self.encode(x)
        exact = self.posterior_variances
        exact_mean = (x - self.bias) @ self.weights * (exact / self.sigma**2)
        ratio = np.exp(logvar) / exact
        return 0.5 * (ratio - 1 - np.log(ratio) + (mean - exact_mean) ** 2 / exact).sum(axis=1)

    def log_likelihood(self, x: FloatArray) -> FloatArray:
        """log N(x; b, W W^T + sigma^2 I), one value a sample."""
        covariance = self.weights @ self.weights.T + self.sigma**2 * np.eye(len(self.bias))
        return multivariate_normal(self.bias, covariance).logpdf(x)


def small_image_vae(
    side: int = 4, norms: tuple[float, ...] = (0.2, 0.15, 0.1, 0.0), sigma: float = 0.025
) -> LinearGaussianVae:
    """Grey images of side x side, a power of 2, around 0.5, within [0, 1] at six deviations.

    Column k of W is a pattern of +-norms[k] / side (of a Hadamard matrix), so that all pixels vary
    alike. A length of 0 is a dimension that the model ignores: its posterior is the prior.
    """
    patterns = hadamard(side**2)[:, 1 : len(norms) + 1] / side
    return LinearGaussianVae.with_exact_posterior(patterns * norms, np.full(side**2, 0.5), sigma)
