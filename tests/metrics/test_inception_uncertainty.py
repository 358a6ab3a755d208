from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics import LabelDistribution, PairedScore, inception_score
from vae_batch.metrics.samples import inception as module
from vae_batch.metrics.samples.inception import (
    CorrectedInceptionScore,
    corrected_inception_score,
)

Array = NDArray[np.float64]


def test_three_one_hots_by_hand() -> None:
    # Classes 0, 0, 1: average (2/3, 1/3); a row of class c has KL = -log p(c):
    # log 3/2, log 3/2, log 3. Mean (2 log 3/2 + log 3)/3; deviations +-(log 2)/3, (2 log 2)/3:
    # squares sum to 6/9 log^2 2, SE = sqrt(6/9 / 2 / 3) log 2 = log 2 / 3.
    rows = np.eye(2)[[0, 0, 1]]
    divergences = [math.log(1.5), math.log(1.5), math.log(3)]
    found = corrected_inception_score(rows)
    assert found.plug_in_log == pytest.approx(np.mean(divergences), rel=1e-14)
    influence = divergences - np.mean(divergences)
    np.testing.assert_allclose(found.log_score.influence, influence, rtol=1e-14)
    assert found.log_standard_error == pytest.approx(math.log(2) / 3, rel=1e-14)
    # Var(p_c) = 1/3 for both classes: (1/3 / (2/3) + 1/3 / (1/3)) / (2 * 3) = 1.5 / 6, and so
    # one class in use beside another. Three images are too few for a second correction.
    assert found.classes_in_use == pytest.approx(1.0, rel=1e-13)
    assert found.log - found.plug_in_log == pytest.approx(0.25, rel=1e-14)
    assert found.score == pytest.approx(math.exp(np.mean(divergences) + 0.25), rel=1e-14)
    assert found.standard_error == pytest.approx(found.score * math.log(2) / 3, rel=1e-14)


def test_the_second_correction_is_a_third_of_what_halves_differ_by() -> None:
    """Any c/n^2 that is left of a set is 4 c/n^2 of its halves."""
    rows = np.random.default_rng(5).dirichlet(np.full(6, 0.2), size=80)
    order = np.random.default_rng(0).permutation(80)

    def first_order(p: Array) -> float:
        mean = p.mean(axis=0)
        plug_in = float((p * np.log(p / mean)).sum(axis=1).mean())
        return plug_in + float((p.var(axis=0, ddof=1) / mean).sum()) / (2 * len(p))

    halves = (first_order(rows[order[:40]]) + first_order(rows[order[40:]])) / 2
    found = corrected_inception_score(rows)
    second = (first_order(rows) - halves) / 3
    assert found.log_score.last_correction == pytest.approx(second, rel=1e-9)
    assert found.log == pytest.approx(first_order(rows) + second, rel=1e-12)
    assert found.paired.last_correction == pytest.approx(2 * found.score * second, rel=1e-9)
    np.testing.assert_allclose(
        found.paired.influence, found.score * found.log_score.influence, rtol=1e-13
    )


@pytest.mark.parametrize(("classes", "n", "few"), [(100, 300, True), (100, 1000, False)])
def test_many_classes_need_many_images(classes: int, n: int, few: bool) -> None:
    """One-hot rows: as many classes in use, less one, as were seen."""
    drawn = np.random.default_rng(1).integers(classes, size=n)
    found = corrected_inception_score(np.eye(classes)[drawn])
    assert found.classes_in_use == pytest.approx(len(set(drawn)) - 1, rel=1e-9)
    assert found.bias_dominated is few
    assert (found.doubt is not None) is few
    if few:
        expected = f"300 images are fewer than 5 for each of {len(set(drawn)) - 1} classes in use"
        assert found.doubt == expected


def test_a_correction_that_does_not_shrink_is_in_doubt() -> None:
    # The first correction is .01 of 100 images, the second .0051; the noise .0005.
    influence = np.tile([0.005, -0.005], 50)
    score = PairedScore(0.5151, influence, last_correction=0.0051)
    found = CorrectedInceptionScore(0.5, score)
    assert not found.bias_dominated
    assert "second correction, 0.0051 nats, is not small against the first, 0.01" in found.doubt
    # Where the noise is larger it does not matter.
    noisy = replace(found, log_score=replace(score, influence=20 * influence))
    assert noisy.doubt is None


def test_equal_rows_have_no_error_and_no_bias() -> None:
    found = corrected_inception_score(np.tile([0.2, 0.5, 0.3, 0.0], (30, 1)))
    assert found.score == pytest.approx(1.0, abs=1e-14)
    assert found.standard_error == pytest.approx(0.0, abs=1e-14)


def test_the_plug_in_is_the_inception_score_of_one_split() -> None:
    rows = np.random.default_rng(0).dirichlet(np.full(7, 0.2), size=60)
    found = corrected_inception_score(rows)
    assert found.plug_in_log == pytest.approx(math.log(inception_score(rows, 1).mean), rel=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).dirichlet(np.full(7, 0.2), size=60).astype(np.float32)
    whole = corrected_inception_score(rows)
    monkeypatch.setattr(module, "BLOCK", 13)
    found = corrected_inception_score(rows)
    assert found.log == pytest.approx(whole.log, rel=1e-12)
    assert found.log_standard_error == pytest.approx(whole.log_standard_error, rel=1e-12)
    np.testing.assert_allclose(
        found.log_score.influence, whole.log_score.influence, rtol=1e-10, atol=1e-13
    )


def test_classes_without_probability_are_left_out() -> None:
    rows = np.random.default_rng(2).dirichlet(np.ones(3), size=20)
    padded = np.column_stack([rows, np.zeros(20)])
    found, expected = corrected_inception_score(padded), corrected_inception_score(rows)
    assert found.log == pytest.approx(expected.log, rel=1e-13)


def _mixture(rng: np.random.Generator, n: int) -> Array:
    """Rows near one of 8 classes of unequal frequency, from a finite set of 24 rows."""
    rows = np.random.default_rng(0).dirichlet(np.full(8, 0.15), size=24)
    return rows[rng.choice(24, size=n, p=np.arange(1, 25) / 300)]


def test_bias_and_error_are_those_of_repeated_sampling() -> None:
    # 24 rows with probabilities i/300: the true score is that of a set with these frequencies.
    rows = np.random.default_rng(0).dirichlet(np.full(8, 0.15), size=24)
    exact = LabelDistribution.from_probabilities(np.repeat(rows, np.arange(1, 25), axis=0))
    found = [
        corrected_inception_score(_mixture(np.random.default_rng(seed), 60)) for seed in range(600)
    ]
    plug_in = np.array([one.plug_in_log for one in found])
    corrected = np.array([one.log for one in found])
    errors = np.array([one.log_standard_error for one in found])
    noise = corrected.std() / math.sqrt(600)
    assert plug_in.mean() < exact.log_score - 5 * noise
    assert corrected.mean() == pytest.approx(exact.log_score, abs=3 * noise)
    assert errors.mean() == pytest.approx(corrected.std(), rel=0.1)
    assert 0.9 <= np.mean(np.abs(corrected - exact.log_score) < 1.96 * errors) <= 0.98


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.tile([0.5, 0.5], (9, 1))
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        corrected_inception_score(rows[:1])
    with pytest.raises(ValueError, match="2-D"):
        corrected_inception_score(rows[0])
    rows[6] = [2.0, 3.0]
    monkeypatch.setattr(module, "BLOCK", 4)
    with pytest.raises(ValueError, match=r"row 2 .*sum 5.*counting rows from 4"):
        corrected_inception_score(rows)
