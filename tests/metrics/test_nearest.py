from __future__ import annotations

import numpy as np
import pytest

from vae_batch.metrics.samples import nearest
from vae_batch.metrics.samples.nearest import nearest_distances, nearest_other_distances


def _by_differences(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    difference = queries[:, None].astype(np.float64) - points[None].astype(np.float64)
    return np.sqrt((difference**2).sum(axis=2))


def test_neighbours_on_a_line() -> None:
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    distances, indices = nearest_distances([[0.4], [2.5], [100.0], [7.0]], points)
    assert distances == pytest.approx([0.4, 0.5, 93.0, 0.0])
    assert list(indices) == [0, 2, 3, 3]
    distances, indices = nearest_distances(points, points, exclude_self=True)
    assert list(distances) == [1, 1, 2, 4]
    assert list(indices) == [1, 0, 1, 2]
    assert list(nearest_other_distances(points, np.array([3, 0]))) == [4, 1]


def test_ties_go_to_the_smallest_index() -> None:
    points = np.array([[2.0], [0.0], [2.0], [0.0]])
    distances, indices = nearest_distances([[1.0], [2.0], [0.0]], points)
    assert list(distances) == [1, 0, 0]
    assert list(indices) == [0, 0, 1]
    distances, indices = nearest_distances(points, points, exclude_self=True)
    assert list(distances) == [0, 0, 0, 0]
    assert list(indices) == [2, 3, 0, 1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16, np.uint8])
@pytest.mark.parametrize(("n", "m", "d"), [(40, 30, 1), (30, 50, 3), (20, 60, 70), (5, 1, 4)])
def test_agrees_with_differences(n: int, m: int, d: int, dtype: type) -> None:
    rng = np.random.default_rng(n + d)
    queries, points = ((90 * rng.random((k, d))).astype(dtype) for k in (n, m))
    exact = _by_differences(queries, points)
    distances, indices = nearest_distances(queries, points)
    np.testing.assert_allclose(distances, exact.min(axis=1), rtol=1e-14)
    np.testing.assert_allclose(exact[np.arange(n), indices], exact.min(axis=1), rtol=1e-14)
    own = _by_differences(queries, queries)
    np.fill_diagonal(own, np.inf)
    alone, _ = nearest_distances(queries, queries, exclude_self=True)
    np.testing.assert_allclose(alone, own.min(axis=1), rtol=1e-14)


def test_small_distances_survive_far_from_the_origin() -> None:
    # |q|^2 is 5e13 here: the expanded square would err by about 0.01 in squared distance.
    rng = np.random.default_rng(1)
    points = 1e6 + rng.normal(size=(200, 50))
    queries = points + 1e-7 * rng.normal(size=(200, 50))
    queries[::2] = points[::2]
    distances, indices = nearest_distances(queries, points)
    np.testing.assert_array_equal(indices, np.arange(200))
    assert (distances[::2] == 0.0).all()
    np.testing.assert_array_equal(distances, np.sqrt(((queries - points) ** 2).sum(axis=1)))


@pytest.mark.parametrize("scale", [1e-150, 1e-18, 1e-10, 1.0, 1e10, 1e18, 1e100])
def test_any_scale_is_searched(scale: float) -> None:
    rng = np.random.default_rng(2)
    queries, points = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    expected = _by_differences(queries, points)
    distances, indices = nearest_distances(scale * queries, scale * points)
    np.testing.assert_allclose(distances, scale * expected.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(indices, expected.argmin(axis=1))


def test_blocks_and_precision_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    # Triples closer than float32 can tell apart at this radius (250), and float64 can.
    points = np.repeat(100 * rng.normal(size=(40, 6)), 3, axis=0)
    points += 1e-3 * rng.normal(size=points.shape)
    queries = np.vstack([points[:50], rng.normal(size=(20, 6))])
    whole = nearest_distances(queries, points)
    others = nearest_distances(points, points, exclude_self=True)
    exact = _by_differences(points, points)
    np.fill_diagonal(exact, np.inf)
    np.testing.assert_allclose(others[0], exact.min(axis=1), rtol=1e-12)
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 7)
    monkeypatch.setattr(nearest, "POINT_BLOCK", 11)
    # With one candidate allowed, the triples crowd the float32 pass and go to float64.
    monkeypatch.setattr(nearest, "CANDIDATES", 1)
    for again, before in (
        (nearest_distances(queries, points), whole),
        (nearest_distances(points, points, exclude_self=True), others),
    ):
        np.testing.assert_array_equal(again[0], before[0])
        np.testing.assert_array_equal(again[1], before[1])


def test_a_collapsed_set_is_all_zeros_and_quick() -> None:
    rows = np.tile(np.random.default_rng(4).random(500).astype(np.float32), (3000, 1))
    distances, indices = nearest_distances(rows, rows, exclude_self=True)
    assert (distances == 0.0).all()
    assert indices[0] == 1
    assert (indices[1:] == 0).all()


def test_signed_zeros_are_equal() -> None:
    distances, _ = nearest_distances([[-0.0, 1.0]], [[5.0, 5.0], [0.0, 1.0]])
    assert distances[0] == 0.0


def test_arguments_that_do_not_fit_are_named() -> None:
    points = np.zeros((3, 2))
    with pytest.raises(ValueError, match="queries and points: expected one dimension, got 3 and"):
        nearest_distances(np.zeros((1, 3)), points)
    with pytest.raises(ValueError, match="points: expected a 2-D array"):
        nearest_distances(points, np.zeros(3))
    with pytest.raises(ValueError, match="queries: expected finite values, got nan in row 1"):
        nearest_distances([[0.0, 0.0], [np.nan, 0.0]], points)
    with pytest.raises(ValueError, match="the same samples on both sides, at least 2, got 2 and 3"):
        nearest_distances(points[:2], points, exclude_self=True)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        nearest_other_distances(points[:1], np.array([0]))
