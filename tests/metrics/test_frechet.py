from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from vae_batch.metrics import FrechetReference, Moments, frechet_distance

FloatArray = NDArray[np.float64]


def _gaussian(mean: list[float], covariance: list[list[float]]) -> Moments:
    return Moments.from_covariance(1000, mean, covariance)


# Closed forms. For commuting covariances the distance is
# |m_g - m_r|^2 + sum_i (sqrt a_i - sqrt b_i)^2 over the shared axes.


def test_one_dimension() -> None:
    # N(3, 4) and N(0, 1): 9 + (2 - 1)^2 = 10.
    generated = _gaussian([3.0], [[4.0]])
    reference = _gaussian([0.0], [[1.0]])
    assert frechet_distance(generated, reference) == pytest.approx(10.0, rel=1e-14)
    # From samples: {2, 4} has mean 3, variance 2; {-2, 0, 2} has mean 0, variance 4:
    # 9 + (sqrt 2 - 2)^2 = 15 - 4 sqrt 2.
    distance = frechet_distance([[2.0], [4.0]], [[-2.0], [0.0], [2.0]])
    assert distance == pytest.approx(15 - 4 * np.sqrt(2), rel=1e-14)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 2.0])
def test_diagonal_covariances_and_their_rotation(angle: float) -> None:
    # Shift (1, 2): 5. diag(1, 4) and diag(9, 16): (1 - 3)^2 + (2 - 4)^2 = 8. Sum 13.
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    generated = _gaussian(turn @ [1.0, 2.0], turn @ np.diag([1.0, 4.0]) @ turn.T)
    reference = _gaussian([0.0, 0.0], turn @ np.diag([9.0, 16.0]) @ turn.T)
    assert frechet_distance(generated, reference) == pytest.approx(13.0, rel=1e-13)


def test_rank_one_against_rank_one() -> None:
    # v = (3, 4), e = (1, 0): tr 25 + 1, trace of the root |v . e| = 3, so 26 - 6 = 20.
    generated = _gaussian([0.0, 0.0], [[9.0, 12.0], [12.0, 16.0]])
    reference = _gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
    assert frechet_distance(generated, reference) == pytest.approx(20.0, rel=1e-13)
    assert frechet_distance(reference, generated) == pytest.approx(20.0, rel=1e-13)


def test_rank_one_against_full_rank() -> None:
    # S_g = v v^T with v = (3, 4), S_r = diag(4, 9): the root's trace is sqrt(v^T S_r v)
    # = sqrt(36 + 144) = 6 sqrt 5; 25 + 13 - 12 sqrt 5 = 11.167184270002524.
    generated = _gaussian([0.0, 0.0], [[9.0, 12.0], [12.0, 16.0]])
    reference = _gaussian([0.0, 0.0], [[4.0, 0.0], [0.0, 9.0]])
    expected = 38 - 12 * np.sqrt(5)
    assert frechet_distance(generated, reference) == pytest.approx(expected, rel=1e-13)
    assert frechet_distance(reference, generated) == pytest.approx(expected, rel=1e-13)


def test_covariances_that_do_not_commute() -> None:
    # In two dimensions tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det A det B)), since the roots s, t
    # of the eigenvalues obey (s + t)^2 = s^2 + t^2 + 2 s t. A = [[2,1],[1,2]], B = diag(1, 3):
    # tr AB = 8, det AB = 9, so sqrt(8 + 6) and 4 + 4 - 2 sqrt 14 = .5166852264521173.
    generated = _gaussian([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]])
    reference = _gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 3.0]])
    expected = 8 - 2 * np.sqrt(14)
    assert frechet_distance(generated, reference) == pytest.approx(expected, rel=1e-13)


def test_two_samples_in_three_dimensions_by_hand() -> None:
    # {+-v} has covariance 2 v v^T (ddof 1). v = (1,0,0), w = (1,1,0): traces 2 and 4, the
    # root's trace 2 |v . w| = 2: distance 2 + 4 - 4 = 2. Shifting one by (0,0,5) adds 25.
    v, w, shift = np.array([1.0, 0, 0]), np.array([1.0, 1, 0]), np.array([0, 0, 5.0])
    generated, reference = np.array([v, -v]) + shift, np.array([w, -w])
    assert frechet_distance(generated, reference) == pytest.approx(27.0, rel=1e-14)


def test_a_collapsed_decoder() -> None:
    # Equal rows have no covariance: the distance is |shift|^2 + tr S_r, exactly computed.
    # S_r of {+-(2,0), +-(0,1)}: diag(8/3, 2/3), trace 10/3; shift (3, 4): 25.
    reference = np.array([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]])
    collapsed = np.tile([3.0, 4.0], (10, 1))
    assert frechet_distance(collapsed, reference) == pytest.approx(25 + 10 / 3, rel=1e-14)
    assert frechet_distance(reference, collapsed) == pytest.approx(25 + 10 / 3, rel=1e-14)
    assert frechet_distance(collapsed, collapsed + 1.0) == pytest.approx(2.0, rel=1e-14)


