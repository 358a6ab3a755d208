"""Count, mean and scatter of activations: a value that merges over shards.

moments = Moments.empty(2048)
for activations in shards:                      # (n, 2048) each, in shard order
    moments = moments.merge(Moments.from_activations(activations))
moments.covariance                              # (2048, 2048), ddof 1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.validation import FloatArray, activation_array

SYMMETRY_TOLERANCE = 1e-10
"""Largest asymmetry of a given covariance, as a share of its largest entry."""


@dataclass(frozen=True, eq=False)
class CentredActivations:
    """Activations less their mean: the low-rank square root of their scatter.

    Attributes:
        mean: (d,) float64.
        rows: (n, d) float64, each column summing to zero up to rounding.
    """

    mean: FloatArray
    rows: FloatArray

    @classmethod
    def from_activations(cls, activations: ArrayLike) -> CentredActivations:
        """Centre (n, d) activations of any real dtype, in float64.

        Raises:
            ValueError: Not 2-D, empty, or non-finite (the error names the row).
        """
        array = activation_array("activations", activations, at_least=1)
        # Shifting by the first row first makes equal rows centre to exact zeros, so that a
        # collapsed decoder has zero variance and not rounding noise.
        origin = array[0].astype(np.float64)
        rows: FloatArray = np.subtract(array, origin, dtype=np.float64)
        offset = rows.mean(axis=0)
        rows -= offset
        return cls(origin + offset, rows)

    @property
    def count(self) -> int:
        """Number of samples n."""
        return len(self.rows)

    @property
    def dimension(self) -> int:
        """Number of activation dimensions d."""
        return int(self.rows.shape[1])

    @property
    def total_variance(self) -> float:
        """Trace of the covariance (ddof 1), without forming the covariance."""
        return float(np.vdot(self.rows, self.rows)) / (self.count - 1)

    @property
    def scatter(self) -> FloatArray:
        """(d, d) centred sum of outer products, exactly symmetric."""
        scatter: FloatArray = self.rows.T @ self.rows
        return scatter


@dataclass(frozen=True, eq=False)
class Moments:
    """First two moments of a set of activations; float64, read-only, mergeable.

    Laws: ``empty(d)`` merged on either side changes no bit; ``merge`` is associative and
    commutative up to rounding, so that merging in one fixed order repeats bit for bit.

    Attributes:
        count: Number of samples, >= 0.
        mean: (d,) float64.
        scatter: (d, d) float64, the centred sum of outer products sum_i (x_i - mean)(x_i - mean)^T;
            divide by count - 1 for the covariance.
    """

    count: int
    mean: FloatArray
    scatter: FloatArray

    def __post_init__(self) -> None:
        """Check shapes and finiteness; keep read-only views."""
        mean = np.asarray(self.mean, dtype=np.float64)
        scatter = np.asarray(self.scatter, dtype=np.float64)
        d = mean.size
        if mean.shape != (d,) or d == 0 or scatter.shape != (d, d):
            raise ValueError(
                f"moments: expected a mean of shape (d,) and a scatter of shape (d, d), "
                f"got {mean.shape} and {scatter.shape}"
            )
        if self.count < 0:
            raise ValueError(f"moments: expected a count of at least 0, got {self.count}")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("moments: expected a finite mean and scatter, got NaN or infinity")
        object.__setattr__(self, "mean", _read_only(mean))
        object.__setattr__(self, "scatter", _read_only(scatter))

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Moments of no samples in ``dimension`` dimensions: the identity of ``merge``."""
        if dimension < 1:
            raise ValueError(f"dimension: expected at least 1, got {dimension}")
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def from_activations(cls, activations: ArrayLike) -> Moments:
        """Moments of (n, d) activations of any real dtype, computed in float64 in two passes.

        Raises:
            ValueError: Not 2-D, empty, or non-finite (the error names the row).
        """
        centred = CentredActivations.from_activations(activations)
        return cls(centred.count, centred.mean, centred.scatter)

    @classmethod
    def from_covariance(cls, count: int, mean: ArrayLike, covariance: ArrayLike) -> Moments:
        """Moments from published statistics: n, (d,) mean and (d, d) covariance (ddof 1).

        Raises:
            ValueError: Count < 2, shapes that do not fit, or an asymmetric covariance.
        """
        if count < 2:
            raise ValueError(f"count: expected at least 2 samples, got {count}")
        matrix = np.asarray(covariance, dtype=np.float64)
        moments = cls(count, np.asarray(mean, dtype=np.float64), matrix * (count - 1))
        asymmetry = float(np.abs(matrix - matrix.T).max())
        if asymmetry > SYMMETRY_TOLERANCE * float(np.abs(matrix).max()):
            raise ValueError(
                f"covariance: expected a symmetric matrix, got entries that differ by {asymmetry:g}"
            )
        return moments

    @property
    def dimension(self) -> int:
        """Number of activation dimensions d."""
        return self.mean.size

    @property
    def total_variance(self) -> float:
        """Trace of the covariance.

        Raises:
            ValueError: Fewer than 2 samples.
        """
        return float(np.trace(self.scatter)) / self._degrees_of_freedom()

    @property
    def covariance(self) -> FloatArray:
        """(d, d) float64 sample covariance with ddof 1.

        Raises:
            ValueError: Fewer than 2 samples.
        """
        covariance: FloatArray = self.scatter / self._degrees_of_freedom()
        return covariance

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together.

        The centred pairwise update of Chan, Golub and LeVeque (The American Statistician
        37(3), 1983, eq. 2.1), for matrices in Pebay (SAND2008-6212, 2008): no sum of raw
        squares, so no cancellation where the mean is large beside the spread.

        Raises:
            ValueError: The dimensions differ.
        """
        if self.dimension != other.dimension:
            raise ValueError(
                f"moments: expected one dimension to merge, got {self.dimension} and "
                f"{other.dimension}; activations of different extractors do not mix"
            )
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = np.outer(delta, delta)
        scatter *= self.count * other.count / count
        scatter += self.scatter
        scatter += other.scatter
        return Moments(count, self.mean + delta * (other.count / count), scatter)

    def __eq__(self, other: object) -> bool:
        """Equality of every bit of value: the same count, mean and scatter."""
        if not isinstance(other, Moments):
            return NotImplemented
        return (
            self.count == other.count
            and np.array_equal(self.mean, other.mean)
            and np.array_equal(self.scatter, other.scatter)
        )

    __hash__ = None  # type: ignore[assignment]

    def _degrees_of_freedom(self) -> int:
        if self.count < 2:
            raise ValueError(
                f"moments: a covariance needs at least 2 samples, got {self.count}; "
                "merge more shards or raise the number of samples"
            )
        return self.count - 1


def _read_only(array: FloatArray) -> FloatArray:
    view = array.view()
    view.flags.writeable = False
    return view
