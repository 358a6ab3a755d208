"""Bias and standard error of the Inception Score, from the divergence of each image.

log IS = mean_i KL_i with KL_i = KL(p(y|x_i) || p(y)). To first order the influence of image i
is KL_i - mean KL: that p(y) is estimated from the same images adds nothing (the derivative of
the mean in p(y) is zero). To second order it costs -sum_c Var(p_c) / (2 n p(y=c)), the bias of
the entropy of an average (Miller 1955; Roulston 1999, Physica D 125). What that leaves falls as
1/n^2, so that a third of its difference from the same over halves is added, too.

The sum is the number of classes in use: C - 1 where images are sure of one of C equal classes, 0
where all have the same probabilities. The correction needs several images for each of them.

The score here is of all images at once; the mean over splits has n / splits images each, and
so a bias larger by the number of splits, and about the same standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.comparison.paired_difference import Interval, PairedScore
from vae_batch.metrics.samples.inception import normalised_probabilities
from vae_batch.metrics.validation import FloatArray, real_array, require_matrix

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
    for start in range(0, len(rows), BLOCK):
        part = slice(start, min(start + BLOCK, len(rows)))
        try:
            yield part, normalised_probabilities(rows[part])
        except ValueError as error:
            raise ValueError(f"{error} (counting rows from {start})") from error


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
