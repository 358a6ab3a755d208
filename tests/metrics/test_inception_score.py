from __future__ import annotations

import math

import numpy as np
import pytest

from vae_batch.metrics import LabelDistribution, inception_score
from vae_batch.metrics.samples.inception import (
    InceptionScore,
    inception_score_of_splits,
    split_bounds,
)


def _sorted_one_hots(samples: int, classes: int) -> np.ndarray:
    return np.eye(classes)[np.arange(samples) * classes // samples]


def test_balanced_one_hots_score_the_number_of_classes() -> None:
    # KL(one-hot || uniform over 10) = ln 10 for every row, so the score is 10.
    score = inception_score(_sorted_one_hots(100, 10), splits=1)
    assert score.mean == pytest.approx(10.0, rel=1e-14)
    assert score.std == 0.0


def test_constant_rows_score_one() -> None:
    # Every row equals the average, so every KL is 0.
    score = inception_score(np.tile([0.2, 0.5, 0.3], (30, 1)), splits=3)
    assert score.mean == pytest.approx(1.0, abs=1e-14)
    assert score.std == pytest.approx(0.0, abs=1e-14)


def test_two_soft_rows_by_hand() -> None:
    # q = (1/2, 1/2); each row (3/4, 1/4) has KL = 3/4 ln(3/2) + 1/4 ln(1/2), so the score is
    # (3/2)^(3/4) (1/2)^(1/4) = (27/16)^(1/4) = 1.139753528477389.
    score = inception_score([[0.75, 0.25], [0.25, 0.75]], splits=1)
    assert score.mean == pytest.approx((27 / 16) ** 0.25, rel=1e-14)


def test_class_ordered_rows_need_a_permutation() -> None:
    # Ten contiguous splits of sorted classes hold one class each: every split scores exp 0.
    rows = _sorted_one_hots(100, 10)
    assert inception_score(rows, splits=10) == InceptionScore(1.0, 0.0)
    # After a permutation a split of 10 rows over 10 classes has about 10 (1 - .9^10) = 6.5.
    assert 4.0 < inception_score(rows, splits=10, permutation_seed=0).mean < 9.0
    again = inception_score(rows, splits=10, permutation_seed=0)
    assert again == inception_score(rows, splits=10, permutation_seed=0)
    assert again != inception_score(rows, splits=10, permutation_seed=1)


def test_std_has_ddof_zero() -> None:
    # Splits score 1 (one class) and 2 (two classes): mean 1.5, std with ddof 0 is 0.5.
    rows = np.eye(2)[[0, 0, 0, 1]]
    score = inception_score(rows, splits=2)
    assert score.mean == pytest.approx(1.5, rel=1e-15)
    assert score.std == pytest.approx(0.5, rel=1e-15)


def test_bounds_follow_global_indices() -> None:
    # 7 i // 3 for i = 0..3 is 0, 2, 4, 7.
    assert split_bounds(7, 3) == [(0, 2), (2, 4), (4, 7)]
    assert split_bounds(5, 1) == [(0, 5)]
    assert split_bounds(3, 3) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(("n", "splits"), [(10, 10), (11, 10), (19, 10), (50, 7), (1, 1)])
def test_every_sample_is_in_one_split(n: int, splits: int) -> None:
    bounds = split_bounds(n, splits)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(n))
    lengths = [stop - start for start, stop in bounds]
    assert max(lengths) - min(lengths) <= 1


def test_log_score_is_the_mean_kl() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=50)
    marginal = rows.mean(axis=0)
    direct = np.mean([(p * np.log(p / marginal)).sum() for p in rows])
    assert LabelDistribution.from_probabilities(rows).log_score == pytest.approx(direct, rel=1e-12)


def test_rows_are_renormalised_before_the_average() -> None:
    # Rows off by the 5e-4 of a low-precision softmax score as the exact ones do.
    rows = np.random.default_rng(1).dirichlet(np.ones(6), size=50)
    scaled = rows * np.random.default_rng(2).uniform(0.9995, 1.0005, size=(50, 1))
    exact, renormalised = inception_score(rows), inception_score(scaled)
    assert renormalised.mean == pytest.approx(exact.mean, rel=1e-13)


def test_splits_merged_from_shards_equal_the_whole() -> None:
    rows = np.random.default_rng(3).dirichlet(np.ones(4), size=23)
    merged = []
    for start, stop in split_bounds(23, 3):
        split = LabelDistribution.empty(4)
        for cut in range(start, stop, 2):
            part = rows[cut : min(cut + 2, stop)]
            split = split.merge(LabelDistribution.from_probabilities(part))
        merged.append(split)
    whole = inception_score(rows, splits=3)
    assert inception_score_of_splits(merged) == pytest.approx(whole, rel=1e-13)


def test_zero_probabilities_are_finite() -> None:
    distribution = LabelDistribution.from_probabilities([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert distribution.sum_p_log_p == 0.0
    assert distribution.log_score == pytest.approx(math.log(2.0), rel=1e-15)


def test_merging_empty_changes_no_bit() -> None:
    distribution = LabelDistribution.from_probabilities([[0.3, 0.7]])
    assert LabelDistribution.empty(2).merge(distribution) is distribution
    assert distribution.merge(LabelDistribution.empty(2)) is distribution


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.5], [2.0, 3.0]], "row 1 .*sum 5; apply a softmax"),
        ([[0.5, 0.5], [-0.1, 1.1]], "row 1 with minimum -0.1"),
        ([[0.0, 0.0]], "row 0 .*sum 0"),
        ([[0.5, np.nan]], r"got nan in row 0, entry \(1,\)"),
        ([0.5, 0.5], "2-D"),
    ],
)
def test_rows_that_are_no_probabilities_are_named(probabilities: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inception_score(probabilities, splits=1)


def test_too_few_samples_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="3 samples cannot fill 10 splits; generate at least 10"):
        inception_score(np.eye(3))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        split_bounds(3, 0)


def test_distributions_that_cannot_score() -> None:
    with pytest.raises(ValueError, match="at least 1 sample"):
        _ = LabelDistribution.empty(3).log_score
    with pytest.raises(ValueError, match="got none"):
        inception_score_of_splits([])
    with pytest.raises(ValueError, match="got 2 and 3"):
        LabelDistribution.empty(2).merge(LabelDistribution.empty(3))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        LabelDistribution.empty(0)
    with pytest.raises(ValueError, match=r"shape \(c,\)"):
        LabelDistribution(1, np.ones((2, 2)), 0.0)
