"""Subsets of an ordered set of images: a fixed random draw, or the first ones; and a check of them.

Sets are often sorted by class or drift from their first to their last image, so that the first N
are no sample of the set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, stdtr  # type: ignore[import-untyped, unused-ignore]

from vae_batch.models.sampling import standard_uniforms

Subset = Literal["random", "first"]
Positions = npt.NDArray[np.int64]

#: Whatever the run's seed is, so that runs of different seeds share one set of real images.
SUBSET_SEED = 0

#: Probability of a warning for a subset that is like the rest, over all statistics together.
TEST_LEVEL = 0.001

#: Images of either side that are looked at: of a reference, and of a set of generated images.
_MOST_SEEN, _MOST_SEEN_OF_SET = 1000, 200

#: Blocks of pixels along each side whose mean brightness is compared.
_BLOCKS = 3


def subset_positions(subset: Subset, size: int, count: int) -> Positions:
    """(size,) positions, ascending, of ``size`` images of a set of ``count``.

    The random draw is without replacement and depends on the two numbers alone.
    """
    if subset == "first" or size >= count:
        return np.arange(min(size, count))
    order = np.argsort(standard_uniforms(SUBSET_SEED, "subset", 0, count), kind="stable")
    return np.sort(order[:size]).astype(np.int64)


def subset_in_words(subset: Subset, size: int, count: int) -> str:
    """Such as ``all``, ``first 100 of 797`` or ``random 100 of 797``."""
    return "all" if size >= count else f"{subset} {size:,} of {count:,}"


def unlike_the_rest(
    size: int,
    count: int,
    read: Callable[[Positions], npt.NDArray[np.uint8]],
    labels: npt.NDArray[np.int64] | None,
) -> str | None:
    """Whether the first images of a set differ from its other ones, in a sentence; else None.

    Compares numbers of images per class by a chi-square test and, on at most 1,000 images of
    either side, the means of brightness, contrast and brightness of 9 blocks by Welch's t. All
    p-values are multiplied by the number of tests.

    Args:
        size: Number of first images.
        count: Images of the set.
        read: Images at positions as (n, H, W, C) uint8.
        labels: (count,) classes, or None.
    """
    if size < 2 or count - size < 2:
        return None
    p_values = {}
    if labels is not None:
        p_values["classes"] = _class_p_value(labels[:size], labels[size:])
    p_values |= _p_values(size, count, read, _MOST_SEEN)
    worst = _worst(p_values)
    return worst and (
        f"the first {size:,} of {count:,} reference images differ from the others in {worst}, so "
        "that they are no sample of the set; use reference_subset = random"
    )


def unlike_halves(count: int, read: Callable[[Positions], npt.NDArray[np.uint8]]) -> str | None:
    """Whether the halves of a set of generated images differ, in a sentence; else None.

    Args:
        count: Images of the set.
        read: As of ``unlike_the_rest``.
    """
    if count < 4:
        return None
    worst = _worst(_p_values(count // 2, count, read, _MOST_SEEN_OF_SET))
    return worst and (
        f"the first half of these images differs from the second in {worst}, as where images are "
        "sorted by class: the Inception Score over splits of successive images, and a race, take "
        "them in this order; shuffle them"
    )


def _p_values(
    size: int, count: int, read: Callable[[Positions], npt.NDArray[np.uint8]], most: int
) -> dict[str, float]:
    """Of equal means of the first ``size`` images and the others, by statistic."""
    ours, others = (
        _statistics(read(start + subset_positions("random", most, stop - start)))
        for start, stop in ((0, size), (size, count))
    )
    return {name: _welch_p_value(ours[name], others[name]) for name in ours}


def _worst(p_values: dict[str, float]) -> str | None:
    """The statistic that differs most, with its level; None where none differs."""
    tests = len(p_values)
    found = {name: p * tests for name, p in p_values.items() if p * tests < TEST_LEVEL}
    if not found:
        return None
    worst = min(found, key=lambda name: found[name])
    return f"{worst} (p < {TEST_LEVEL:g}, {tests} tests)"


def _statistics(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
    """Cheap numbers of each image, (n,) each."""
    grey = images.astype(np.float64).mean(axis=3)
    flat = grey.reshape(len(grey), -1)
    found = {"brightness": flat.mean(axis=1), "contrast": flat.std(axis=1)}
    rows = np.array_split(np.arange(grey.shape[1]), min(_BLOCKS, grey.shape[1]))
    columns = np.array_split(np.arange(grey.shape[2]), min(_BLOCKS, grey.shape[2]))
    for i, across in enumerate(rows):
        for j, down in enumerate(columns):
            block = grey[:, across[0] : across[-1] + 1, down[0] : down[-1] + 1]
            found[f"brightness of block {i + 1}, {j + 1}"] = block.mean(axis=(1, 2))
    return found


def _welch_p_value(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Two-sided, of equal means (Welch 1947, Biometrika 34)."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (a, b)]
    difference, variance = float(a.mean() - b.mean()), sum(parts)
    if variance == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    spread = sum(part**2 / (len(v) - 1) for part, v in zip(parts, (a, b), strict=True))
    return 2.0 * float(stdtr(variance**2 / spread, -abs(difference) / math.sqrt(variance)))


def _class_p_value(ours: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> float:
    """Of one distribution of classes on both sides, by Pearson's chi-square."""
    table = np.array(
        [
            np.bincount(side, minlength=int(max(ours.max(), others.max())) + 1)
            for side in (ours, others)
        ]
    )
    table = table[:, table.sum(axis=0) > 0].astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(chdtrc(table.shape[1] - 1, statistic)) if table.shape[1] > 1 else 1.0
