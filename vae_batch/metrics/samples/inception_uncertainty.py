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
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.samples.inception import LabelDistribution
from vae_batch.metrics.validation import FloatArray, real_array, require_matrix

BLOCK = 4096
"""Rows converted to float64 at once."""


IMAGES_PER_CLASS = 5
"""Images for each class in use below which bias dominates: classes not seen cannot be corrected."""


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
        last = score * log.last_correction
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


def inception_divergences(probabilities: ArrayLike) -> FloatArray:
    """Divergence of each image's class probabilities from their average over the set.

    Its mean is the log of the Inception Score; between checkpoints that decode the same
    latents, differences index by index give the error of the difference of log scores.

    Args:
        probabilities: (n, c) p(y|x) of any real dtype, renormalised in float64.

    Returns:
        (n,) float64, nats, >= 0 up to rounding.

    Raises:
        ValueError: Not 2-D, or rows that are no probabilities (names the row).
    """
    return _divergences(_matrix(probabilities))[0]


def corrected_inception_score(probabilities: ArrayLike) -> CorrectedInceptionScore:
    """Inception Score of (n, c) class probabilities with its bias and error, n >= 2.

    Raises:
        ValueError: Fewer than 2 images, not 2-D, or rows that are no probabilities.
    """
    rows = _matrix(probabilities)
    n = len(rows)
    if n < 2:
        raise ValueError(
            f"probabilities: a standard error needs at least 2 images, got {n}; "
            "raise the number of samples"
        )
    divergences, first = _divergences_and_shortfall(rows)
    mean, second = float(divergences.mean()), 0.0
    if n >= 4:
        # Neighbours may share a class, so that halves are drawn at random.
        order = np.random.default_rng(0).permutation(n)
        halves = [
            _divergences_and_shortfall(rows[np.sort(half)]) for half in np.array_split(order, 2)
        ]
        of_halves = float(np.mean([half.mean() + shortfall for half, shortfall in halves]))
        second = (mean + first - of_halves) / 3.0
    score = PairedScore(mean + first + second, divergences - mean, last_correction=second)
    return CorrectedInceptionScore(mean, score)


def _divergences_and_shortfall(rows: NDArray[np.generic]) -> tuple[FloatArray, float]:
    """(n,) divergences, and by how much their mean is too low to first order."""
    n = len(rows)
    divergences, marginal = _divergences(rows)
    squares = np.zeros_like(marginal)
    for _, p in _blocks(rows):
        squares += ((p - marginal) ** 2).sum(axis=0)
    possible = marginal > 0
    return divergences, float((squares[possible] / marginal[possible]).sum()) / (2 * n * (n - 1))


def _matrix(probabilities: ArrayLike) -> NDArray[np.generic]:
    array = real_array("probabilities", probabilities)
    require_matrix("probabilities", array)
    return array


def _parts(rows: NDArray[np.generic]) -> Iterator[slice]:
    for start in range(0, len(rows), BLOCK):
        yield slice(start, min(start + BLOCK, len(rows)))


def _blocks(rows: NDArray[np.generic]) -> Iterator[tuple[slice, FloatArray]]:
    for part in _parts(rows):
        p = rows[part].astype(np.float64)
        p /= p.sum(axis=1, keepdims=True)
        yield part, p


def _divergences(rows: NDArray[np.generic]) -> tuple[FloatArray, FloatArray]:
    """(n,) divergences and the (c,) average they are from."""
    total = reduce(LabelDistribution.merge, (_distribution(rows, part) for part in _parts(rows)))
    marginal = total.sum_p / total.count
    # A class that no image has weighs nothing: its logarithm may be any finite number.
    log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    divergences = np.empty(len(rows))
    for part, p in _blocks(rows):
        divergences[part] = xlogy(p, p).sum(axis=1) - p @ log_marginal
    return divergences, marginal


def _distribution(rows: NDArray[np.generic], part: slice) -> LabelDistribution:
    try:
        return LabelDistribution.from_probabilities(rows[part])
    except ValueError as error:
        raise ValueError(f"{error} (counting rows from {part.start})") from error
