"""Fréchet distance freed of its bias, with an interval.

The plug-in distance is biased upwards by b/n + c/n^2 + ..., b/n being several of its standard
errors even at n = 20 d, so that an interval around it rarely holds the truth. Distances with a
tenth of the samples left out and distances of halves give b and c (Quenouille 1956, Biometrika
43; two orders as in Schucany, Gray and Owen 1971, JASA 66). Averaged over disjoint parts, both
leave the first-order noise as it is.

    corrected = CorrectedFrechetDistance.from_activations(generated, reference)
    corrected.value, corrected.standard_error
    corrected.interval()                                   # None where the bias is not known

A reference given by its activations is a sample: parts of it are left out together with parts of
the generated set, and the distance is that of the two distributions. Where only its moments are
known, or it is declared to be the population, the distance is that from this reference.

Corrections by the spectra of random matrices (arXiv:1903.03447) are better for Gaussians but
leave three quarters of the bias of clustered activations; a jackknife assumes no distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.comparison.paired_difference import Interval, PairedScore
from vae_batch.metrics.samples.frechet import EPSILON, FrechetReference, frechet_distance
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.validation import (
    ActivationArray,
    FloatArray,
    activation_array,
    require_same_dimension,
    row_blocks,
)

BLOCK = 4096
"""Rows converted to float64 at once."""


def frechet_influence(
    generated: ArrayLike, reference: Moments | FrechetReference | ArrayLike
) -> FloatArray:
    """Influence of each generated sample on the Fréchet distance, by the delta method.

        psi(x) = 2 (m_g - m_r).(x - m_g) + (x - m_g)^T (I - A) (x - m_g) - tr (I - A) S_g

    with A = F (F^T S_g F)^(-1/2) F^T, S_r = F F^T, the linear map that carries N(m_g, S_g) to
    N(m_r, S_r): the gradient of the distance in S_g is I - A. On singular covariances A acts
    within the span of the samples. psi vanishes where both Gaussians are equal; there the
    distance varies in second order only and sd(psi) says nothing.

    Args:
        generated: (n, d) activations of any real dtype, n >= 2.
        reference: ``Moments``, activations, or a ``FrechetReference``. For the influence of
            reference samples swap the two: the distance is symmetric.

    Returns:
        (n,) float64 with mean zero, in the unit of the distance.

    Raises:
        ValueError: Not 2-D, fewer than 2 samples, different d, non-finite (names the row).
    """
    rows = activation_array("generated", generated, at_least=2)
    prepared = prepared_reference(reference, rows.shape[1])
    moments = moments_of_blocks(rows)
    root = _transport_root(moments, prepared)
    shift = moments.mean - prepared.source.mean
    influence = np.empty(len(rows))
    for part in row_blocks(len(rows), BLOCK):
        x = rows[part].astype(np.float64) - moments.mean
        bent = x @ root
        squares = np.einsum("ij,ij->i", x, x) - np.einsum("ij,ij->i", bent, bent)
        influence[part] = 2.0 * (x @ shift) + squares
    influence -= influence.mean()
    return influence


def prepared_reference(
    reference: Moments | FrechetReference | ArrayLike, dimension: int
) -> FrechetReference:
    """The reference with its factor, of the dimension expected.

    Raises:
        ValueError: Another dimension, fewer than 2 samples, or non-finite activations.
    """
    if isinstance(reference, Moments):
        reference = FrechetReference.from_moments(reference)
    elif not isinstance(reference, FrechetReference):
        reference = FrechetReference.from_activations(reference)
    require_same_dimension(dimension, reference.source.dimension)
    return reference


def moments_of_blocks(rows: ActivationArray) -> Moments:
    """Moments of (n, d) rows with no float64 copy of them all."""
    blocks = (Moments.from_activations(rows[part]) for part in row_blocks(len(rows), BLOCK))
    return reduce(Moments.merge, blocks)


def _transport_root(moments: Moments, reference: FrechetReference) -> FloatArray:
    """(d, r) root B of the map A = B B^T that carries one Gaussian to the other."""
    factor = reference.factor
    eigenvalues, vectors = np.linalg.eigh(factor.T @ (moments.scatter @ factor))
    # What is rounding would enter with its square root only, beside at most d eps^(1/2). A
    # reference of equal rows has no factor, and nothing is kept.
    kept = eigenvalues > len(eigenvalues) * EPSILON * eigenvalues.max(initial=0.0)
    degrees = (moments.count - 1) / (reference.source.count - 1)
    root: FloatArray = factor @ vectors[:, kept]
    root *= (degrees / eigenvalues[kept]) ** 0.25
    return root


BLOCKS = 10
"""Parts that are left out in turn, an even number. With 20 the value varies by 3 % less."""

FIELD_SAMPLES, FIELD_DIMENSION = 10_000, 2048
"""Intervals need this many samples per dimension: the field's 10,000 pass for Inception."""