def test_collapsed_decoder_in_many_dimensions() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(300, 90))
    few = reference[:70]
    collapsed = np.tile(rng.normal(size=90), (200, 1))
    for other in (reference, few):
        shift = collapsed[0] - other.mean(axis=0)
        expected = shift @ shift + np.trace(np.cov(other, rowvar=False))
        assert frechet_distance(collapsed, other) == pytest.approx(expected, rel=1e-12)
        assert frechet_distance(other, collapsed) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [3, 30, 100])
def test_agrees_with_a_matrix_root_at_full_rank(d: int) -> None:
    rng = np.random.default_rng(d)
    mixing = rng.normal(size=(d, d))
    generated = rng.normal(size=(6 * d, d)) @ mixing + rng.normal(size=d)
    reference = rng.gamma(2.0, size=(5 * d, d))
    S, R = np.cov(generated, rowvar=False), np.cov(reference, rowvar=False)
    shift = generated.mean(axis=0) - reference.mean(axis=0)
    root = scipy.linalg.sqrtm(S @ R)
    expected = shift @ shift + np.trace(S) + np.trace(R) - 2 * np.trace(root).real
    assert frechet_distance(generated, reference) == pytest.approx(expected, rel=1e-9)


# Exactly zero, never negative, never complex.


@pytest.mark.parametrize("shape", [(40, 7), (5, 7), (2, 1), (90, 300), (300, 90)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_identical_sets_are_exactly_zero(shape: tuple[int, int], dtype: type) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    moments = Moments.from_activations(x)
    for generated in (x, x.copy(), moments):
        for reference in (
            x,
            moments,
            FrechetReference.from_activations(x),
            FrechetReference.from_moments(moments),
        ):
            assert frechet_distance(generated, reference) == 0.0


@pytest.mark.parametrize("shape", [(40, 7), (5, 7), (90, 200), (200, 90)])
def test_the_same_rows_in_another_order_are_zero_up_to_rounding(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=shape) + 10.0
    distance = frechet_distance(x[::-1], x)
    assert 0.0 <= distance < 1e-12 * shape[1]


def test_a_small_shift_of_the_mean_survives_the_rounding_of_the_traces() -> None:
    # The traces sum to 2e4, so that their rounding is 4e-12; the shift adds 100 * 1e-16.
    covariance = np.eye(100) * 100.0
    generated = Moments.from_covariance(1000, np.full(100, 1e-8), covariance)
    reference = Moments.from_covariance(1000, np.zeros(100), covariance)
    distance = frechet_distance(generated, reference)
    assert distance >= 1e-14
    assert distance == pytest.approx(1e-14, abs=1e-10)


def test_no_warning_on_singular_covariances() -> None:
    x = np.random.default_rng(2).normal(size=(50, 512))
    y = np.random.default_rng(3).normal(size=(50, 512))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distance = frechet_distance(Moments.from_activations(x), Moments.from_activations(y))
    assert isinstance(distance, float)
    assert distance == pytest.approx(frechet_distance(x, y), rel=1e-10)


def test_float32_activations_lose_nothing_more() -> None:
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(30, 6)) + 100.0).astype(np.float32)
    y = (rng.normal(size=(40, 6)) + 100.0).astype(np.float32)
    assert frechet_distance(x, y) == frechet_distance(x.astype(float), y.astype(float))


def test_a_prepared_reference_gives_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    for shape in ((300, 100), (90, 120)):
        generated, reference = rng.normal(size=shape), rng.normal(size=shape) + 1
        prepared = FrechetReference.from_activations(reference)
        assert frechet_distance(generated, prepared) == frechet_distance(generated, reference)


# Bad input.


def test_bad_inputs_are_named() -> None:
    x = np.random.default_rng(6).normal(size=(5, 3))
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"generated activations: .*nan in row 3, entry \(1,\)"):
        frechet_distance(broken, x)
    with pytest.raises(ValueError, match=r"reference activations: .*row 3"):
        frechet_distance(x, broken)
    with pytest.raises(ValueError, match=r"generated: .*at least 2 samples, got 1"):
        frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match=r"reference: .*at least 2 samples, got 1"):
        FrechetReference.from_moments(Moments.from_activations(x[:1]))
    with pytest.raises(ValueError, match=r"generated: .*got 0"):
        frechet_distance(Moments.empty(3), x)
    with pytest.raises(ValueError, match="expected one dimension, got 2 and 3"):
        frechet_distance(x[:, :2], x)
    with pytest.raises(ValueError, match=r"2-D array.*got shape \(5,\)"):
        frechet_distance(x[:, 0], x)


@pytest.mark.parametrize("d", [3, 80])
def test_an_indefinite_covariance_is_refused(d: int) -> None:
    variances = np.ones(d)
    variances[0] = -0.5
    indefinite = Moments.from_covariance(1000, np.zeros(d), np.diag(variances))
    definite = Moments.from_covariance(1000, np.zeros(d), np.eye(d))
    for pair in ((indefinite, definite), (definite, indefinite)):
        with pytest.raises(ValueError, match=r"positive semi-definite.*from -"):
            frechet_distance(*pair)
