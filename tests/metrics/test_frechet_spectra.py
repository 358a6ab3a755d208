"""Covariances of any rank and decay whose Fréchet distance is known.

For commuting covariances it is |m_g - m_r|^2 + sum_i (sqrt a_i - sqrt b_i)^2 over the axes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics import FrechetReference, Moments, frechet_distance

FloatArray = NDArray[np.float64]


def _rotation(d: int, seed: int = 0) -> FloatArray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def _commuting(basis: FloatArray, variances: FloatArray, mean: float = 0.0) -> Moments:
    factor = basis * np.sqrt(variances)
    return Moments.from_covariance(10**6, np.full(len(basis), mean), factor @ factor.T)


def _samples_with(basis: FloatArray, variances: FloatArray, seed: int) -> FloatArray:
    """r + 1 rows of mean zero whose covariance is basis diag(variances) basis^T, by r axes."""
    rank = len(variances)
    centred = np.random.default_rng(seed).normal(size=(rank + 1, rank))
    scores = np.linalg.qr(centred - centred.mean(axis=0))[0]
    return (scores * np.sqrt(variances * rank)) @ basis.T


# Spectra that break the usual forms, at sizes on both sides of the switch from singular
# values to eigenvalues.


def _decaying(d: int) -> FloatArray:
    return np.geomspace(1.0, 1e-14, d)


def _some(d: int) -> FloatArray:
    return np.random.default_rng(d).uniform(0.5, 2.0, d)


def _between(d: int, low: float, high: float) -> FloatArray:
    axes = np.arange(d)
    return np.where((axes >= low * d) & (axes < high * d), _some(d), 0.0)


SPECTRA: dict[str, tuple[Callable[[int], FloatArray], Callable[[int], FloatArray]]] = {
    "full rank": (_some, lambda d: _some(d)[::-1]),
    "near singular, same axes": (_decaying, lambda d: 3.0 * _decaying(d)),
    "near singular, opposed": (_decaying, lambda d: _decaying(d)[::-1]),
    "near singular generated": (_decaying, _some),
    "near singular reference": (_some, _decaying),
    "both low rank, overlap a quarter": (
        lambda d: _between(d, 0, 0.5),
        lambda d: _between(d, 0.25, 0.75),
    ),
    "both low rank, disjoint": (lambda d: _between(d, 0, 0.5), lambda d: _between(d, 0.5, 1)),
    "low-rank generated": (lambda d: _between(d, 0, 0.5), _some),
    "low-rank reference": (_some, lambda d: _between(d, 0, 0.5)),
    "one dead axis generated": (lambda d: _between(d, 1 / d, 1), _some),
    "one dead axis reference": (_some, lambda d: _between(d, 1 / d, 1)),
    "rank-1 generated": (lambda d: _between(d, 0, 1 / d), _some),
    "rank-1 reference": (_some, lambda d: _between(d, 0, 1 / d)),
    "low rank and decaying": (lambda d: _decaying(d) * (_between(d, 0, 0.5) > 0), _some),
}


@pytest.mark.parametrize("d", [4, 50, 150])
@pytest.mark.parametrize("name", SPECTRA)
def test_commuting_covariances_of_any_rank(name: str, d: int) -> None:
    # One dead axis alone shows no noise of the other sign and costs up to 1e-8; the usual
    # matrix root is off by 1e-6 or complex on several of these.
    a, b = (make(d) for make in SPECTRA[name])
    basis = _rotation(d, seed=d)
    generated, reference = _commuting(basis, a, mean=0.5), _commuting(basis, b)
    expected = 0.25 * d + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    distance = frechet_distance(generated, FrechetReference.from_moments(reference))
    assert distance == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("d", "rank_g", "rank_r", "overlap"),
    [(7, 3, 2, 1), (120, 40, 30, 20), (300, 100, 90, 50), (300, 299, 100, 100), (300, 200, 80, 0)],
)
def test_fewer_samples_than_dimensions(d: int, rank_g: int, rank_r: int, overlap: int) -> None:
    # r + 1 centred samples span r axes; only the shared ones enter the root's trace.
    basis = _rotation(d)
    first_r = rank_g - overlap
    a = np.random.default_rng(1).uniform(0.5, 2.0, rank_g)
    b = np.random.default_rng(2).uniform(0.5, 2.0, rank_r)
    generated = 1.0 + _samples_with(basis[:, :rank_g], a, seed=3)
    reference = _samples_with(basis[:, first_r : first_r + rank_r], b, seed=4)
    expected = d + a.sum() + b.sum() - 2 * np.sqrt(a[first_r:] * b[:overlap]).sum()
    moments_g, moments_r = Moments.from_activations(generated), Moments.from_activations(reference)
    for pair in (
        (generated, reference),
        (reference, generated),
        (generated, FrechetReference.from_activations(reference)),
        (moments_g, reference),
        (generated, moments_r),
        (moments_g, FrechetReference.from_moments(moments_r)),
    ):
        assert frechet_distance(*pair) == pytest.approx(expected, rel=1e-9)


def test_few_samples_against_a_full_rank_reference() -> None:
    # Against S_r = I the root's trace is the sum of the standard deviations.
    d, rank = 200, 100
    a = np.random.default_rng(5).uniform(0.5, 2.0, rank)
    generated = _samples_with(_rotation(d)[:, :rank], a, seed=6)
    reference = FrechetReference.from_moments(_commuting(np.eye(d), np.ones(d)))
    expected = ((np.sqrt(a) - 1) ** 2).sum() + (d - rank)
    assert frechet_distance(generated, reference) == pytest.approx(expected, rel=1e-12)


def test_a_cholesky_factor_is_used_only_where_definite() -> None:
    basis = _rotation(80)
    definite = FrechetReference.from_moments(_commuting(basis, _some(80)))
    singular = FrechetReference.from_moments(_commuting(basis, _between(80, 0, 0.5)))
    assert definite.triangular
    np.testing.assert_array_equal(definite.factor, np.tril(definite.factor))
    assert not singular.triangular
    assert singular.factor.shape == (80, 40)
    for prepared in (definite, singular):
        scatter = prepared.factor @ prepared.factor.T
        np.testing.assert_allclose(scatter, prepared.source.scatter, rtol=0, atol=1e-8)
