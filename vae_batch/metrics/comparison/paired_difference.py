"""Difference of two scores over shared indices, with its error; and p-values of many at once.

    paired_difference(nll_b, nll_a)                     # (n,) per-index losses: a mean
    paired_difference(PairedScore(fid_b, psi_b), PairedScore(fid_a, psi_a))

Checkpoints share latent samples, image order and noise, so that index i is one draw in all of
them, and differences are taken index by index: what the draws have in common cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.validation import FloatArray, real_array, require_finite

LARGEST_RATIO = 0.5
"""The second bias correction as a share of the first above which their series is not trusted."""


@dataclass(frozen=True, eq=False)
class PairedScore:
    """A score and the influence of each index on it, to first order value ~ truth + mean.

    Attributes:
        value: The score itself.
        influence: (n,) float64 influence of each index, in the score's unit: the values less their
            mean for a mean loss, psi for a Fréchet distance (metrics such as FID).
        is_mean: Whether the score is the mean of per-index values, its influence being exact.
        reference_influence: (m,) float64 influence of each reference image, where the reference is
            itself a sample; None where the score does not depend on one, or is about these images.
        last_correction: The last term of a series of bias corrections that ``value`` contains, in
            the score's unit, or a multiple of it: about the bias that may be left. 0 where there
            is no bias.
    """

    value: float
    influence: FloatArray
    is_mean: bool = False
    reference_influence: FloatArray | None = None
    last_correction: float = 0.0

    def __post_init__(self) -> None:
        """Check that the numbers are finite and each influence one number an index."""
        influence = _per_index("influence", self.influence)
        if not (math.isfinite(self.value) and math.isfinite(self.last_correction)):
            raise ValueError(
                f"score: expected a finite value and correction, got {self.value} and "
                f"{self.last_correction}"
            )
        object.__setattr__(self, "influence", influence)
        if self.reference_influence is not None:
            reference = _per_index("reference_influence", self.reference_influence)
            object.__setattr__(self, "reference_influence", reference)

    @classmethod
    def from_values(cls, values: ArrayLike) -> PairedScore:
        """The mean of (n,) per-index values, such as losses in nats.

        Raises:
            ValueError: Not (n,), fewer than 2, or non-finite (names the row).
        """
        array = _per_index("values", values)
        mean = float(array.mean())
        return cls(mean, array - mean, is_mean=True)

    @property
    def standard_error(self) -> float:
        """Standard error of the score by the sampling of both sides, sd / sqrt(n) each, ddof 1."""
        return math.hypot(
            _standard_error(self.influence), _standard_error(self.reference_influence)
        )

    def interval(self, level: float = 0.95) -> Interval:
        """Normal interval, wider on both sides by the size of the last bias correction.

        Raises:
            ValueError: A level outside (0, 1).
        """
        return Interval.around(self.value, self.standard_error, level, abs(self.last_correction))

    def first_correction(self, plug_in: float) -> float:
        """What the first of two bias corrections added to a score, in its unit."""
        return self.value - self.last_correction - plug_in

    def unsettled_bias(self, plug_in: float, unit: str = "") -> str | None:
        """Why the series of bias corrections is not trusted, in words; None where it is.

        The last correction must be small against the first, unless noise explains it: both are
        sums of it where the bias is small.

        Args:
            plug_in: The score before two corrections, in its unit.
            unit: What follows a number of it, such as `` nats``.
        """
        first, last = self.first_correction(plug_in), self.last_correction
        if abs(last) <= max(LARGEST_RATIO * abs(first), self.standard_error):
            return None
        return (
            f"the bias cannot be estimated: its second correction, {last:.3g}{unit}, is not small "
            f"against the first, {first:.3g}"
        )

    def with_value(self, value: float) -> PairedScore:
        """The same score by another estimator, such as an Inception Score freed of its bias.

        To first order the influences on a score that is an exponential scale with its value;
        those on a mean stay, whose value differs by rounding only.
        """
        if value == self.value:
            return self
        if self.is_mean:
            return replace(self, value=value)
        ratio = value / self.value
        reference = self.reference_influence
        return PairedScore(
            value,
            self.influence * ratio,
            reference_influence=None if reference is None else reference * ratio,
            last_correction=self.last_correction * ratio,
        )


def paired_score(score: PairedScore | ArrayLike) -> PairedScore:
    """The score itself, or the mean of (n,) per-index values."""
    return score if isinstance(score, PairedScore) else PairedScore.from_values(score)


@dataclass(frozen=True)
class PairedDifference:
    """Difference a - b of two scores over the same indices.

    Attributes:
        difference: A - b, in the score's unit.
        standard_error: sd(influence_a - influence_b) / sqrt(n), ddof 1, and the same of the
            reference's images, added in squares.
        low: Lower end of the confidence interval.
        high: Upper end.
        p_value: two-sided, of no difference beyond ``bias_allowance``.
        count: Number of indices n.
        unpaired_standard_error: What independent draws would have had; compare it with
            ``standard_error`` instead of assuming that pairing helps.
        bias_allowance: By how much the difference may be biased, >= 0, which the interval and the
            p-value allow for: the difference of the last bias corrections of both.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float
    count: int
    unpaired_standard_error: float
    bias_allowance: float = 0.0


