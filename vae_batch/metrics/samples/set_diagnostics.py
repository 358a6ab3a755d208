"""Diagnostics on activations: near-duplicates, diversity and memorisation.

    training = activations of the images the VAE was trained on
    held_out = TrainingNeighbours.from_activations(test, training)      # once for all checkpoints
    copies = TrainingNeighbours.from_activations(generated, training)
    authentic_fraction(copies), authentic_fraction(held_out)            # read the two together
    data_copying_z(copies, held_out)                                    # far below 0: copying

All depend on the extractor and on the number of samples: compare at one n only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.samples.nearest import (
    IndexArray,
    nearest_distances,
    nearest_other_distances,
)
from vae_batch.metrics.validation import FloatArray, activation_array, require_same_dimension

FEWEST = 20
"""The data-copying test needs more generated samples than this (tau of the paper)."""


@dataclass(frozen=True)
class NearDuplicateThreshold:
    """How close the closest real samples are, searched once for many checkpoints.

    Attributes:
        distance: A quantile of the distances from each real sample to the nearest other one.
        samples: Number of real samples; nearest distances shrink as it grows.
    """

    distance: float
    samples: int

    @classmethod
    def from_activations(
        cls, reference: ArrayLike, quantile: float = 0.01
    ) -> NearDuplicateThreshold:
        """Threshold from (m, d) activations of real images, m >= 2, at a quantile in (0, 1).

        Raises:
            ValueError: Not 2-D, non-finite (names the row), or fewer than 2 samples.
        """
        if not 0 < quantile < 1:
            raise ValueError(f"quantile: expected a number between 0 and 1, got {quantile}")
        spacing = nearest_distances(reference, reference, exclude_self=True)[0]
        # A distance that was observed, so that at least this share of samples is within it.
        distance = float(np.quantile(spacing, quantile, method="inverted_cdf"))
        return cls(distance, len(spacing))


def near_duplicate_rate(
    generated: ArrayLike, reference: NearDuplicateThreshold | ArrayLike
) -> float:
    """Share of generated samples with another generated one no farther than real twins are.

    "No farther" and not "nearer": duplicates in a collapsed set count even where the reference
    has so many of its own that the threshold is 0. Sets are cut to their first samples, to be
    compared at one number. Real samples score about .01 on themselves; ``real_against_real``
    shows the scatter of that.

    Args:
        generated: (n, d) activations of any real dtype.
        reference: A threshold from at most n real samples, or (m, d) real activations.

    Returns:
        In [0, 1]; 1 for a collapsed decoder.

    Raises:
        ValueError: Not 2-D, non-finite, fewer than 2 samples, or fewer than the threshold's.
    """
    samples = np.asarray(generated)
    if not isinstance(reference, NearDuplicateThreshold):
        real = np.asarray(reference)
        if samples.ndim == real.ndim == 2:
            require_same_dimension(samples.shape[1], real.shape[1])
        cut = real[: len(samples)] if samples.ndim and real.ndim else real
        reference = NearDuplicateThreshold.from_activations(cut)
    if samples.ndim and len(samples) < reference.samples:
        raise ValueError(
            f"generated: expected as many samples as the threshold has, {reference.samples}, got "
            f"{len(samples)}; take the threshold of as many real samples"
        )
    left = samples[: reference.samples] if samples.ndim else samples
    return float((nearest_distances(left, left, exclude_self=True)[0] <= reference.distance).mean())


def real_against_real(
    metric: Callable[[NDArray[Any], NDArray[Any]], float], real: ArrayLike
) -> float:
    """A generated-against-real metric with real samples in both places: its baseline.

    The samples of odd index stand in for generated ones, those of even index are the
    reference, n // 2 each; compare with the metric at that many samples.

    Raises:
        ValueError: Fewer than 4 samples, or what the metric raises.
    """
    samples = np.asarray(real)
    half = len(samples) // 2 if samples.ndim else 0
    if half < 2:
        raise ValueError(
            f"real: two halves need at least 4 samples, got an array of shape {samples.shape}"
        )
    return metric(samples[1 : 2 * half : 2], samples[0 : 2 * half : 2])


def vendi_score(activations: ArrayLike) -> float:
    """Effective number of different samples: Vendi score (Friedman and Dieng 2022).

    The exponential of the entropy of the eigenvalues of K / n, with K the cosine similarities
    (arXiv:2210.02410): n for orthogonal samples, 1 where all are parallel. The
    non-zero eigenvalues of K / n are those of the d x d second moment of the unit rows, so
    that no n x n matrix is formed where d is smaller.

    Traps: at most min(n, d) and rising in n; noise raises it; rectified activations share a
    large positive mean, so that values are far below n and only comparable with real ones.

    Args:
        activations: (n, d) of any real dtype.

    Returns:
        In [1, min(n, d)].

    Raises:
        ValueError: Not 2-D, non-finite, or a row of zeros, which has no direction.
    """
    rows = activation_array("activations", activations, at_least=1).astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not lengths.all():
        raise ValueError(
            f"activations: row {int(np.argmin(lengths))} is all zeros and has no direction; "
            "the Vendi score is not defined"
        )
    rows /= lengths[:, None]
    n, d = rows.shape
    gram = rows.T @ rows if d < n else rows @ rows.T
    eigenvalues = np.maximum(np.linalg.eigvalsh(gram / n), 0.0)
    return math.exp(-float(xlogy(eigenvalues, eigenvalues).sum()))


@dataclass(frozen=True, eq=False)
class TrainingNeighbours:
    """The nearest training sample of each of n samples, and how close its own neighbour is.

    Attributes:
        distances: (n,) Euclidean distance to the nearest training sample.
        indices: (n,) index of that training sample.
        spacing: (n,) distance from that training sample to the nearest other one.
    """

    distances: FloatArray
    indices: IndexArray
    spacing: FloatArray

    @classmethod
    def from_activations(cls, samples: ArrayLike, training: ArrayLike) -> TrainingNeighbours:
        """Search (m, d) training activations for the neighbours of (n, d) samples, in blocks.

        Raises:
            ValueError: Not 2-D, non-finite, other dimensions, or fewer than 2 training samples.
        """
        distances, indices = nearest_distances(samples, training)
        searched, position = np.unique(indices, return_inverse=True)
        return cls(distances, indices, nearest_other_distances(training, searched)[position])


def authentic_fraction(neighbours: TrainingNeighbours) -> float:
    """Share of samples that are no closer to a training sample than its own kind is.

    A sample is authentic where its nearest training sample has a nearer neighbour among the
    training samples (Alaa et al. 2022, arXiv:2102.08921; AuthPct is 100 times this).

    Trap: real held-out samples are not all authentic. One is not where it and its nearest
    training sample are each other's nearest, which has probability 2/3 on a line and falls to
    1/2 in many dimensions: read the value beside that of held-out samples.

    Returns:
        In [0, 1]; 0 where every sample is a copy.
    """
    return float((neighbours.distances > neighbours.spacing).mean())


def training_distance_ratio(generated: TrainingNeighbours, held_out: TrainingNeighbours) -> float:
    """Median distance to the training set, of generated samples over held-out real ones.

    Raises:
        ValueError: Undefined, where the median held-out sample is itself a training sample.
    """
    reference = float(np.median(held_out.distances))
    if reference == 0.0:
        raise ValueError(
            "held_out: the ratio is undefined, as half of the held-out samples are training "
            "samples; give a test split that is disjoint from the training split"
        )
    return float(np.median(generated.distances)) / reference


def data_copying_z(generated: TrainingNeighbours, held_out: TrainingNeighbours) -> float:
    """C_T of Meehan, Chaudhuri and Dasgupta 2020 (arXiv:2004.05675), standard deviations.

    The Mann-Whitney z-score of generated against held-out distances to the training set:
    below about -3 generated samples are closer than real ones (copying), above 3 farther
    (underfitting, which hides copying). Ties count half, with the tie-corrected variance. The
    authors average it over cells of a k-means partition; here the whole space is one cell.

    Args:
        generated: Neighbours of generated samples, more than 20.
        held_out: Neighbours of real samples that were not trained on.

    Raises:
        ValueError: Too few generated samples.
    """
    if len(generated.distances) <= FEWEST:
        raise ValueError(
            f"generated: the data-copying test needs more than {FEWEST} generated samples, got "
            f"{len(generated.distances)}; raise the number of samples"
        )
    return _mann_whitney_z(generated.distances, held_out.distances)


def _mann_whitney_z(x: FloatArray, y: FloatArray) -> float:
    """z-score of the number of pairs x > y under equal distributions; 0 where all are equal."""
    n, m = len(x), len(y)
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, side="left") + np.searchsorted(ordered, x, side="right")
    ties = np.unique(np.concatenate([x, y]), return_counts=True)[1].astype(np.float64)
    total = n + m
    correction = float((ties**3 - ties).sum()) / (total * (total - 1.0))
    variance = n * m * (total + 1.0 - correction) / 12.0
    if variance <= 0.0:
        return 0.0
    return (float(below.sum()) / 2.0 - n * m / 2.0) / math.sqrt(variance)
