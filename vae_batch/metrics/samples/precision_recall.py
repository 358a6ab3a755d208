"""Precision, recall, density and coverage of generated activations.

A set's manifold is estimated by balls: around each of its rows, out to its k-th nearest other
row. Precision is the share of generated rows in some ball of the reference, recall the share of
reference rows in some ball of the generated set (Kynkaanniemi et al. 2019, arXiv:1904.06991).
Density is the mean number of reference balls around a generated row, over k; coverage is the
share of reference balls that hold a generated row (Naeem et al. 2020, arXiv:2002.09797).

    literature, prdc = manifold_scores(reference, generated)
    literature.precision, literature.recall, prdc.density, prdc.coverage

Traps: all four depend on the number of samples, so fix it. A perfect model does not score 1:
for equal distributions of n reference and m generated rows density has expectation 1, coverage
1 - prod_{i=1..k} (n - i) / (n + m - i), for n = m about 1 - 2^-k, precision and recall less
than 1. One outlier in the reference has a large ball, which raises precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import (
    ActivationArray,
    FloatArray,
    activation_array,
    require_same_dimension,
    row_blocks,
)

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
    """Squared distances from each row to each of the others, some rows at a time.

    |x|^2 + |y|^2 - 2 x.y costs one matrix product a strip, but cancels: for equal rows it leaves
    1e-16 of their squared length in place of 0, and so may decide a tie the wrong way (equal rows,
    rows on a lattice). Wherever its rounding could matter the distance is computed again from the
    difference of the two rows; all results are those of float64 differences throughout.
    """
    # About the centre of the others norms are smallest, and with them the rounding.
    origin = others.rows.mean(axis=0, dtype=np.float64)
    norms = np.concatenate(
        [_norms(others.take(p) - origin) for p in row_blocks(len(others), BLOCK)]
    )
    for part in row_blocks(len(rows), max(1, STRIP // len(others))):
        x = rows.take(part) - origin
        squares = np.empty((len(x), len(others)))
        for other in row_blocks(len(others), BLOCK):
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


@dataclass(frozen=True)
class BallConvention:
    """What a ball is: it reaches the ``k``-th nearest other row; is its rim in it?"""

    k: int
    inclusive: bool


PRECISION_RECALL = BallConvention(k=3, inclusive=True)
"""Of precision and recall: Kynkaanniemi et al. 2019, torch-fidelity."""

DENSITY_COVERAGE = BallConvention(k=5, inclusive=False)
"""Of density and coverage: Naeem et al. 2020, their package prdc, dgm-eval."""


class ManifoldScores(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density in [0, n / k]."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    reference: Neighbourhoods | ArrayLike,
    generated: Neighbourhoods | ArrayLike,
    k: int = DENSITY_COVERAGE.k,
    inclusive: bool = DENSITY_COVERAGE.inclusive,
) -> ManifoldScores:
    """The four numbers under one convention, by default that of the package prdc.

    Args:
        reference: (n, d) activations of any real dtype, n > k, or their ``Neighbourhoods``.
        generated: (m, d) activations, m > k, or their ``Neighbourhoods``.
        k: A ball reaches its row's k-th nearest other row.
        inclusive: Whether a row exactly on the rim of a ball is in it.

    Raises:
        ValueError: Not 2-D, too few samples, different d, or non-finite (names the row).
    """
    return manifold_scores(reference, generated, (BallConvention(k, inclusive),))[0]


def manifold_scores(
    reference: Neighbourhoods | ArrayLike,
    generated: Neighbourhoods | ArrayLike,
    conventions: Sequence[BallConvention] = (PRECISION_RECALL, DENSITY_COVERAGE),
) -> list[ManifoldScores]:
    """The four numbers under each convention, from one pass over the distances.

    Args:
        reference: (n, d) activations of any real dtype, or their ``Neighbourhoods``.
        generated: (m, d) activations, or their ``Neighbourhoods``.
        conventions: By default the first is the one for precision and recall, the second the one
            for density and coverage. n and m must exceed each k.

    Raises:
        ValueError: Not 2-D, too few samples, different d, or non-finite (names the row).
    """
    k = max(convention.k for convention in conventions)
    real = _neighbourhoods("reference", reference, k)
    fake = _neighbourhoods("generated", generated, k)
    require_same_dimension(fake.distinct.rows.shape[1], real.distinct.rows.shape[1])
    counts = [_Count(convention, real, fake) for convention in conventions]
    for strip in strips(real.distinct, fake.distinct):
        strip.settle(
            radii
            for count in counts
            for radii in (count.real_radii[strip.part, None], count.fake_radii)
        )
        for count in counts:
            count.add(strip)
    return [count.scores() for count in counts]


def _neighbourhoods(name: str, rows: Neighbourhoods | ArrayLike, k: int) -> Neighbourhoods:
    if isinstance(rows, Neighbourhoods):
        return rows
    try:
        return Neighbourhoods.from_activations(rows, k)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


class _Count:
    """Which rows are in a ball of the other set, and how many pairs there are."""

    def __init__(
        self, convention: BallConvention, real: Neighbourhoods, fake: Neighbourhoods
    ) -> None:
        self.convention = convention
        self.real_radii = real.squared_radii(convention.k)
        self.fake_radii = fake.squared_radii(convention.k)
        self.real_counts = real.distinct.counts.astype(np.float64)
        self.fake_counts = fake.distinct.counts.astype(np.float64)
        self.precise = np.zeros(len(self.fake_radii), dtype=bool)
        self.recalled = np.zeros(len(self.real_radii), dtype=bool)
        self.covered = np.zeros(len(self.real_radii), dtype=bool)
        self.pairs = 0.0

    def add(self, strip: Strip) -> None:
        within = np.less_equal if self.convention.inclusive else np.less
        in_real = within(strip.squares, self.real_radii[strip.part, None])
        self.precise |= in_real.any(axis=0)
        self.covered[strip.part] = in_real.any(axis=1)
        self.pairs += float(self.real_counts[strip.part] @ (in_real @ self.fake_counts))
        self.recalled[strip.part] = within(strip.squares, self.fake_radii).any(axis=1)

    def scores(self) -> ManifoldScores:
        n, m = self.real_counts.sum(), self.fake_counts.sum()
        return ManifoldScores(
            precision=float(self.fake_counts[self.precise].sum() / m),
            recall=float(self.real_counts[self.recalled].sum() / n),
            density=self.pairs / float(self.convention.k * m),
            coverage=float(self.real_counts[self.covered].sum() / n),
        )
