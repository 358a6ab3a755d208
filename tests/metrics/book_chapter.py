"""The book chapter "Evaluating VAEs", corrected.

The functions below compute the chapter's own formulas, in float64, and refuse inputs on which
those formulas' assumptions do not hold. They are for comparison with numbers that the chapter's
code printed; nothing else here calls them. What its code does, what `vae_batch` does instead, and
why: `vae_batch/docs/book.md`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import sqrtm  # type: ignore[import-untyped, unused-ignore]
from scipy.stats import entropy  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.samples.inception import InceptionScore
from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_finite,
    require_matrix,
    require_range,
    require_same_shape,
    sample_rows,
)

CLIP = 1e-7
"""keras.config.epsilon(), the clip of keras.losses.binary_crossentropy."""

FLOAT32_EXP_LIMIT = 88.7
"""exp of more overflows float32, in which the chapter computes."""

ROW_SUM_TOLERANCE = 1e-5
"""How far rows may be from summing to 1: a float32 softmax passes."""

IMAGINARY_TOLERANCE = 1e-3
"""Largest imaginary part of a matrix root's diagonal that is no sign of a wrong result."""


class BookReconstructionLoss(NamedTuple):
    """The chapter's `loss`, and the `ratio` by which the sum over pixel values is larger."""

    loss: float
    ratio: int


def book_reconstruction_loss(p: ArrayLike, x: ArrayLike) -> BookReconstructionLoss:
    """Keras' binary cross entropy (a mean over the last axis) times shape[1], averaged.

    Args:
        p: (n, d, ...) probabilities, clipped to [1e-7, 1 - 1e-7].
        x: the same shape, targets in [0, 1].

    Returns:
        The chapter's number and prod(shape[2:]): the mean NLL an image is loss x ratio, and
        the chapter's number itself where the ratio is 1.

    Raises:
        ValueError: shapes differ or have no second axis, values that are not finite, or not in
            [0, 1].
    """
    require_same_shape("p", p, "x", x)
    shape = np.shape(x)
    if len(shape) < 2:
        raise ValueError(f"x: expected (n, d) or images, since shape[1] is used, got {shape}")
    rows, targets = sample_rows("p", p), sample_rows("x", x)
    require_range("p", rows, 0.0, 1.0, "apply a sigmoid to logits")
    require_range("x", targets, 0.0, 1.0, "scale 8-bit images by 1/255")
    inner = np.clip(rows, CLIP, 1.0 - CLIP)
    cross_entropy = -(targets * np.log(inner) + (1.0 - targets) * np.log(1.0 - inner))
    return BookReconstructionLoss(float(cross_entropy.mean()) * shape[1], math.prod(shape[2:]))


def book_kl(mean: ArrayLike, logvar: ArrayLike) -> float:
    """Mean over images of -sum(1 + logvar - mean^2 - exp(logvar)) / 2 over the last axis.

    Args:
        mean: (n, d) posterior means.
        logvar: (n, d) log variances of at most 88.7.

    Raises:
        ValueError: latents with more axes, of which the formula would sum only the last;
            shapes that differ; or log variances whose exp overflows float32.
    """
    require_same_shape("mean", mean, "logvar", logvar)
    means, logvars = _matrix("mean", mean), _matrix("logvar", logvar)
    require_range("logvar", logvars, -math.inf, FLOAT32_EXP_LIMIT, "use gaussian_kl")
    kl = -0.5 * (1.0 + logvars - means**2 - np.exp(logvars)).sum(axis=-1)
    return float(kl.mean())


def book_inception_score(probabilities: ArrayLike, splits: int = 10) -> InceptionScore:
    """Mean and deviation over contiguous splits of the rows as they are given.

    Args:
        probabilities: (n, c) rows that sum to 1 within 1e-5. Rows ordered by class pass, and
            are scored too low: their order is the caller's to know.
        splits: number of splits, a divisor of n.

    Raises:
        ValueError: rows that are no probabilities, or splits that do not divide n (the
            chapter's code drops the rest, or divides by 0).
    """
    rows = _matrix("probabilities", probabilities)
    sums = rows.sum(axis=1)
    wrong = (rows < 0).any(axis=1) | (np.abs(sums - 1.0) > ROW_SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            "probabilities: expected non-negative rows that sum to 1, got row "
            f"{row} with sum {sums[row]:g}; the chapter's marginal averages rows as they are"
        )
    if splits < 1 or len(rows) % splits:
        raise ValueError(
            f"splits: expected a divisor of {len(rows)} samples, got {splits}; the chapter's "
            "code drops samples beyond whole splits, use inception_score"
        )
    scores = [
        math.exp(float(np.mean(entropy(part, part.mean(axis=0, keepdims=True), axis=1))))
        for part in np.split(rows, splits)
    ]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def book_frechet_distance(generated: ArrayLike, reference: ArrayLike) -> float:
    """|m_g - m_r|^2 + tr(S_g + S_r - 2 sqrtm(S_g S_r)), covariances by np.cov (ddof 1).

    Args:
        generated: (n, d) activations with n > d >= 2.
        reference: (m, d) activations with m > d.

    Raises:
        ValueError: fewer samples than dimensions + 1, one dimension, constant or repeated
            activations, or a matrix root that is not real.
    """
    x, y = _matrix("generated", generated), _matrix("reference", reference)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"generated and reference: expected one dimension, got {x.shape[1]} and {y.shape[1]}"
        )
    S, R = _covariance("generated", x), _covariance("reference", y)
    root = np.trace(sqrtm(S @ R))
    if abs(root.imag) > IMAGINARY_TOLERANCE * abs(root):
        raise ValueError(
            f"generated and reference: the root of their covariances' product has trace {root:g}; "
            "use frechet_distance, which stays real"
        )
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(S) + np.trace(R) - 2.0 * root.real)


def _matrix(name: str, values: ArrayLike) -> FloatArray:
    array = real_array(name, values)
    require_matrix(name, array)
    require_finite(name, array)
    return array.astype(np.float64, copy=False)


def _covariance(name: str, rows: FloatArray) -> FloatArray:
    n, d = rows.shape
    if d < 2 or n <= d:
        raise ValueError(
            f"{name}: expected more samples than dimensions and at least 2 dimensions, got {n} "
            f"samples of {d}; the chapter's matrix root fails there, use frechet_distance"
        )
    covariance: FloatArray = np.cov(rows, rowvar=False)
    spectrum = np.linalg.eigvalsh(covariance)
    if spectrum[0] <= d * np.finfo(np.float64).eps * spectrum[-1]:
        raise ValueError(
            f"{name}: expected a covariance of full rank, got a smallest eigenvalue of "
            f"{spectrum[0]:g}; the chapter's matrix root fails there, use frechet_distance"
        )
    return covariance
