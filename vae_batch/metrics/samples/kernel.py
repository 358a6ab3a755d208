"""Kernel distance: the squared maximum mean discrepancy (KID when activations are Inception's).

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (x.y / d + 1)^3

over pairs of different rows: unbiased at any n. Binkowski et al. 2018 (arXiv:1801.01401);
Gretton et al. 2012 (JMLR 13), eq. 3.

Traps: the unbiased value may be negative, near and at equality, also for a set against itself.
The field's "std" over random subsets is no standard error; it grows as the subsets shrink.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.validation import (
    ActivationArray,
    FloatArray,
    activation_array,
    require_same_dimension,
    row_blocks,
)

BLOCK = 2048
"""Rows of either set at once: at d = 2048 two blocks and their kernel fill 100 MB of float64."""

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020
"""Of random subsets, as torch-fidelity 0.4 has them."""


class KernelDistance(NamedTuple):
    """``value``, unbiased and so possibly negative, and its ``standard_error``, >= 0."""

    value: float
    standard_error: float


class SubsetKernelDistance(NamedTuple):
    """``mean`` and ``std`` (ddof 0) over random subsets, as papers print KID."""

    mean: float
    std: float


class KernelInfluence(NamedTuple):
    """A kernel distance and what it is made of.

    Attributes:
        distance: Over all pairs.
        influence: (n,) of each generated sample on it, with mean zero.
        reference_influence: (m,) of each reference sample, with mean zero.
        subsets: Over random subsets; None where the reference has none.
    """

    distance: KernelDistance
    influence: FloatArray
    reference_influence: FloatArray
    subsets: SubsetKernelDistance | None

    @property
    def score(self) -> PairedScore:
        """The distance, to be compared with that of another checkpoint."""
        return PairedScore(
            self.distance.value, self.influence, reference_influence=self.reference_influence
        )


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


@dataclass(frozen=True, eq=False)
class KernelReference:
    """A reference set with its sums within, computed once for many checkpoints.

    Attributes:
        activations: (m, d) in their own dtype.
        subsets: Random subsets whose distances are wanted beside that of all pairs, or None.
        within: (m,) float64, the sum over the other rows y' of k(y, y').
        within_subsets: (s,) float64, the sum over the pairs of different rows of each subset.
    """

    activations: ActivationArray
    subsets: KernelSubsets | None
    within: FloatArray
    within_subsets: FloatArray

    @classmethod
    def from_activations(
        cls, activations: ArrayLike, subsets: KernelSubsets | None = None
    ) -> KernelReference:
        """Reference from (m, d) activations of any real dtype, m >= 3.

        Args:
            activations: Of the reference.
            subsets: Drawn for m reference rows and as many generated ones as will be compared;
                their distances cost a twentieth of that of all pairs beside it.

        Raises:
            ValueError: Not 2-D, fewer than 3 samples, non-finite (names the row), or subsets of
                another number of rows.
        """
        rows = activation_array("reference", activations, at_least=3)
        drawn = subsets.reference if subsets is not None else np.empty((len(rows), 0))
        return cls(rows, subsets, *_sums_within(_Members.of("reference", rows, drawn)))


def kernel_distance(generated: ArrayLike, reference: KernelReference | ArrayLike) -> KernelDistance:
    """Kernel distance over all pairs, with its delete-one jackknife standard error.

    The error covers the sampling of both sets. It needs only the row sums of the kernel, and
    agrees with a jackknife over 20 blocks without the choice of blocks. In simulations it is
    within a few per cent of the true error where the distance is significant, and 1.5 times
    it at equality, where an unbiased variance (arXiv:1906.02104) is at times negative and
    covers 86 % for 95. An error from disjoint blocks, which drop most pairs, is 5 times it there.

    Args:
        generated: (n, d) activations of any real dtype, n >= 3.
        reference: (m, d) activations, m >= 3, or a ``KernelReference``.

    Returns:
        Value and standard error; computed in float64 blocks, so that memory does not grow with n m.
        In float32 the value would err by 2e-7 of itself.

    Raises:
        ValueError: Not 2-D, fewer than 3 samples, different d, non-finite (names the row).
    """
    return kernel_influence(generated, reference).distance


def kernel_influence(
    generated: ArrayLike, reference: KernelReference | ArrayLike
) -> KernelInfluence:
    """``kernel_distance``, and what each sample of either set adds to it to first order.

    The Hajek projection of the U-statistic (Hoeffding 1948): twice the mean kernel of a sample
    with the other generated ones less that with the reference, less its mean. Between checkpoints
    that decode the same latents, differences index by index give the error of the difference.

    Raises:
        ValueError: As ``kernel_distance``.
    """
    rows = activation_array("generated", generated, at_least=3)
    if not isinstance(reference, KernelReference):
        reference = KernelReference.from_activations(reference)
    require_same_dimension(rows.shape[1], reference.activations.shape[1])
    theirs, subsets = reference.activations, reference.subsets
    n, m = len(rows), len(theirs)
    drawn = subsets or KernelSubsets(0, np.empty((n, 0)), np.empty((m, 0)))
    ours = _Members.of("generated", rows, drawn.generated)
    within, within_subsets = _sums_within(ours)
    to_reference, to_generated, between_subsets = _sums_between(
        ours, _Members.of("reference", theirs, drawn.reference)
    )
    value = (
        within.sum() / (n * (n - 1))
        + reference.within.sum() / (m * (m - 1))
        - 2.0 * to_reference.sum() / (n * m)
    )
    variance = _jackknife_variance(within, to_reference / m)
    variance += _jackknife_variance(reference.within, to_generated / n)
    influence = 2.0 * (within / (n - 1) - to_reference / m)
    theirs_influence = 2.0 * (reference.within / (m - 1) - to_generated / n)
    of_subsets = None
    if subsets is not None:
        sums = within_subsets + reference.within_subsets
        of_subsets = _mean_of_subsets(sums, between_subsets, subsets.size)
    distance = KernelDistance(float(value), math.sqrt(variance))
    return KernelInfluence(
        distance,
        influence - influence.mean(),
        theirs_influence - theirs_influence.mean(),
        of_subsets,
    )


def _mean_of_subsets(within: FloatArray, between: FloatArray, size: int) -> SubsetKernelDistance:
    """From the sums over each subset's pairs within both sets, and between them."""
    values = within / (size * (size - 1)) - 2.0 * between / size**2
    return SubsetKernelDistance(float(values.mean()), float(values.std()))


