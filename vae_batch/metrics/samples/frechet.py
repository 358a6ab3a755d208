"""Fréchet distance between two Gaussians fitted to activations (FID when those are Inception's).

    |m_g - m_r|^2 + tr S_g + tr S_r - 2 tr (S_g S_r)^(1/2)

Dowson and Landau 1982 (J. Multivariate Analysis 12); as FID, Heusel et al. 2017
(arXiv:1706.08500). With S = F F^T the trace of the root is the sum of the singular values of
F_g^T F_r, or of the roots of the eigenvalues of the symmetric F_r^T S_g F_r: real and
non-negative by construction, where a matrix root of S_g S_r turns complex on singular input.
From n < d activations the factors are the n centred rows themselves (arXiv:2009.14075).

Trap: the distance is biased upwards by about tr S / n, so compare at one n only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.samples.moments import CentredActivations, Moments
from vae_batch.metrics.validation import (
    ActivationArray,
    FloatArray,
    activation_array,
    require_same_dimension,
)

EPSILON = float(np.finfo(np.float64).eps)

SMALL = 64
"""Up to this size singular values are cheap, and a spectrum is too short to show its noise."""

NOISE_MARGIN = 3.0
"""Eigenvalues up to this multiple of the most negative one are considered rounding noise."""

INDEFINITE = 1e-6
"""A negative eigenvalue beyond this share of its operands' size is no rounding error."""


@dataclass(frozen=True, eq=False)
class FrechetReference:
    """A reference set with the factor of its scatter, computed once for many checkpoints.

    A checkpoint then costs one product F^T S F and the eigenvalues of the result.

    Attributes:
        source: The reference's ``Moments``, or its centred activations where n < d.
        factor: (d, r) float64 with factor @ factor.T equal to the scatter.
        triangular: Whether ``factor`` is a lower Cholesky factor.
        activations: (m, d) activations that the reference is a sample of a distribution by; None
            where it is the population itself, or only its moments are known.
    """

    source: Moments | CentredActivations
    factor: FloatArray
    triangular: bool
    activations: ActivationArray | None = None

    @classmethod
    def from_moments(cls, moments: Moments) -> FrechetReference:
        """Factor the scatter: by Cholesky where it is safely definite, else by eigenvectors.

        Raises:
            ValueError: Fewer than 2 samples, or a scatter that is not semi-definite.
        """
        _require_two(moments, "reference")
        factor = _cholesky(moments)
        if factor is not None:
            return cls(moments, factor, triangular=True)
        return cls(moments, _eigenvector_factor(moments), triangular=False)

    @classmethod
    def from_activations(
        cls, activations: ArrayLike, is_population: bool = False
    ) -> FrechetReference:
        """Reference from (n, d) activations; where n < d their centred rows are the factor.

        Args:
            activations: Of any real dtype.
            is_population: Whether they are all that there is, and no sample.

        Raises:
            ValueError: Not 2-D, non-finite (names the row), or fewer than 2 samples.
        """
        found = cls._of(_gaussian_of(activations, "reference"))
        if is_population:
            return found
        return replace(found, activations=activation_array("reference", activations, at_least=2))

    @classmethod
    def _of(cls, source: Moments | CentredActivations) -> FrechetReference:
        if isinstance(source, Moments):
            return cls.from_moments(source)
        return cls(source, source.rows.T, triangular=False)


def frechet_distance(
    generated: Moments | ArrayLike, reference: Moments | FrechetReference | ArrayLike
) -> float:
    """Fréchet distance between Gaussians fitted to two sets of activations.

    Args:
        generated: ``Moments``, or (n, d) activations of any real dtype.
        reference: The same, or a ``FrechetReference`` when several checkpoints share it.

    Returns:
        The distance, >= 0, in squared units of an activation; exactly 0.0 for identical sets.
        Computed in float64; covariances have ddof 1.

    Raises:
        ValueError: Fewer than 2 samples, different d, non-finite activations (names the row).
    """
    sample = _gaussian_of(generated, "generated")
    prepared = (
        reference
        if isinstance(reference, FrechetReference)
        else FrechetReference._of(_gaussian_of(reference, "reference"))
    )
    source = prepared.source
    require_same_dimension(sample.dimension, source.dimension)
    if _identical(sample, source):
        return 0.0
    shift = sample.mean - source.mean
    # Each part is non-negative in exact arithmetic; clipping the second alone keeps a small
    # shift of the mean from drowning in its rounding.
    spread = sample.total_variance + source.total_variance - 2.0 * _trace_root(sample, prepared)
    return float(shift @ shift) + max(0.0, spread)


def trace_of_root(sample: Moments, reference: FrechetReference) -> float:
    """Trace of (S_g S_r)^(1/2) with the rounding that tools of the literature leave in it.

    Where both covariances are safely definite it is that of ``frechet_distance``, with which theirs
    agrees to about 1e-12. Else it is the sum of the real parts of the roots of all eigenvalues of
    the product, noise of about 1e-8 of the largest included, as a matrix root has it.

    Raises:
        ValueError: Different numbers of dimensions.
    """
    source = reference.source
    require_same_dimension(sample.dimension, source.dimension)
    if reference.triangular and _cholesky(sample) is not None:
        return _trace_root(sample, reference)
    product = sample.covariance @ (source.scatter / (source.count - 1))
    return float(np.sqrt(np.linalg.eigvals(product).astype(np.complex128)).real.sum())


