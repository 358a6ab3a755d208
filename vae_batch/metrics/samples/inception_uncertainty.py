"""Bias and standard error of the Inception Score, from the divergence of each image.

log IS = mean_i KL_i with KL_i = KL(p(y|x_i) || p(y)). To first order the influence of image i
is KL_i - mean KL: that p(y) is estimated from the same images adds nothing (the derivative of
the mean in p(y) is zero). To second order it costs -sum_c Var(p_c) / (2 n p(y=c)), the bias of
the entropy of an average (Miller 1955; Roulston 1999, Physica D 125).

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

from vae_batch.metrics.samples.inception import LabelDistribution
from vae_batch.metrics.validation import FloatArray, real_array, require_matrix

BLOCK = 4096
"""Rows converted to float64 at once."""


@dataclass(frozen=True)
class CorrectedInceptionScore:
    """Inception Score of a whole set, freed of its bias to first order.

    Attributes:
        plug_in_log: Mean KL of all images, nats, >= 0.
        log: The same less its estimated bias, which is negative.
        log_standard_error: Of either, nats, >= 0.
    """

    plug_in_log: float
    log: float
    log_standard_error: float

    @property
    def score(self) -> float:
        """The corrected score, exp(log)."""
        return math.exp(self.log)

    @property
    def standard_error(self) -> float:
        """Standard error of the score, to first order score x log_standard_error."""
        return self.score * self.log_standard_error


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
    divergences, marginal = _divergences(rows)
    squares = np.zeros_like(marginal)
    for _, p in _blocks(rows):
        squares += ((p - marginal) ** 2).sum(axis=0)
    possible = marginal > 0
    shortfall = float((squares[possible] / marginal[possible]).sum()) / (2 * n * (n - 1))
    mean = float(divergences.mean())
    error = float(divergences.std(ddof=1)) / math.sqrt(n)
    return CorrectedInceptionScore(mean, mean + shortfall, error)


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
