"""The script of interval coverage: its truths, and a small version of its tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from interval_coverage import (
    KINDS,
    ClassifierPools,
    Share,
    Truth,
    inception_scores,
    mean_kernel,
    pool_score,
    simulate,
    synthetic_pools,
)

from vae_batch.metrics import LabelDistribution, frechet_distance, kernel_distance


def test_a_share_counts_what_is_published_and_what_holds() -> None:
    share = Share()
    for interval in ((0.0, 2.0), (2.0, 3.0), None, (1.0, 1.0)):
        share.count(interval, 1.0)
    assert (share.repeats, share.published, share.held) == (4, 3, 2)
    assert str(share) == "0.667 of 75%"
    assert str(Share(repeats=3)) == "none"


def test_an_interval_that_always_holds_says_by_how_much_it_is_too_wide() -> None:
    share = Share()
    for _ in range(20):
        share.count((0.0, 4.0), 1.0)  # half its width, 2, where a miss of 1 had to be held
    assert share.excess == pytest.approx(2.0)
    assert str(share) == "1.000 x2.0"


def test_truths_are_those_of_very_many_draws() -> None:
    """Of 40,000 draws from pools of 5,000: biases and errors fall with 1/n and 1/sqrt(n)."""
    pools = synthetic_pools("rectified", 4)
    truth = Truth.of(pools.a, pools.reference)
    rng = np.random.default_rng(0)
    a, real = (p[rng.integers(len(p), size=40_000)] for p in (pools.a, pools.reference))
    assert frechet_distance(a, real) == pytest.approx(truth.frechet, rel=0.15)
    found = kernel_distance(a[:5000], real[:5000])
    assert found.value == pytest.approx(truth.kernel, abs=4 * found.standard_error)
    assert Truth.of(pools.reference, pools.reference) == Truth(0.0, 0.0)


def test_the_mean_kernel_by_hand() -> None:
    # d = 1: (0 * 1 + 1)^3 = 1, (0 * 2 + 1)^3 = 1, (1 * 1 + 1)^3 = 8, (1 * 2 + 1)^3 = 27.
    assert mean_kernel(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == 37 / 4


@pytest.mark.parametrize("uneven", [False, True])
def test_pools_of_a_classifier_have_the_score_asked_for(uneven: bool) -> None:
    pools = ClassifierPools.of(10, 4.0, uneven)
    assert pools is not None
    exact = LabelDistribution.from_probabilities(pools.a).log_score
    assert math.exp(exact) == pytest.approx(4.0, rel=1e-3)
    assert pool_score(pools.a) == pytest.approx(math.exp(exact), rel=1e-12)
    assert 1.0 < pool_score(pools.b) < pool_score(pools.a)
    # Ten classes can have no score above ten, nor can noise alone be below its own.
    assert ClassifierPools.of(10, 10.5, uneven) is None
    assert ClassifierPools.of(10, 1.1, uneven) is None


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("generated", "reference"), [(5, 5), (20, 5)])
def test_intervals_hold_the_truth(kind: str, generated: int, reference: int) -> None:
    """150 repeats see a share of 95 % with an error of 1.8 %."""
    d = 24
    cell = simulate(kind, synthetic_pools(kind, d), generated * d, reference * d, 150)
    for share in (cell.fid, cell.fid_difference, cell.kid_difference, cell.kid):
        assert share.published >= 0.7 * share.repeats
        assert share.held >= 0.91 * share.published
    for share in (cell.perfect_fid, cell.perfect_kid):
        assert share.held >= 0.9 * share.published


@pytest.mark.long
@pytest.mark.slow
def test_inception_scores_hold_the_truth_where_they_are_published() -> None:
    """At least 92 %, of which the published ones of 150 repeats see 2.5 standard errors less."""
    for size, *shares in inception_scores(150, classes=(10, 200), images=(300,)):
        for share in shares:
            error = math.sqrt(0.92 * 0.08 * share.published)
            assert share.held >= 0.92 * share.published - 2.5 * error, size