@dataclass(frozen=True, eq=False)
class CorrectedFrechetDistance:
    """A Fréchet distance freed of its bias to second order, with its standard error.

    Attributes:
        plug_in: The distance as ``frechet_distance`` gives it.
        score: The corrected distance, negative where noise outweighs it, with the influence of each
            sample and, where the reference is a sample, of each reference image.
        bias_dominated: Whether samples are too few for an interval.
    """

    plug_in: float
    score: PairedScore
    bias_dominated: bool

    @classmethod
    def from_activations(
        cls, generated: ArrayLike, reference: Moments | FrechetReference | ArrayLike
    ) -> CorrectedFrechetDistance:
        """Correct the distance of (n, d) activations.

        Parts are drawn at random with a fixed seed, since neighbours in a set may be alike. Costs
        13 distances and the eigenvectors of one or two; at n = 10,000 and d = 2048 half a minute
        on one core.

        Args:
            generated: (n, d) activations of any real dtype, n >= 10.
            reference: Activations, at least 10 of them, or a ``FrechetReference`` that has them,
                for a reference that is a sample; ``Moments``, or a ``FrechetReference`` without
                activations, for one that is the population.

        Raises:
            ValueError: Too few samples, different d, or activations that are not 2-D or not finite
                (names the row).
        """
        rows = activation_array("generated", generated, at_least=BLOCKS)
        prepared = prepared_reference(reference, rows.shape[1])
        sample = prepared.activations
        if sample is not None:
            activation_array("reference", sample, at_least=BLOCKS)
        whole = moments_of_blocks(rows)
        plug_in = frechet_distance(whole, prepared)
        others: Iterable[Moments | FrechetReference] = repeat(prepared)
        if sample is not None:
            source = prepared.source
            known = source if isinstance(source, Moments) else moments_of_blocks(sample)
            others = _rests(sample, known)
        first, second = _corrections(plug_in, _rests(rows, whole), others)
        score = PairedScore(
            plug_in + first + second,
            frechet_influence(rows, prepared),
            reference_influence=None if sample is None else frechet_influence(sample, whole),
            last_correction=second,
        )
        counts = [len(each) for each in (rows, sample) if each is not None]
        return cls(plug_in, score, bias_dominated(rows.shape[1], *counts))

    @property
    def value(self) -> float:
        """The corrected distance; negative where noise outweighs it."""
        return self.score.value

    @property
    def standard_error(self) -> float:
        """Of sampling the generated set and, where it is a sample, the reference; >= 0."""
        return self.score.standard_error

    @property
    def doubt(self) -> str | None:
        """Why no interval is sound, in words; None where one is."""
        if self.bias_dominated:
            return f"fewer than {FIELD_SAMPLES / FIELD_DIMENSION:.2f} images per feature dimension"
        return self.score.unsettled_bias(self.plug_in)

    def interval(self, level: float = 0.95) -> Interval | None:
        """Interval around the corrected value; None where bias dominates or is not known.

        Normal, and wider on both sides by the second correction: about as much bias is left.
        """
        return None if self.doubt else self.score.interval(level).reaching(0.0)


def bias_dominated(dimension: int, *counts: int) -> bool:
    """Whether a set that is a sample has fewer than 10,000/2048 = 4.88 samples per dimension.

    Below, corrections miss more of the bias than an interval allows for. Compare such
    checkpoints at one number of samples, or by their kernel distance.

    Args:
        dimension: Of the features.
        *counts: Samples of each set; a reference that is the population does not count.
    """
    return min(counts) * FIELD_DIMENSION < FIELD_SAMPLES * dimension