def _gaussian_of(values: Moments | ArrayLike, name: str) -> Moments | CentredActivations:
    """Moments, or the centred rows where these are fewer than their dimensions."""
    if isinstance(values, Moments):
        _require_two(values, name)
        return values
    try:
        centred = CentredActivations.from_activations(values)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error
    _require_two(centred, name)
    if centred.count < centred.dimension:
        return centred
    return Moments(centred.count, centred.mean, centred.scatter)


def _require_two(gaussian: Moments | CentredActivations, name: str) -> None:
    if gaussian.count < 2:
        raise ValueError(
            f"{name}: a Fréchet distance needs at least 2 samples, got {gaussian.count}; "
            "raise the number of samples"
        )


def _identical(sample: Moments | CentredActivations, source: Moments | CentredActivations) -> bool:
    if sample.count != source.count or not np.array_equal(sample.mean, source.mean):
        return False
    if isinstance(sample, CentredActivations) and isinstance(source, CentredActivations):
        return bool(np.array_equal(sample.rows, source.rows))
    return bool(np.array_equal(sample.scatter, source.scatter))


def _trace_root(sample: Moments | CentredActivations, reference: FrechetReference) -> float:
    """Trace of (S_g S_r)^(1/2), with S the covariances."""
    source, factor = reference.source, reference.factor
    # n centred rows span at most n - 1 dimensions: eigenvalues beyond are exactly zero, and
    # the root of their rounding (1e-16) would add 1e-8 each.
    rank = min(sample.count - 1, source.count - 1, *factor.shape)
    if rank == 0:
        return 0.0
    if _is_small(sample, factor):
        rows = sample.rows if isinstance(sample, CentredActivations) else _factor(sample).T
        root = float(np.linalg.svd(rows @ factor, compute_uv=False)[:rank].sum())
    else:
        spectrum = np.linalg.eigvalsh(_product(sample, reference), UPLO="L")
        eigenvalues = np.asarray(spectrum, dtype=np.float64)
        scale = float(np.vdot(factor, factor)) * sample.total_variance * (sample.count - 1)
        root = float(np.sqrt(_above_noise(eigenvalues, rank, scale)).sum())
    return root / math.sqrt((sample.count - 1) * (source.count - 1))


def _is_small(sample: Moments | CentredActivations, factor: FloatArray) -> bool:
    if isinstance(sample, CentredActivations):
        return min(sample.count, int(factor.shape[1])) <= SMALL
    return sample.dimension <= SMALL


def _product(sample: Moments | CentredActivations, reference: FrechetReference) -> FloatArray:
    """Symmetric matrix, in its lower triangle, whose eigenvalues are those of the product."""
    factor = reference.factor
    product: FloatArray
    if isinstance(sample, CentredActivations):
        cross = sample.rows @ factor
        product = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    elif reference.triangular:
        # L^T S L with half of each operand: a quarter of the work of two full products. The
        # scatter is symmetric, so that its transpose only declares the order of its bytes.
        product, failure = lapack.dsygst(sample.scatter.T, factor, itype=2, lower=1)
        if failure:
            raise ValueError(f"generated: LAPACK dsygst rejected argument {-failure}")
    else:
        product = factor.T @ (sample.scatter @ factor)
    return product


def _factor(moments: Moments) -> FloatArray:
    cholesky = _cholesky(moments)
    return _eigenvector_factor(moments) if cholesky is None else cholesky


def _cholesky(moments: Moments) -> FloatArray | None:
    """Lower Cholesky factor of the scatter, or None where it may be singular.

    A pivot is a dimension's variance left over by those before it. Left-overs of the size of
    rounding mean dependent dimensions: their roots would be noise of 1e-8, not 1e-16.
    """
    d = moments.dimension
    variances = np.diag(moments.scatter)
    if moments.count <= d or variances.min() <= 0.0:
        return None
    try:
        factor = np.linalg.cholesky(moments.scatter)
    except np.linalg.LinAlgError:
        return None
    if np.min(np.diag(factor) ** 2 / variances) <= max(d, SMALL) * EPSILON:
        return None
    return np.asfortranarray(factor)


def _eigenvector_factor(moments: Moments) -> FloatArray:
    """(d, r) scaled eigenvectors of the scatter, for its r eigenvalues above the noise."""
    eigenvalues, vectors = np.linalg.eigh(moments.scatter)
    rank = min(moments.count - 1, moments.dimension)
    largest = max(0.0, float(eigenvalues[-1]))
    floor = SMALL * EPSILON * largest
    kept = _above_noise(eigenvalues, rank, scale=largest, floor=floor)
    r = len(kept)
    factor: FloatArray = vectors[:, len(eigenvalues) - r :] * np.sqrt(kept)
    return factor


def _above_noise(
    eigenvalues: FloatArray, rank: int, scale: float, floor: float = 0.0
) -> FloatArray:
    """The largest eigenvalues that are not rounding, ascending, at most ``rank`` of them.

    The exact matrix is semi-definite, so that the most negative eigenvalue measures the
    noise. A threshold fixed at d eps instead errs by 1e-7 where the spectrum merely decays.

    Raises:
        ValueError: An eigenvalue is negative beyond rounding at this ``scale`` of the operands.
    """
    noise = max(0.0, -float(eigenvalues[0]))
    if noise > INDEFINITE * scale:
        raise ValueError(
            f"covariance: expected a positive semi-definite matrix, got eigenvalues from "
            f"{eigenvalues[0]:g} to {eigenvalues[-1]:g}; check how its moments were made"
        )
    top = eigenvalues[max(0, len(eigenvalues) - rank) :]
    return top[top > max(NOISE_MARGIN * noise, floor)]
