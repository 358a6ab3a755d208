from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics import FrechetReference, Moments, frechet_distance
from vae_batch.metrics.samples.frechet_uncertainty import frechet_influence

Array = NDArray[np.float64]

STANDARD = Moments.from_covariance(10**6, [0.0], [[1.0]])
"""N(0, 1): from it the distance of N(m, s^2) is m^2 + (s - 1)^2."""


def _sets(n: int, m: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 0.3, rng.gamma(2.0, size=(m, d))


def test_influence_in_one_dimension_by_hand() -> None:
    # {1, 3, 8}: mean 4, variance 13, so A = 1/sqrt 13, and the shift from 0 is 4. Deviations
    # -3, -1, 4 have squares 9, 1, 16 with mean 26/3:
    # psi = 2 * 4 * deviation + (1 - 1/sqrt 13) (square - 26/3).
    deviation = np.array([-3.0, -1.0, 4.0])
    expected = 8 * deviation + (1 - 1 / math.sqrt(13)) * (deviation**2 - 26 / 3)
    found = frechet_influence([[1.0], [3.0], [8.0]], STANDARD)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(40, 60, 3), (200, 30, 12), (90, 120, 80)])
def test_influence_is_the_derivative_in_a_samples_weight(shape: tuple[int, int, int]) -> None:
    generated, reference = _sets(*shape)
    source = Moments.from_activations(generated)
    prepared = FrechetReference.from_activations(reference)

    def contaminated(i: int, weight: float) -> float:
        # (1 - w) N + w delta_x: the mean moves by w (x - m), the covariance by its share.
        x = generated[i] - source.mean
        covariance = (1 - weight) * (source.covariance + weight * np.outer(x, x))
        moved = Moments.from_covariance(10**6, source.mean + weight * x, covariance)
        return frechet_distance(moved, prepared)

    step = 1e-5
    slopes = [(contaminated(i, step) - contaminated(i, -step)) / (2 * step) for i in range(12)]
    influence = frechet_influence(generated, prepared)
    assert influence.mean() == pytest.approx(0.0, abs=1e-10 * np.abs(influence).max())
    # The mean of all derivatives is the same constant for each.
    np.testing.assert_allclose(
        influence[:12] - influence[0], np.array(slopes) - slopes[0], rtol=1e-4, atol=1e-4
    )


def test_influence_follows_its_sample_and_the_symmetries_of_the_distance() -> None:
    generated, reference = _sets(50, 40, 6)
    influence = frechet_influence(generated, reference)
    order = np.random.default_rng(1).permutation(50)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0]
    for other, expected in (
        (frechet_influence(generated[order], reference), influence[order]),
        (frechet_influence(generated @ turn + 7, reference @ turn + 7), influence),
        (frechet_influence(3 * generated, 3 * reference), 9 * influence),
        (frechet_influence(generated, Moments.from_activations(reference)), influence),
    ):
        np.testing.assert_allclose(other, expected, rtol=1e-9, atol=1e-9)


def test_a_dead_dimension_changes_nothing() -> None:
    # The generated set does not vary there, the reference does, independently of the others.
    generated, reference = _sets(30, 40, 3)
    dead = np.column_stack([generated, np.full(30, 2.0)])
    block = np.zeros((4, 4))
    block[:3, :3], block[3, 3] = np.cov(reference, rowvar=False), 5.0
    padded = Moments.from_covariance(40, [*reference.mean(axis=0), 1.0], block)
    np.testing.assert_allclose(
        frechet_influence(dead, padded), frechet_influence(generated, reference), rtol=1e-7
    )


def test_a_collapsed_set_has_no_influence() -> None:
    _, reference = _sets(2, 40, 3)
    np.testing.assert_array_equal(frechet_influence(np.ones((5, 3)), reference), np.zeros(5))


def test_fewer_samples_than_dimensions_are_handled() -> None:
    generated, reference = _sets(20, 30, 50)
    influence = frechet_influence(generated, reference)
    assert np.isfinite(influence).all()
    assert influence.mean() == pytest.approx(0.0, abs=1e-9 * np.abs(influence).max())


def test_bad_input_is_named() -> None:
    generated, reference = _sets(30, 40, 3)
    broken = generated.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"generated: .*nan in row 3"):
        frechet_influence(broken, reference)
    with pytest.raises(ValueError, match="expected one dimension, got 2 and 3"):
        frechet_influence(generated[:, :2], reference)
    with pytest.raises(ValueError, match="generated: expected at least 2 samples, got 1"):
        frechet_influence(generated[:1], reference)


def test_a_reference_of_equal_rows() -> None:
    # S_r = 0: the distance is |m_g - m_r|^2 + tr S_g, whose influence is 2 (m_g - m_r).(x - m_g)
    # + |x - m_g|^2 - tr S_g, up to the mean.
    x = np.random.default_rng(4).normal(size=(60, 5))
    reference = np.full((40, 5), 0.5)
    centred = x - x.mean(axis=0)
    expected = 2 * centred @ (x.mean(axis=0) - 0.5) + (centred**2).sum(axis=1)
    found = frechet_influence(x, reference)
    np.testing.assert_allclose(found, expected - expected.mean(), atol=1e-12)
    np.testing.assert_array_equal(frechet_influence(reference, reference), np.zeros(40))