def _kernel(x: FloatArray, y: FloatArray) -> FloatArray:
    inner: FloatArray = x @ y.T
    inner /= x.shape[1]
    inner += 1.0
    # Products: numpy's general power is ten times slower.
    kernel: FloatArray = inner * inner
    kernel *= inner
    return kernel


@dataclass(frozen=True, eq=False)
class _Members:
    """Rows of a set, and the subsets that each is in."""

    rows: ActivationArray
    subsets: FloatArray

    @classmethod
    def of(cls, name: str, rows: ActivationArray, subsets: FloatArray) -> _Members:
        if len(subsets) != len(rows):
            raise ValueError(
                f"{name}: subsets were drawn from {len(subsets)} samples, got {len(rows)}; draw "
                "them for as many as there are"
            )
        return cls(rows, subsets)

    def blocks(self, start: int = 0) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Range, rows and memberships of some rows at a time."""
        for block in row_blocks(len(self.rows) - start, BLOCK):
            part = slice(start + block.start, start + block.stop)
            yield part, self.rows[part].astype(np.float64), self.subsets[part]


def _sums_within(members: _Members) -> tuple[FloatArray, FloatArray]:
    """(n,) sum of the kernel of each row with every other row, from half of the pairs.

    And (s,) that of all pairs of different rows of each subset.
    """
    sums, of_subsets = np.zeros(len(members.rows)), np.zeros(members.subsets.shape[1])
    for part, x, a in members.blocks():
        kernel = _kernel(x, x)
        np.fill_diagonal(kernel, 0.0)
        sums[part] += kernel.sum(axis=1)
        of_subsets += _sums_of_subsets(kernel, a, a)
        for other, y, b in members.blocks(part.stop):
            kernel = _kernel(x, y)
            sums[part] += kernel.sum(axis=1)
            sums[other] += kernel.sum(axis=0)
            of_subsets += 2.0 * _sums_of_subsets(kernel, a, b)
    return sums, of_subsets


def _sums_between(members: _Members, others: _Members) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(n,) and (m,) sums of the kernel of each row of one set with all rows of the other.

    And (s,) that of all pairs of each subset of one with the subset of the other.
    """
    to_others, to_rows = np.zeros(len(members.rows)), np.zeros(len(others.rows))
    of_subsets = np.zeros(members.subsets.shape[1])
    for part, x, a in members.blocks():
        for other, y, b in others.blocks():
            kernel = _kernel(x, y)
            to_others[part] += kernel.sum(axis=1)
            to_rows[other] += kernel.sum(axis=0)
            of_subsets += _sums_of_subsets(kernel, a, b)
    return to_others, to_rows, of_subsets


def _sums_of_subsets(kernel: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """(s,) sum over each subset's pairs of a (h, w) block of kernel values.

    Args:
        kernel: (h, w).
        rows: (h, s) membership of its rows.
        columns: (w, s) membership of its columns.
    """
    sums: FloatArray = np.einsum("is,is->s", rows, kernel @ columns)
    return sums


def _jackknife_variance(within: FloatArray, mean_between: FloatArray) -> float:
    """(n-1)/n sum of squares of the values without each row, less their mean.

    Without row i the value is constant - 2/(n-1) (within_i / (n-2) - mean_between_i).
    """
    n = len(within)
    return 4.0 * float((within / (n - 2) - mean_between).var(ddof=1)) / n
