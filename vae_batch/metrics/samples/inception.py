"""Inception Score from class probabilities, as mergeable label distributions.

    IS = exp( E_x KL( p(y|x) || p(y) ) )        Salimans et al. 2016, arXiv:1606.03498

Since the mean KL is E sum p log p - sum q log q with q = E p, a split reduces to its count,
sum p and sum p log p, which merge over shards.

Traps (arXiv:1801.01973): the score never sees a real image, is biased low by few samples and
at most min(n, c); read it beside a Fréchet distance. The spread over splits is the
literature's "std", no standard error. Class-ordered samples need a permutation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_matrix,
)

ROW_SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to 1: float16 softmax passes, logits fail."""


class InceptionScore(NamedTuple):
    """Score over splits: ``mean`` in [1, classes], ``std`` across the splits (ddof 0)."""

    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class LabelDistribution:
    """Sums over class probabilities of a set of samples; mergeable, float64.

    Laws: ``empty(c)`` merged on either side changes no bit; ``merge`` is associative and
    commutative up to rounding.

    Attributes:
        count: Number of samples, >= 0.
        sum_p: (c,) float64, the sum of the rows p(y|x).
        sum_p_log_p: The sum over samples and classes of p log p, nats, <= 0; 0 log 0 = 0.
    """

    count: int
    sum_p: FloatArray
    sum_p_log_p: float

    def __post_init__(self) -> None:
        """Check the count and the shape of the sums."""
        if self.count < 0 or np.ndim(self.sum_p) != 1 or np.size(self.sum_p) == 0:
            raise ValueError(
                "label distribution: expected a count of at least 0 and sums of shape (c,), "
                f"got {self.count} and {np.shape(self.sum_p)}"
            )

    @classmethod
    def empty(cls, classes: int) -> LabelDistribution:
        """Distribution of no samples over ``classes`` classes: the identity of ``merge``."""
        if classes < 1:
            raise ValueError(f"classes: expected at least 1, got {classes}")
        return cls(0, np.zeros(classes), 0.0)

    @classmethod
    def from_probabilities(cls, probabilities: ArrayLike) -> LabelDistribution:
        """Sums of (n, c) probabilities of any real dtype; rows are renormalised in float64.

        Raises:
            ValueError: Not 2-D, empty, non-finite, negative, or a row that sums to more than 1e-3
                away from 1 (the error names the row).
        """
        return cls._of_normalised(normalised_probabilities(probabilities))

    @classmethod
    def _of_normalised(cls, rows: FloatArray) -> LabelDistribution:
        return cls(len(rows), rows.sum(axis=0), float(xlogy(rows, rows).sum()))

    def merge(self, other: LabelDistribution) -> LabelDistribution:
        """Distribution of both sets together.

        Raises:
            ValueError: The numbers of classes differ.
        """
        if self.sum_p.shape != other.sum_p.shape:
            raise ValueError(
                f"label distributions: expected one number of classes to merge, got "
                f"{self.sum_p.size} and {other.sum_p.size}; "
                "probabilities of different extractors do not mix"
            )
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        return LabelDistribution(
            self.count + other.count,
            self.sum_p + other.sum_p,
            self.sum_p_log_p + other.sum_p_log_p,
        )

    @property
    def log_score(self) -> float:
        """Mean of KL(p(y|x) || p(y)) over the samples, nats, >= 0; its exponential is the score.

        Raises:
            ValueError: No samples.
        """
        if self.count == 0:
            raise ValueError("label distribution: a score needs at least 1 sample, got 0")
        marginal = self.sum_p / self.count
        mean_kl = self.sum_p_log_p / self.count - float(xlogy(marginal, marginal).sum())
        return max(0.0, mean_kl)


def split_bounds(n: int, splits: int) -> list[tuple[int, int]]:
    """Contiguous half-open ranges [n i // splits, n (i + 1) // splits) of global sample indices.

    Raises:
        ValueError: Fewer samples than splits, or fewer than 1 split.
    """
    if splits < 1:
        raise ValueError(f"splits: expected at least 1, got {splits}")
    if n < splits:
        raise ValueError(
            f"splits: {n} samples cannot fill {splits} splits; "
            f"generate at least {splits} samples or set splits to at most {n}"
        )
    edges = [n * i // splits for i in range(splits + 1)]
    return list(itertools.pairwise(edges))


def inception_score_of_splits(distributions: Sequence[LabelDistribution]) -> InceptionScore:
    """Mean and standard deviation (ddof 0, the literature's) of the score of each split.

    Raises:
        ValueError: No splits, or a split without samples.
    """
    if not distributions:
        raise ValueError("splits: expected at least 1 label distribution, got none")
    scores = np.array([math.exp(split.log_score) for split in distributions])
    return InceptionScore(float(scores.mean()), float(scores.std(ddof=0)))


def inception_score(
    probabilities: ArrayLike, splits: int = 10, permutation_seed: int | None = None
) -> InceptionScore:
    """Inception Score of (n, c) class probabilities.

    Args:
        probabilities: p(y|x), a row a sample in the order of global sample indices, summing to 1
            within 1e-3; any real dtype.
        splits: Number of contiguous splits.
        permutation_seed: Seed of a permutation of the rows before they are split (numpy's
            ``default_rng``); needed where neighbours share a class. None keeps the order.

    Raises:
        ValueError: Rows that are no probabilities (names the row), or n < splits.
    """
    rows = normalised_probabilities(probabilities)
    bounds = split_bounds(len(rows), splits)
    if permutation_seed is not None:
        rows = rows[np.random.default_rng(permutation_seed).permutation(len(rows))]
    return inception_score_of_splits(
        [LabelDistribution._of_normalised(rows[start:stop]) for start, stop in bounds]
    )


def normalised_probabilities(probabilities: ArrayLike) -> FloatArray:
    """(n, c) float64 rows that sum to 1.

    Raises:
        ValueError: Not 2-D, or rows that are no probabilities (names the row).
    """
    array = real_array("probabilities", probabilities)
    require_matrix("probabilities", array)
    require_finite("probabilities", array)
    rows = array.astype(np.float64, copy=False)
    sums = rows.sum(axis=1)
    wrong = (rows < 0).any(axis=1) | (np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"probabilities: expected non-negative rows that sum to 1 within "
            f"{ROW_SUM_TOLERANCE:g}, got row {row} with minimum {rows[row].min():g} and sum "
            f"{sums[row]:g}; apply a softmax to logits before scoring"
        )
    normalised: FloatArray = rows / sums[:, None]
    return normalised
