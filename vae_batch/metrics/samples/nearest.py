"""Nearest neighbours in blocks: a matrix product finds candidates, differences decide.

|q|^2 + |p|^2 - 2 q.p costs one product a block but cancels near zero: the distance of two equal
rows comes out as 1e-8 of their length. So the product only screens, in float32, within a bound
on its own rounding; the distance of each candidate is then computed from the difference itself,
in float64. Results do not depend on blocks or threads.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.validation import ActivationArray, FloatArray, activation_array

IndexArray = NDArray[np.intp]
Floats = NDArray[np.floating]

QUERY_BLOCK = 1024
POINT_BLOCK = 4096
"""Rows in float64 at once; with d = 2048 a search holds about 150 MB beside its arguments."""

CANDIDATES = 64
"""Candidates of a query that are compared exactly, in the order of their indices."""


def nearest_distances(
    queries: ArrayLike, points: ArrayLike, exclude_self: bool = False
) -> tuple[FloatArray, IndexArray]:
    """Euclidean distance from each query to its nearest point, and that point's index.

    Distances are exact up to the rounding of one float64 sum, and exactly 0 where a point
    equals the query; ties go to the smallest index. Only where more than 64 unequal points lie
    within rounding of each other (1e-6 of the set's radius) may another of them be returned.

    Args:
        queries: (n, d) of any real dtype.
        points: (m, d).
        exclude_self: Query i and point i are one sample, which is not its own neighbour.

    Returns:
        (n,) float64 distances and (n,) indices into ``points``.

    Raises:
        ValueError: Not 2-D, non-finite (names the row), other dimensions, or no point left.
    """
    queries = activation_array("queries", queries, at_least=1)
    points = activation_array("points", points, at_least=1)
    if queries.shape[1] != points.shape[1]:
        raise ValueError(
            f"queries and points: expected one dimension, got {queries.shape[1]} and "
            f"{points.shape[1]}; both must come from the same extractor"
        )
    if not exclude_self:
        return _nearest(queries, points, None)
    if len(queries) != len(points) or len(points) < 2:
        raise ValueError(
            "queries and points: excluding each sample itself needs the same samples on both "
            f"sides, at least 2, got {len(queries)} and {len(points)}"
        )
    return _nearest(queries, points, np.arange(len(points)))


def nearest_other_distances(points: ArrayLike, indices: IndexArray) -> FloatArray:
    """Distance from each of the points at ``indices`` to the nearest point other than itself.

    Args:
        points: (m, d) of any real dtype, m >= 2.
        indices: (k,) indices into ``points``.

    Returns:
        (k,) float64.

    Raises:
        ValueError: As ``nearest_distances``.
    """
    array = activation_array("points", points, at_least=2)
    return _nearest(array[indices], array, indices)[0]


def _nearest(
    queries: ActivationArray, points: ActivationArray, own: IndexArray | None
) -> tuple[FloatArray, IndexArray]:
    """Distances and indices; ``own[i]`` is the point that query i itself is."""
    indices = _equal_points(queries, points, own)
    distances = np.zeros(len(queries))
    pending = np.flatnonzero(indices < 0)
    if pending.size == 0:
        return distances, indices
    # Around the origin of the cloud the norms, and so the rounding, are smallest.
    origin = points.mean(axis=0, dtype=np.float64)
    norms = _squared_norms(points, origin)
    for precision in _precisions(norms):
        crowded = []
        for start in range(0, len(pending), QUERY_BLOCK):
            rows = pending[start : start + QUERY_BLOCK]
            block = queries[rows].astype(np.float64)
            mine = None if own is None else own[rows]
            pairs = _candidates((block - origin).astype(precision), points, origin, norms, mine)
            if precision is np.float32:
                many = np.bincount(pairs[0], minlength=len(rows)) > CANDIDATES
                crowded.append(rows[many])
            distances[rows], indices[rows] = _nearest_of(block, points, *_first(*pairs))
        pending = np.concatenate(crowded) if crowded else pending[:0]
    return distances, indices


def _precisions(norms: FloatArray) -> tuple[type[np.floating], ...]:
    """float32 first, at half the price; float64 for those it leaves with many candidates."""
    in_range = 1e-24 < norms.max() < 1e30  # of squares in float32
    return (np.float32, np.float64) if in_range else (np.float64,)


def _equal_points(
    queries: ActivationArray, points: ActivationArray, own: IndexArray | None
) -> IndexArray:
    """Index of the first other point that equals each query, or -1."""
    first: dict[bytes, int] = {}
    second: dict[bytes, int] = {}
    for i in range(len(points)):
        key = _digest(points[i])
        if first.setdefault(key, i) != i:
            second.setdefault(key, i)
    equal = np.full(len(queries), -1, dtype=np.intp)
    for i in range(len(queries)):
        key = _digest(queries[i])
        found = first.get(key, -1)
        if own is not None and found == own[i]:
            found = second.get(key, -1)
        equal[i] = found
    return equal


def _digest(row: ActivationArray) -> bytes:
    # Adding 0 makes -0.0 equal to 0.0 in its bytes, too.
    return hashlib.blake2b((row.astype(np.float64) + 0.0).tobytes(), digest_size=16).digest()


def _squared_norms(points: ActivationArray, origin: FloatArray) -> FloatArray:
    norms = np.empty(len(points))
    for start in range(0, len(points), POINT_BLOCK):
        centred = np.subtract(points[start : start + POINT_BLOCK], origin, dtype=np.float64)
        norms[start : start + POINT_BLOCK] = np.einsum("ij,ij->i", centred, centred)
    return norms


def _candidates(
    queries: Floats,
    points: ActivationArray,
    origin: FloatArray,
    norms: FloatArray,
    own: IndexArray | None,
) -> tuple[IndexArray, IndexArray]:
    """Pairs (query, point), ordered, of all points that may be nearest, in queries' precision."""
    d, precision = queries.shape[1], queries.dtype
    scale = np.einsum("ij,ij->i", queries, queries, dtype=np.float64) + norms.max()
    # A sum of d products errs by d eps/2 of their size (Higham 2002, section 3.1), here twice.
    margin = (2.0 * (d + 8) * np.finfo(precision).eps * scale).astype(precision)
    lowest = np.full(len(queries), np.inf, dtype=precision)
    found: list[tuple[IndexArray, IndexArray, Floats]] = []
    for start in range(0, len(points), POINT_BLOCK):
        stop = min(start + POINT_BLOCK, len(points))
        centred = np.subtract(points[start:stop], origin, dtype=np.float64)
        scores = queries @ centred.astype(precision).T
        scores *= -2.0
        scores += norms[start:stop].astype(precision)
        if own is not None:
            inside = np.flatnonzero((own >= start) & (own < stop))
            scores[inside, own[inside] - start] = np.inf
        np.minimum(lowest, scores.min(axis=1), out=lowest)
        rows, columns = np.nonzero(scores <= (lowest + margin)[:, None])
        found.append((rows, columns + start, scores[rows, columns]))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    near = values <= (lowest + margin)[rows]
    rows, columns = rows[near], columns[near]
    order = np.lexsort((columns, rows))
    return rows[order], columns[order]


def _first(rows: IndexArray, columns: IndexArray) -> tuple[IndexArray, IndexArray]:
    """The first ``CANDIDATES`` pairs of each query."""
    kept = np.arange(len(rows)) - np.searchsorted(rows, rows) < CANDIDATES
    return rows[kept], columns[kept]


def _nearest_of(
    queries: FloatArray, points: ActivationArray, rows: IndexArray, columns: IndexArray
) -> tuple[FloatArray, IndexArray]:
    """The nearest of each query's candidates, by differences; ``rows`` ascend and miss none."""
    squares = np.empty(len(rows))
    for start in range(0, len(rows), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        difference = np.subtract(queries[rows[part]], points[columns[part]], dtype=np.float64)
        squares[part] = np.einsum("ij,ij->i", difference, difference)
    starts = np.searchsorted(rows, np.arange(len(queries)))
    smallest = np.minimum.reduceat(squares, starts)
    winners = np.flatnonzero(squares == smallest[rows])
    first = winners[np.searchsorted(rows[winners], np.arange(len(queries)))]
    return np.sqrt(smallest), columns[first]


_COLUMNS = 4096
"""Dimensions in float64 at once."""


def closest_pairs(points: ArrayLike, k: int) -> tuple[NDArray[np.int64], FloatArray]:
    """The k pairs of different rows that are nearest to each other.

    All n (n - 1) / 2 pairs are compared by their difference in float64, so that equal rows are
    at exactly 0: for sets of a few hundred rows.

    Args:
        points: (n, d) of any real dtype.
        k: Pairs wanted; all where there are fewer.

    Returns:
        (k, 2) indices i < j of the pairs, nearest first, ties in the order of (i, j); (k,)
        Euclidean distances.

    Raises:
        ValueError: Not 2-D, non-finite (names the row), or k < 1.
    """
    array = activation_array("points", points, at_least=1)
    if k < 1:
        raise ValueError(f"k: expected at least 1 pair, got {k}")
    squares = np.zeros(len(array) * (len(array) - 1) // 2)
    for start in range(0, array.shape[1], _COLUMNS):
        columns = array[:, start : start + _COLUMNS].astype(np.float64)
        squares += pdist(columns, "sqeuclidean")
    nearest = np.argsort(squares, kind="stable")[:k]
    first, second = np.triu_indices(len(array), 1)
    pairs = np.stack([first[nearest], second[nearest]], axis=1).astype(np.int64)
    return pairs, np.sqrt(squares[nearest])
