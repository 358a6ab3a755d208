from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from vae_batch.metrics.comparison.paired_difference import (
    PairedScore,
    count_to_separate,
    holm_adjusted,
    paired_difference,
)


def test_a_paired_difference_by_hand() -> None:
    # a - b = 1, 2, 3: mean 2, standard deviation 1, standard error 1/sqrt(3), t = 3.4641.
    # With 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(2 + t^2) = 1 - 3.4641 / sqrt(14), and
    # the 97.5 % quantile solves t / sqrt(2 + t^2) = .95: t = .95 sqrt(2 / (1 - .9025)).
    result = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    half = 0.95 * math.sqrt(2 / 0.0975) / math.sqrt(3)
    assert result.difference == pytest.approx(2.0)
    assert result.standard_error == pytest.approx(1 / math.sqrt(3))
    assert (result.low, result.high) == pytest.approx((2 - half, 2 + half))
    assert result.p_value == pytest.approx(1 - math.sqrt(12) / math.sqrt(14))
    assert result.count == 3
    # Variances 4 and 1 over 3 indices each: sqrt(4/3 + 1/3).
    assert result.unpaired_standard_error == pytest.approx(math.sqrt(5 / 3))


def test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a = rng.gamma(2.0, size=40)
    b = a + 0.2 + 0.3 * rng.normal(size=40)
    ours, peer = paired_difference(a, b, confidence=0.9), ttest_rel(a, b)
    interval = peer.confidence_interval(0.9)
    assert ours.p_value == pytest.approx(peer.pvalue, rel=1e-10)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert ours.standard_error < 0.2 * ours.unpaired_standard_error


def test_the_interval_covers_a_difference_of_means() -> None:
    # 2000 seeded experiments of skewed losses: 95 % +- .5 % of scatter.
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        shared = rng.gamma(2.0, size=60)
        result = paired_difference(shared + rng.normal(size=60) + 0.3, 1.1 * shared)
        covered += result.low <= 0.3 - 0.2 <= result.high  # E(shared) = 2
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_interval_covers_a_difference_of_influences() -> None:
    # A score that is no mean, as FID is none: the variance, whose influence of x is
    # (x - mean)^2 - variance. a = 1.1 x has variance 1.21, b = x + .1 e has 1.01.
    rng = np.random.default_rng(2)

    def score(x: np.ndarray) -> PairedScore:
        square = (x - x.mean()) ** 2
        return PairedScore(float(x.var(ddof=1)), square - square.mean())

    covered = 0
    for _ in range(600):
        x = rng.normal(size=300)
        result = paired_difference(score(1.1 * x), score(x + 0.1 * rng.normal(size=300)))
        covered += result.low <= 0.2 <= result.high
    assert covered / 600 == pytest.approx(0.95, abs=0.03)
    assert result.standard_error < 0.4 * result.unpaired_standard_error


def test_equal_scores_do_not_differ() -> None:
    values = np.random.default_rng(3).normal(size=20)
    result = paired_difference(values, values.copy())
    assert (result.difference, result.standard_error, result.p_value) == (0.0, 0.0, 1.0)
    # Losses that are 0 and 3 on every image differ for certain.
    assert paired_difference(np.zeros(5), np.full(5, 3.0)).p_value == 0.0


def test_influences_without_scatter_give_no_error() -> None:
    psi = np.zeros(10)
    words = r"differ by 0\.5 but their influences do not, so that the .* no standard error$"
    with pytest.raises(ValueError, match=words):
        paired_difference(PairedScore(1.5, psi), PairedScore(1.0, psi))


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="the same indices on both sides, got 3 and 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="n >= 2"):
        paired_difference([1.0], [2.0])
    with pytest.raises(ValueError, match="values: expected finite values, got nan in row 1"):
        paired_difference([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite value and correction, got nan"):
        PairedScore(math.nan, np.zeros(3))
    with pytest.raises(ValueError, match=r"confidence: .* got 95"):
        paired_difference([1.0, 2.0], [1.0, 2.5], confidence=95)


# Holm.


def test_holm_by_hand() -> None:
    # Ascending .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04; made monotone the
    # last is .06.
    np.testing.assert_allclose(holm_adjusted([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm_adjusted([0.6, 0.4, 0.5]), [1.0, 1.0, 1.0])
    assert holm_adjusted([0.2]) == pytest.approx([0.2])
    assert holm_adjusted([]).size == 0
    np.testing.assert_allclose(holm_adjusted([0.01, 0.01]), [0.02, 0.02])
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        holm_adjusted([0.2, 1.2])
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        holm_adjusted([0.2, math.nan])


def test_the_count_to_separate_is_that_of_a_normal_test() -> None:
    # (1.959964 + 0.841621)^2 = 7.848880, times 1,000 (0.5 / 1)^2.
    assert count_to_separate(1.0, 0.5, 1000, 1, 0.8) == 2000  # 1,962.2
    # Two tests share 5 %: (2.241403 + 0.841621)^2 = 9.505037.
    assert count_to_separate(-1.0, 0.5, 1000, 2, 0.8) == 2400  # 2,376.3
    assert count_to_separate(1.0, 0.1, 1000, 1, 0.8) > 1000  # more than there are
    assert count_to_separate(0.0, 0.5, 1000, 1, 0.8) is None