def paired_difference(
    a: PairedScore | ArrayLike, b: PairedScore | ArrayLike, confidence: float = 0.95
) -> PairedDifference:
    """Difference of two scores whose index i is the same draw, with a t interval.

    Student's t with n - 1 degrees of freedom: exact for normal differences of means, and by the
    central limit theorem for others; at n = 10,000 it is the normal distribution. Where the
    reference is a sample, both scores share its noise, which cancels image by image, too, but not
    entirely. What may be left of the biases of both cancels as far as they are alike.

    Args:
        a: A ``PairedScore``, or the (n,) per-index values of a mean.
        b: The same, over the same indices in the same order.
        confidence: Probability content of the interval.

    Raises:
        ValueError: Other lengths, fewer than 2 indices, non-finite values, or influences that are
            equal although the scores differ, so that no error can be had from them.
    """
    left, right = paired_score(a), paired_score(b)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    n = len(left.influence)
    if len(right.influence) != n:
        raise ValueError(
            f"a and b: expected the same indices on both sides, got {n} and "
            f"{len(right.influence)}; score both at one number of samples"
        )
    difference = left.value - right.value
    of_reference = _standard_error(_reference_difference(left, right))
    error = math.hypot(_standard_error(left.influence - right.influence), of_reference)
    if error == 0.0 and difference != 0.0 and not (left.is_mean and right.is_mean):
        raise ValueError(
            f"a and b: the scores differ by {difference:g} but their influences do not, so "
            "that the difference has no standard error"
        )
    allowance = abs(left.last_correction - right.last_correction)
    half = error * float(stdtrit(n - 1, 0.5 + confidence / 2.0)) + allowance
    return PairedDifference(
        difference,
        error,
        difference - half,
        difference + half,
        _two_sided_p(max(0.0, abs(difference) - allowance), error, n),
        n,
        math.hypot(_standard_error(left.influence), _standard_error(right.influence), of_reference),
        allowance,
    )


def _reference_difference(a: PairedScore, b: PairedScore) -> FloatArray | None:
    """Differences of the influences of the reference's images; None where it is no sample."""
    left, right = a.reference_influence, b.reference_influence
    if left is None and right is None:
        return None
    if left is None or right is None or len(left) != len(right):
        sizes = ["none" if found is None else str(len(found)) for found in (left, right)]
        raise ValueError(
            "a and b: expected influences of the same reference images on both sides, got "
            f"{sizes[0]} and {sizes[1]}; score both against the same reference, as a sample"
        )
    return left - right


@dataclass(frozen=True)
class Interval:
    """A score with the ends of its confidence interval.

    Attributes:
        value: The score.
        low: Lower end, in the score's unit.
        high: Upper end.
        level: The share of repetitions whose interval should hold the truth, in (0, 1).
    """

    value: float
    low: float
    high: float
    level: float

    @classmethod
    def around(
        cls, value: float, standard_error: float, level: float = 0.95, bias: float = 0.0
    ) -> Interval:
        """Symmetric normal interval, wider on both sides by a bound on the value's bias.

        Raises:
            ValueError: A level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, got {level}")
        half = standard_error * float(ndtri((1 + level) / 2)) + bias
        return cls(value, value - half, value + half, level)

    def reaching(self, least: float) -> Interval:
        """The same, but that it ends no lower than the smallest value of what is estimated."""
        return replace(self, high=max(self.high, least))


def count_to_separate(
    difference: float, standard_error: float, count: int, tests: int, power: float
) -> int | None:
    """About how many indices would separate two scores, by a normal approximation.

    The standard error falls as one over the root of the number of indices, so that
    n' = n ((z_(1 - 0.05 / (2 tests)) + z_power) se / difference)^2.

    Args:
        difference: Of the two scores.
        standard_error: Of the difference, in the same unit.
        count: Indices n that it was measured with.
        tests: Tests made at once, which share 5 % between them (Bonferroni).
        power: Probability that the test then finds the difference, in (0, 1).

    Returns:
        n', rounded up to two digits; None for scores without a difference.
    """
    if difference == 0.0:
        return None
    factor = float(ndtri(1 - 0.025 / tests) + ndtri(power)) * standard_error / abs(difference)
    needed = max(count * factor**2, count + 1.0)
    if not math.isfinite(needed):
        return None
    step = int(10 ** max(0, math.floor(math.log10(needed)) - 1))
    return math.ceil(needed / step) * step


def holm_adjusted(p_values: ArrayLike) -> FloatArray:
    """P-values adjusted for their number by Holm 1979 (Scandinavian J. Statistics 6).

    The k-th smallest of m is multiplied by m - k + 1, then made monotone and cut at 1;
    rejecting where the result is at most alpha keeps the probability of any false rejection
    at alpha, whatever the dependence between the tests.

    Args:
        p_values: (m,) in [0, 1]; m may be 0.

    Returns:
        (m,) in the order given.

    Raises:
        ValueError: Not (m,), or a value outside [0, 1].
    """
    p = real_array("p_values", p_values).astype(np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: expected a list of numbers in [0, 1], got {p}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _per_index(name: str, values: ArrayLike) -> FloatArray:
    array = real_array(name, values)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(
            f"{name}: expected one value an index, shape (n,) with n >= 2, got {array.shape}"
        )
    require_finite(name, array)
    return array.astype(np.float64, copy=False)


def _standard_error(influence: FloatArray | None) -> float:
    if influence is None:
        return 0.0
    return float(influence.std(ddof=1)) / math.sqrt(len(influence))


def _two_sided_p(size: float, error: float, count: int) -> float:
    if error == 0.0:
        return 1.0 if size == 0.0 else 0.0
    return 2.0 * float(stdtr(count - 1, -size / error))
