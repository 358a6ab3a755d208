"""Random subsets of two sets, as papers draw them for the kernel distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_batch.metrics.validation import FloatArray

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020
"""As torch-fidelity 0.4 has them."""


@dataclass(frozen=True, eq=False)
class KernelSubsets:
    """Which rows of either set are in which random subset.

    Attributes:
        size: Rows of a subset.
        generated: (n, s) float64, 1 where a generated row is in a subset, else 0.
        reference: (m, s) the same of the reference's rows.
    """

    size: int
    generated: FloatArray
    reference: FloatArray

    @classmethod
    def draw(
        cls,
        generated: int,
        reference: int,
        subsets: int = SUBSETS,
        subset_size: int = SUBSET_SIZE,
        seed: int = SUBSET_SEED,
    ) -> KernelSubsets:
        """Draw subsets of so many generated and reference rows, as torch-fidelity 0.4 does.

        From one ``np.random.RandomState(seed)`` without replacement, generated first, so that both
        give the same numbers.

        Raises:
            ValueError: A subset larger than a set or smaller than 2, or no subsets.
        """
        if subsets < 1 or subset_size < 2:
            raise ValueError(
                "subsets: expected at least 1 subset of at least 2 samples, got "
                f"{subsets} of {subset_size}"
            )
        for name, count in (("generated", generated), ("reference", reference)):
            if count < subset_size:
                raise ValueError(
                    f"{name}: expected at least {subset_size} samples, got {count}; "
                    "raise the number of samples"
                )
        rng = np.random.RandomState(seed)
        drawn = cls(subset_size, np.zeros((generated, subsets)), np.zeros((reference, subsets)))
        for i in range(subsets):
            drawn.generated[rng.choice(generated, subset_size, replace=False), i] = 1.0
            drawn.reference[rng.choice(reference, subset_size, replace=False), i] = 1.0
        return drawn


def sums_of_subsets(kernel: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """(s,) sum over each subset's pairs of a (h, w) block of kernel values.

    Args:
        kernel: (h, w).
        rows: (h, s) membership of its rows.
        columns: (w, s) membership of its columns.
    """
    sums: FloatArray = np.einsum("is,is->s", rows, kernel @ columns)
    return sums
