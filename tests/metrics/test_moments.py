from __future__ import annotations

import numpy as np
import pytest

from vae_batch.metrics import Moments
from vae_batch.metrics.samples.moments import CentredActivations


def test_three_points_by_hand() -> None:
    # Points (0,0), (2,0), (1,3): mean (1, 1); deviations (-1,-1), (1,-1), (0,2).
    # Scatter: xx = 1+1+0 = 2, xy = 1-1+0 = 0, yy = 1+1+4 = 6; covariance = scatter / 2.
    moments = Moments.from_activations([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    assert moments.count == 3
    assert moments.dimension == 2
    np.testing.assert_array_equal(moments.mean, [1.0, 1.0])
    np.testing.assert_array_equal(moments.scatter, [[2.0, 0.0], [0.0, 6.0]])
    np.testing.assert_array_equal(moments.covariance, [[1.0, 0.0], [0.0, 3.0]])
    assert moments.total_variance == 4.0


def test_merge_by_hand() -> None:
    # {0, 2} has mean 1, scatter 2; {6} has mean 6, scatter 0. Together the mean is 8/3 and
    # the scatter 2 + 0 + 5^2 * 2*1/3 = 56/3 (directly: (64 + 4 + 100)/9 = 168/9 = 56/3).
    merged = Moments.from_activations([[0.0], [2.0]]).merge(Moments.from_activations([[6.0]]))
    assert merged.count == 3
    assert merged.mean[0] == pytest.approx(8 / 3, rel=1e-15)
    assert merged.scatter[0, 0] == pytest.approx(56 / 3, rel=1e-15)


def test_merging_empty_changes_no_bit() -> None:
    moments = Moments.from_activations(np.random.default_rng(0).normal(size=(5, 3)))
    assert Moments.empty(3).merge(moments) is moments
    assert moments.merge(Moments.empty(3)) is moments
    assert Moments.empty(3).merge(Moments.empty(3)) == Moments.empty(3)


def test_shards_agree_with_numpy_cov() -> None:
    x = np.random.default_rng(1).normal(size=(40, 6)) + 5.0
    merged = Moments.empty(6)
    for start, stop in ((0, 1), (1, 17), (17, 40)):
        merged = merged.merge(Moments.from_activations(x[start:stop]))
    np.testing.assert_allclose(merged.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, np.cov(x, rowvar=False), rtol=1e-12, atol=1e-14)


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    # Rows c-1, c, c+1 with c = 1e9: variance 1. Sums of raw squares (3e18) would lose it,
    # since the spacing of float64 there is 512.
    moments = Moments.empty(1)
    for value in (1e9 - 1.0, 1e9, 1e9 + 1.0):
        moments = moments.merge(Moments.from_activations([[value]]))
    assert moments.covariance[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_equal_rows_have_exactly_zero_scatter() -> None:
    row = np.random.default_rng(2).normal(size=7)
    moments = Moments.from_activations(np.tile(row, (13, 1)))
    np.testing.assert_array_equal(moments.mean, row)
    np.testing.assert_array_equal(moments.scatter, np.zeros((7, 7)))


def test_scatter_is_exactly_symmetric_after_merges() -> None:
    x = np.random.default_rng(3).normal(size=(30, 9))
    merged = Moments.from_activations(x[:11]).merge(Moments.from_activations(x[11:]))
    np.testing.assert_array_equal(merged.scatter, merged.scatter.T)


def test_published_statistics_round_trip() -> None:
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    moments = Moments.from_covariance(11, [1.0, -1.0], covariance)
    np.testing.assert_array_equal(moments.scatter, 10 * covariance)
    np.testing.assert_allclose(moments.covariance, covariance, rtol=1e-15)


def test_arrays_are_read_only_and_the_callers_stay_writable() -> None:
    mean, scatter = np.zeros(2), np.eye(2)
    moments = Moments(3, mean, scatter)
    with pytest.raises(ValueError, match="read-only"):
        moments.mean[0] = 1.0
    mean[0] = 1.0
    assert mean.flags.writeable


def test_equality_is_of_values() -> None:
    x = np.random.default_rng(4).normal(size=(5, 2))
    assert Moments.from_activations(x) == Moments.from_activations(x.copy())
    assert Moments.from_activations(x) != Moments.from_activations(x + 1)
    assert Moments.from_activations(x) != "moments"


def test_total_variance_of_centred_rows_is_the_trace() -> None:
    x = np.random.default_rng(5).normal(size=(4, 9))
    expected = np.trace(np.cov(x, rowvar=False))
    assert CentredActivations.from_activations(x).total_variance == pytest.approx(expected)
    assert Moments.from_activations(x).total_variance == pytest.approx(expected)


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        (np.zeros(4), r"expected a 2-D array.*got shape \(4,\)"),
        (np.zeros((0, 3)), "at least one sample"),
        (np.zeros((3, 0)), "one dimension"),
        ([[0.0, 1.0], [np.nan, 1.0]], r"got nan in row 1, entry \(0,\) \(1 of 2 rows"),
        ([[0.0, np.inf], [0.0, 1.0]], r"got inf in row 0, entry \(1,\)"),
        (np.zeros((2, 2), dtype=complex), "real numbers, got dtype complex128"),
        ([["a", "b"]], "real numbers"),
    ],
)
def test_bad_activations_are_named(activations: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Moments.from_activations(activations)  # type: ignore[arg-type]


def test_one_sample_has_no_covariance() -> None:
    moments = Moments.from_activations([[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        _ = moments.covariance
    with pytest.raises(ValueError, match="at least 2 samples, got 0"):
        _ = Moments.empty(2).total_variance


def test_dimensions_must_fit() -> None:
    with pytest.raises(ValueError, match="got 2 and 3"):
        Moments.empty(2).merge(Moments.empty(3))
    with pytest.raises(ValueError, match=r"\(2,\) and \(3, 3\)"):
        Moments(2, np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="count of at least 0, got -1"):
        Moments(-1, np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        Moments(2, np.zeros(2), np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Moments.empty(0)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        Moments.from_covariance(1, [0.0], [[1.0]])
    with pytest.raises(ValueError, match="symmetric"):
        Moments.from_covariance(5, [0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]])
