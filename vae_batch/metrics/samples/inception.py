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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.comparison.paired_difference import Interval, PairedScore
from vae_batch.metrics.validation import (
    FloatArray,
    activation_array,
    real_array,
    require_matrix,
    row_blocks,
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
    array = activation_array("probabilities", probabilities, at_least=1)
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


BLOCK = 4096
"""Rows converted to float64 at once."""


IMAGES_PER_CLASS = 5
"""Images for each class in use below which bias dominates: classes not seen cannot be corrected."""

BIAS_LEFT = 2.0
"""Bound on the bias that may be left, as a multiple of the second correction: near 5 images for
each class the corrections fall more slowly than 1/n^2 (``jobs/simulation/interval_coverage.py``).
"""


@dataclass(frozen=True, eq=False)
class CorrectedInceptionScore:
    """Inception Score of a whole set, freed of its bias to second order.

    log IS = mean_i KL_i with KL_i = KL(p(y|x_i) || p(y)). To first order the influence of image i
    is KL_i - mean KL: that p(y) is estimated from the same images adds nothing (the derivative of
    the mean in p(y) is zero). To second order it costs -sum_c Var(p_c) / (2 n p(y=c)), the bias of
    the entropy of an average (Miller 1955; Roulston 1999, Physica D 125); the sum is the number of
    classes in use. What that leaves falls as 1/n^2, so that a third of its difference from the
    same over halves is added, too.

    The score of all images at once; the mean over splits has n / splits images each, and so a bias
    larger by the number of splits, and about the same standard error.

    Attributes:
        plug_in_log: Mean KL of all images, nats, >= 0.
        log_score: The same less its estimated bias, with the influence of each image, nats.
    """

    plug_in_log: float
    log_score: PairedScore

    @property
    def paired(self) -> PairedScore:
        """The score itself; to first order errors of its logarithm scale with it."""
        score, log = self.score, self.log_score
        last = BIAS_LEFT * score * log.last_correction
        return PairedScore(score, score * log.influence, last_correction=last)

    @property
    def log(self) -> float:
        """Logarithm of the corrected score, nats."""
        return self.log_score.value

    @property
    def log_standard_error(self) -> float:
        """Its standard error, nats, >= 0."""
        return self.log_score.standard_error

    @property
    def score(self) -> float:
        """The corrected score, exp(log)."""
        return math.exp(self.log)

    @property
    def standard_error(self) -> float:
        """Standard error of the score, to first order score x log_standard_error."""
        return self.score * self.log_standard_error

    @property
    def classes_in_use(self) -> float:
        """Between 0 and the number of classes - 1, from the first correction."""
        first = self.log_score.first_correction(self.plug_in_log)
        return 2.0 * (len(self.log_score.influence) - 1) * first

    def interval(self, level: float = 0.95) -> Interval | None:
        """Interval around the corrected score; None where it cannot be relied on.

        Raises:
            ValueError: A level outside (0, 1).
        """
        return None if self.doubt else self.paired.interval(level).reaching(1.0)

    @property
    def bias_dominated(self) -> bool:
        """Whether there are fewer than 5 images for each class in use."""
        return len(self.log_score.influence) < IMAGES_PER_CLASS * self.classes_in_use

    @property
    def doubt(self) -> str | None:
        """Why the corrected score cannot be relied on, in words; None where it can be."""
        if self.bias_dominated:
            return (
                f"{len(self.log_score.influence)} images are fewer than {IMAGES_PER_CLASS} for "
                f"each of {self.classes_in_use:.0f} classes in use"
            )
        return self.log_score.unsettled_bias(self.plug_in_log, " nats")


def corrected_inception_score(probabilities: ArrayLike) -> CorrectedInceptionScore:
    """Inception Score of (n, c) class probabilities with its bias and error, n >= 2.

    Raises:
        ValueError: Fewer than 2 images, not 2-D, or rows that are no probabilities.
    """
    rows = real_array("probabilities", probabilities)
    require_matrix("probabilities", rows)
    n = len(rows)
    if n < 2:
        raise ValueError(
            f"probabilities: a standard error needs at least 2 images, got {n}; "
            "raise the number of samples"
        )
    # Neighbours may share a class, so that halves are drawn at random.
    halves = np.zeros((2, n))
    for half, members in zip(
        halves, np.array_split(np.random.default_rng(0).permutation(n), 2), strict=True
    ):
        half[members] = 1.0
    negentropies, groups = _sums(rows, halves)
    whole = groups[0].merge(groups[1])
    divergences = _divergences(rows, negentropies, whole.marginal)
    mean, first, second = float(divergences.mean()), whole.shortfall, 0.0
    if n >= 4:
        second = (mean + first - float(np.mean([half.corrected for half in groups]))) / 3.0
    score = PairedScore(mean + first + second, divergences - mean, last_correction=second)
    return CorrectedInceptionScore(mean, score)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over some images: their number, negentropies (nats), (c,) p and (c,) p^2."""

    count: int
    negentropy: float
    p: FloatArray
    squares: FloatArray

    def merge(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.negentropy + other.negentropy,
            self.p + other.p,
            self.squares + other.squares,
        )

    @property
    def marginal(self) -> FloatArray:
        return self.p / self.count

    @property
    def shortfall(self) -> float:
        """By how much the mean divergence is too low to first order, nats, >= 0; of 2 images on."""
        n, mean = self.count, self.marginal
        possible = mean > 0
        scatter = np.maximum(self.squares[possible] - self.p[possible] * mean[possible], 0.0)
        return float((scatter / mean[possible]).sum()) / (2 * n * (n - 1))

    @property
    def corrected(self) -> float:
        """Mean divergence freed of its bias to first order, nats."""
        mean = self.marginal
        return self.negentropy / self.count - float(xlogy(mean, mean).sum()) + self.shortfall


def _blocks(rows: NDArray[np.generic]) -> Iterator[tuple[slice, FloatArray]]:
    for part in row_blocks(len(rows), BLOCK):
        try:
            yield part, normalised_probabilities(rows[part])
        except ValueError as error:
            raise ValueError(f"{error} (counting rows from {part.start})") from error


def _sums(rows: NDArray[np.generic], members: FloatArray) -> tuple[FloatArray, list[_Sums]]:
    """(n,) negentropies, nats, and sums over groups whose (g, n) members are 1 and others 0."""
    negentropies = np.empty(len(rows))
    p_sums, squares = np.zeros((2, len(members), rows.shape[1]))
    for part, p in _blocks(rows):
        negentropies[part] = xlogy(p, p).sum(axis=1)
        p_sums += members[:, part] @ p
        squares += members[:, part] @ (p * p)
    counts, totals = members.sum(axis=1), members @ negentropies
    groups = zip(counts, totals, p_sums, squares, strict=True)
    return negentropies, [_Sums(int(n), float(total), p, sq) for n, total, p, sq in groups]


def _divergences(
    rows: NDArray[np.generic], negentropies: FloatArray, marginal: FloatArray
) -> FloatArray:
    """(n,) divergences of images from an average, nats."""
    # A class that no image has weighs nothing: its logarithm may be any finite number.
    log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    divergences = negentropies.copy()
    for part, p in _blocks(rows):
        divergences[part] -= p @ log_marginal
    return divergences
