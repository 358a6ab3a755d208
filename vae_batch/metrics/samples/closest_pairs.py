"""The most alike pairs of a small set, to be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_matrix,
)

COLUMNS = 4096
"""Dimensions in float64 at once."""


def closest_pairs(points: ArrayLike, k: int) -> tuple[NDArray[np.int64], FloatArray]:
    """The k pairs of different rows that are nearest to each other.

    All n (n - 1) / 2 pairs are compared by their difference in float64, so that equal rows are
    at exactly 0: for sets of a few hundred rows.

    Args:
        points: (n, d) of any real dtype.
        k: pairs wanted; all where there are fewer.

    Returns:
        (k, 2) indices i < j of the pairs, nearest first, ties in the order of (i, j); (k,)
        Euclidean distances.

    Raises:
        ValueError: not 2-D, non-finite (names the row), or k < 1.
    """
    array = real_array("points", points)
    require_matrix("points", array)
    require_finite("points", array)
    if k < 1:
        raise ValueError(f"k: expected at least 1 pair, got {k}")
    squares = np.zeros(len(array) * (len(array) - 1) // 2)
    for start in range(0, array.shape[1], COLUMNS):
        columns = array[:, start : start + COLUMNS].astype(np.float64)
        squares += pdist(columns, "sqeuclidean")
    nearest = np.argsort(squares, kind="stable")[:k]
    first, second = np.triu_indices(len(array), 1)
    pairs = np.stack([first[nearest], second[nearest]], axis=1).astype(np.int64)
    return pairs, np.sqrt(squares[nearest])
