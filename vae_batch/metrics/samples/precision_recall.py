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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.samples.neighbours import Neighbourhoods, Strip, strips
from vae_batch.metrics.validation import require_same_dimension


@dataclass(frozen=True)
class BallConvention:
    """What a ball is: it reaches the ``k``-th nearest other row; is its rim in it?"""

    k: int
    inclusive: bool


PRECISION_RECALL = BallConvention(k=3, inclusive=True)
"""Of precision and recall: Kynkaanniemi et al. 2019, torch-fidelity."""

DENSITY_COVERAGE = BallConvention(k=5, inclusive=False)
"""Of density and coverage: Naeem et al. 2020, their package prdc, dgm-eval."""


@dataclass(frozen=True)
class ManifoldScores:
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
