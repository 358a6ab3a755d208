"""Influence of each sample on a Fréchet distance.

    psi_a = frechet_influence(a, reference)                # (n,), index i one latent sample
    psi_b = frechet_influence(b, reference)
    sd(psi_a - psi_b) / sqrt(n)                            # error of the difference a - b

Where checkpoints decode the same latents, their common noise cancels index by index.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.samples.frechet import EPSILON, FrechetReference
from vae_batch.metrics.samples.moments import Moments
from vae_batch.metrics.validation import (
    ActivationArray,
    FloatArray,
    activation_array,
    require_same_dimension,
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
    for part in _parts(rows):
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
    blocks = (Moments.from_activations(rows[part]) for part in _parts(rows))
    return reduce(Moments.merge, blocks)


def _parts(rows: ActivationArray) -> Iterator[slice]:
    for start in range(0, len(rows), BLOCK):
        yield slice(start, min(start + BLOCK, len(rows)))


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