def frechet_distance_infinity(
    generated: ArrayLike,
    reference: Moments | FrechetReference | ArrayLike,
    smallest: int | None = None,
    points: int = 15,
    seed: int = 0,
) -> float:
    """Intercept of a straight line in 1/N through the distances of N generated samples.

    Chong and Forsyth 2020 (arXiv:1911.07023), with the sizes of dgm-eval: 15 from
    min(5000, n/10) to n. The samples are nested, each the first N of one permutation, so that
    one pass serves all sizes; the authors draw each anew.

    Traps: the distance is straight in 1/N from several samples per dimension on; a line through
    sizes of about d misses by more than a jackknife's correction does, with more spread
    (``CorrectedFrechetDistance``), and may be negative.

    Args:
        generated: (n, d) activations of any real dtype.
        reference: ``Moments``, activations, or a ``FrechetReference``.
        smallest: The least N, >= 2; by default min(5000, max(n // 10, 2)).
        points: Number of sizes, >= 2.
        seed: Of the permutation (numpy's ``default_rng``).

    Raises:
        ValueError: Fewer than 2 points, too few samples for so many sizes, not 2-D, different d, or
            non-finite (names the row).
    """
    rows = activation_array("generated", generated, at_least=2)
    n = len(rows)
    first = min(5000, max(n // 10, 2)) if smallest is None else smallest
    if points < 2 or first < 2 or n - first < points - 1:
        raise ValueError(
            f"points: {points} sizes from {first} to {n} samples are not at least 2 different "
            "sizes of at least 2; raise the number of samples or set fewer points"
        )
    prepared = prepared_reference(reference, rows.shape[1])
    order = np.random.default_rng(seed).permutation(n)
    sizes = np.linspace(first, n, points).astype(np.intp)
    moments = Moments.empty(rows.shape[1])
    distances = np.empty(points)
    for i, (start, stop) in enumerate(pairwise([0, *sizes])):
        moments = moments.merge(Moments.from_activations(rows[order[start:stop]]))
        distances[i] = frechet_distance(moments, prepared)
    inverse = 1.0 / sizes
    spread = inverse - inverse.mean()
    slope = float(spread @ distances) / float(spread @ spread)
    return float(distances.mean()) - slope * float(inverse.mean())


def _corrections(
    plug_in: float,
    generated: Iterable[Moments],
    reference: Iterable[Moments | FrechetReference],
) -> tuple[float, float]:
    """What is to be added to a distance to free it of b/n, then of c/n^2.

    Leaving out one of B blocks gives J = B D - (B - 1) mean D', whose expectation has -c/n^2
    B/(B - 1) in the place of b/n + c/n^2; halves give H, where B = 2. From both, c/n^2 is
    (J - H)(B - 1)/(B - 2), up to terms of third order.

    Args:
        plug_in: The distance of the whole sets.
        generated: As ``_rests`` gives them.
        reference: The same of the reference, or the reference itself for each.
    """
    distances, counts = [], []
    for ours, theirs in zip(generated, reference, strict=False):
        distances.append(frechet_distance(ours, theirs))
        counts.append(ours.count)
    # Weighted by their counts, means over unequal blocks leave no first-order noise.
    tenths = float(np.average(distances[:BLOCKS], weights=counts[:BLOCKS]))
    halves = float(np.average(distances[BLOCKS:], weights=counts[BLOCKS:]))
    by_tenths = BLOCKS * plug_in - (BLOCKS - 1) * tenths
    by_halves = 2 * plug_in - halves
    return by_tenths - plug_in, (by_tenths - by_halves) * BLOCKS / (BLOCKS - 2)


def _rests(rows: ActivationArray, whole: Moments) -> Iterator[Moments]:
    """Moments of a set without each of ``BLOCKS`` random blocks, then of its two halves."""
    order = np.random.default_rng(0).permutation(len(rows))
    half = Moments.empty(whole.dimension)
    for number, block in enumerate(np.array_split(order, BLOCKS)):
        moments = moments_of_blocks(rows[np.sort(block)])
        if number < BLOCKS // 2:
            half = half.merge(moments)
        yield _without(whole, moments)
    yield half
    yield _without(whole, half)


def _without(whole: Moments, block: Moments) -> Moments:
    """Moments of the rest: the inverse of ``Moments.merge``."""
    count = whole.count - block.count
    delta = block.mean - whole.mean
    scatter = np.outer(delta, delta)
    scatter *= -whole.count * block.count / count
    scatter += whole.scatter
    scatter -= block.scatter
    return Moments(count, whole.mean - delta * (block.count / count), scatter)
