"""The most alike pairs of a set."""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.metrics.samples.nearest import closest_pairs


def test_pairs_by_distance_then_by_index() -> None:
    # On a line: 0-2 and 3-4 are 1 apart, 1-3 are 2 apart, 1-4 are 3, 2-1 are 4.
    pairs, distances = closest_pairs([[0.0], [5.0], [1.0], [7.0], [8.0]], 4)
    assert pairs.tolist() == [[0, 2], [3, 4], [1, 3], [1, 4]]
    assert distances.tolist() == [1.0, 1.0, 2.0, 3.0]


def test_equal_rows_are_at_exactly_zero() -> None:
    rows = np.full((4, 300), 0.1, np.float32) + 1e6
    pairs, distances = closest_pairs(rows, 3)
    assert distances.tolist() == [0.0, 0.0, 0.0]
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 3]]


def test_bytes_do_not_wrap_around() -> None:
    pairs, distances = closest_pairs(np.array([[0], [255], [250]], np.uint8), 9)
    assert pairs.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert distances.tolist() == [5.0, 250.0, 255.0]


def test_a_single_row_has_no_pair() -> None:
    pairs, distances = closest_pairs([[1.0, 2.0]], 3)
    assert (pairs.shape, distances.shape) == ((0, 2), (0,))


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (np.zeros(3), 1, "2-D"),
        ([[0.0], [np.nan]], 1, "row 1"),
        (np.zeros((3, 2)), 0, "at least 1 pair"),
    ],
)
def test_input_that_cannot_be_used_is_refused(points: object, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        closest_pairs(points, k)  # type: ignore[arg-type]
