"""Checks of activations that enter a metric as rows, in their own dtype."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_batch.metrics.validation import real_array, require_finite, require_matrix

ActivationArray = NDArray[np.generic]
"""(n, d) activations of any real dtype; metrics convert blocks of them to float64."""


def activation_array(name: str, values: ArrayLike, at_least: int) -> ActivationArray:
    """Return (n, d) finite activations without converting or copying them.

    Raises:
        ValueError: not 2-D, empty, non-finite (names the row), or n < `at_least`.
    """
    array = real_array(name, values)
    require_matrix(name, array)
    require_finite(name, array)
    if len(array) < at_least:
        raise ValueError(
            f"{name}: expected at least {at_least} samples, got {len(array)}; "
            "raise the number of samples"
        )
    return array


def require_same_dimension(generated: int, reference: int) -> None:
    """Check that two sets of activations have one number of dimensions.

    Raises:
        ValueError: names both.
    """
    if generated != reference:
        raise ValueError(
            f"generated and reference: expected one dimension, got {generated} and "
            f"{reference}; both must come from the same extractor"
        )
