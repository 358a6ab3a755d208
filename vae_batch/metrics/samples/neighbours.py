"""Distances between sets of activations in strips, and each row's k nearest other rows.

|x|^2 + |y|^2 - 2 x.y costs one matrix product a strip, but cancels: for equal rows it leaves
1e-16 of their squared length in place of 0, and so may decide a tie the wrong way (equal rows,
rows on a lattice). Wherever its rounding could matter the distance is computed again from the
difference of the two rows; all results are those of float64 differences throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import ActivationArray, FloatArray, activation_array

Indices = NDArray[np.intp]

STRIP = 2**23
"""Distances held at once, 64 MB; memory grows by a few arrays of this size, not with n m."""

BLOCK = 2048
"""Rows converted to float64 at once."""

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """The different rows of a set: a collapsed decoder's many equal rows are compared once.

    Attributes:
        rows: (n, d) activations in their own dtype.
        first: (u,) index of the first of each group of equal rows.
        group: (n,) the group of each row.
        counts: (u,) rows in each group.
    """

    rows: ActivationArray
    first: Indices
    group: Indices
    counts: Indices

    @classmethod
    def of(cls, rows: ActivationArray) -> DistinctRows:
        """Group the equal rows by a digest of their bytes."""
        groups: dict[bytes, int] = {}
        digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
        group = np.array([groups.setdefault(digest, len(groups)) for digest in digests])
        _, first, counts = np.unique(group, return_index=True, return_counts=True)
        return cls(rows, first, group, counts)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.first)

    def take(self, which: slice | Indices) -> FloatArray:
        """(h, d) float64, the rows of some groups."""
        taken: FloatArray = self.rows[self.first[which]].astype(np.float64)
        return taken


@dataclass(frozen=True, eq=False)
class Strip:
    """Squared distances from some rows of one set to all rows of another.

    Attributes:
        part: Which rows of the first set.
        squares: (h, u) float64 squared distances, each within its row's margin.
        margin: (h, 1) bound on the rounding of ``squares`` and of distances from differences.
    """

    rows: DistinctRows
    others: DistinctRows
    part: slice
    squares: FloatArray
    margin: FloatArray

    def exact(self, i: Indices, j: Indices) -> FloatArray:
        """Squared distances of pairs, from differences: the same for (i, j) and (j, i)."""
        squares = np.empty(len(i))
        step = max(1, STRIP // self.rows.rows.shape[1])
        for start in range(0, len(i), step):
            pairs = slice(start, start + step)
            difference = self.rows.take(i[pairs] + self.part.start)
            difference -= self.others.take(j[pairs])
            np.square(difference, out=difference)
            squares[pairs] = difference.sum(axis=1)
        return squares

    def settle(self, thresholds: Iterable[FloatArray]) -> None:
        """Make every comparison of ``squares`` with these exact ones come out exactly.

        Args:
            thresholds: Squared distances that broadcast against ``squares``.
        """
        doubtful = np.zeros(self.squares.shape, dtype=bool)
        for threshold in thresholds:
            gap = self.squares - threshold
            doubtful |= np.abs(gap, out=gap) <= self.margin
        i, j = np.nonzero(doubtful)
        self.squares[i, j] = self.exact(i, j)


def strips(rows: DistinctRows, others: DistinctRows) -> Iterator[Strip]:
    """Squared distances from each row to each of the others, some rows at a time."""
    # About the centre of the others norms are smallest, and with them the rounding.
    origin = others.rows.mean(axis=0, dtype=np.float64)
    norms = np.concatenate([_norms(others.take(p) - origin) for p in _parts(len(others), BLOCK)])
    for part in _parts(len(rows), max(1, STRIP // len(others))):
        x = rows.take(part) - origin
        squares = np.empty((len(x), len(others)))
        for other in _parts(len(others), BLOCK):
            np.matmul(x, (others.take(other) - origin).T, out=squares[:, other])
        own = _norms(x)[:, None]
        squares *= -2.0
        squares += own
        squares += norms
        # A sum of d products errs by at most d eps / 2 of their sizes (Higham 2002, section
        # 3.1): twice here, once in each norm, and as much in the exact distance.
        margin = 2.0 * (x.shape[1] + 8) * EPSILON * (own + norms.max())
        yield Strip(rows, others, part, squares, margin)


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """A set of activations and the distances from each row to its nearest other rows.

    Make one of the reference where many checkpoints share it.

    Attributes:
        distinct: The different rows of the set.
        squares: (u, k) float64 squared distances of each of them to the 1st ... k-th nearest other
            row of the set; equal rows are at distance 0.
    """

    distinct: DistinctRows
    squares: FloatArray

    @classmethod
    def from_activations(cls, activations: ArrayLike, k: int) -> Neighbourhoods:
        """Find the k nearest other rows of each of (n, d) activations of any real dtype, n > k.

        Raises:
            ValueError: Not 2-D, non-finite (names the row), n <= k, or k < 1.
        """
        if k < 1:
            raise ValueError(f"k: expected at least 1, got {k}")
        distinct = DistinctRows.of(activation_array("activations", activations, at_least=k + 1))
        return cls(distinct, _nearest_squares(distinct, k))

    def squared_radii(self, k: int) -> FloatArray:
        """(u,) squared distances to the k-th nearest other row.

        Raises:
            ValueError: k beyond the neighbours that were looked for.
        """
        if not 1 <= k <= self.squares.shape[1]:
            raise ValueError(
                f"k: expected 1 to the {self.squares.shape[1]} neighbours that were found, got {k}"
            )
        radii: FloatArray = self.squares[:, k - 1]
        return radii


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _norms(rows: FloatArray) -> FloatArray:
    norms: FloatArray = np.einsum("ij,ij->i", rows, rows)
    return norms


def _nearest_squares(distinct: DistinctRows, k: int) -> FloatArray:
    nearest = np.zeros((len(distinct), k))
    sought = min(k, len(distinct) - 1)
    if sought == 0:
        return nearest
    for strip in strips(distinct, distinct):
        own = np.arange(len(strip.squares))
        strip.squares[own, own + strip.part.start] = np.inf
        last = np.partition(strip.squares, sought - 1, axis=1)[:, sought - 1, None]
        i, j = np.nonzero(strip.squares <= last + 2.0 * strip.margin)
        squares = strip.exact(i, j)
        # `i` ascends: sorting by (i, distance) keeps each row's candidates where they are.
        order = np.lexsort((squares, i))
        chosen = order[np.searchsorted(i, own)[:, None] + np.arange(sought)]
        nearest[strip.part] = _counted(
            squares[chosen], distinct.counts[j[chosen]], distinct.counts[strip.part], k
        )
    return nearest


def _counted(squares: FloatArray, counts: Indices, own: Indices, k: int) -> FloatArray:
    """Distances to the 1st ... k-th other row, where a distinct row stands for several.

    Args:
        squares: (h, s) ascending squared distances to other distinct rows.
        counts: (h, s) how often each of them occurs.
        own: (h,) how often the row itself occurs.
        k: Number of neighbours.
    """
    equal = own[:, None] - 1
    reached = equal + counts.cumsum(axis=1)
    columns = [np.argmax(reached >= q, axis=1) for q in range(1, k + 1)]
    spread = np.take_along_axis(squares, np.stack(columns, axis=1), axis=1)
    return np.where(np.arange(1, k + 1) <= equal, 0.0, spread)
