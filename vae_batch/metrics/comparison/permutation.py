"""Permutation tests over paired indices: p-values that lean on no standard error.

Where two checkpoints are equally good, index i of one could as well have come from the other:
swapping the two at random indices leaves the distribution of their difference as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import FloatArray, real_array, require_finite

BLOCK_VALUES = 1 << 22
"""Signs that are float64 at once: 32 MB."""


def sign_flip_test(differences: ArrayLike, permutations: int = 9999, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference under random signs.

    All 2^n sign patterns are used where these are no more than ``permutations`` + 1; otherwise
    ``permutations`` random ones and the observed, (1 + #{as extreme}) / (1 + permutations), which
    is a valid p-value at any number of them (Phipson and Smyth 2010, SAGMB 9(1)).

    Args:
        differences: (n,) per-index differences, of losses or of influences.
        permutations: Number of random sign patterns.
        seed: Of numpy's ``default_rng``.

    Returns:
        In (0, 1]; at least 2^(1 - n) or 1 / (1 + permutations).

    Raises:
        ValueError: Not (n,) with n >= 1, non-finite, or fewer than 1 permutation.
    """
    d = real_array("differences", differences).astype(np.float64)
    if d.ndim != 1 or d.size == 0:
        raise ValueError(
            f"differences: expected one value an index, shape (n,), got {np.shape(differences)}"
        )
    require_finite("differences", d)
    _require_permutations(permutations)
    # Sums that are equal but for rounding are ties, and count.
    extreme = abs(float(d.sum())) * (1.0 - 1e-12)
    if d.size < 63 and 2**d.size <= permutations + 1:
        return float((np.abs(_all_signs(d.size) @ d) >= extreme).mean())
    rng = np.random.default_rng(seed)
    reached = 0
    step = max(1, BLOCK_VALUES // d.size)
    for start in range(0, permutations, step):
        shape = (min(step, permutations - start), d.size)
        signs = 2.0 * rng.integers(0, 2, size=shape, dtype=np.int8) - 1.0
        reached += int((np.abs(signs @ d) >= extreme).sum())
    return (1 + reached) / (1 + permutations)


def swap_test(
    difference: Callable[[NDArray[Any], NDArray[Any]], float],
    a: ArrayLike,
    b: ArrayLike,
    permutations: int = 199,
    seed: int = 0,
) -> float:
    """Two-sided p-value of any difference of two scores, by swapping rows of the same index.

    For scores whose influence function vanishes, as that of a Fréchet distance between equal
    distributions does: the whole score is computed anew for each permutation.

    Args:
        difference: Of (n, ...) rows of a and of b, antisymmetric in them; for instance ``lambda a,
            b: frechet_distance(a, reference) - frechet_distance(b, reference)``.
        a: (n, ...) rows, such as activations, of one checkpoint.
        b: The same indices of the other.
        permutations: Number of random patterns of swaps.
        seed: Of numpy's ``default_rng``.

    Returns:
        In [1 / (1 + permutations), 1].

    Raises:
        ValueError: Shapes that differ, no rows, or fewer than 1 permutation.
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.shape != right.shape or left.ndim == 0 or len(left) == 0:
        raise ValueError(
            "a and b: expected rows of the same indices on both sides, at least one, got shapes "
            f"{left.shape} and {right.shape}"
        )
    _require_permutations(permutations)
    extreme = abs(difference(left, right)) * (1.0 - 1e-12)
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(permutations):
        swapped = rng.integers(0, 2, size=len(left)).astype(bool)
        swapped = swapped.reshape(-1, *[1] * (left.ndim - 1))
        ours, theirs = np.where(swapped, right, left), np.where(swapped, left, right)
        reached += abs(difference(ours, theirs)) >= extreme
    return (1 + reached) / (1 + permutations)


def _all_signs(n: int) -> FloatArray:
    """The (2^n, n) patterns of signs."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return bits.astype(np.float64) * 2.0 - 1.0


def _require_permutations(permutations: int) -> None:
    if permutations < 1:
        raise ValueError(f"permutations: expected at least 1, got {permutations}")
