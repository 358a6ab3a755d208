from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics import FrechetReference, Moments, frechet_distance
from vae_batch.metrics.comparison.paired_difference import (
    Interval,
    PairedScore,
    paired_difference,
)
from vae_batch.metrics.samples import frechet_uncertainty
from vae_batch.metrics.samples.frechet_uncertainty import (
    CorrectedFrechetDistance,
    bias_dominated,
    frechet_distance_infinity,
    frechet_influence,
)

Array = NDArray[np.float64]

STANDARD = Moments.from_covariance(10**6, [0.0], [[1.0]])
"""N(0, 1): from it the distance of N(m, s^2) is m^2 + (s - 1)^2."""


def _sets(n: int, m: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 0.3, rng.gamma(2.0, size=(m, d))


# Corrections of the bias.


def _by_definition(
    generated: Array, reference: Array | FrechetReference
) -> tuple[float, float, float]:
    """Distance, its value freed of b/n + c/n^2, and the second of both corrections.

    From the definition, with rows left out: blocks are of the order of a permutation with seed 0.
    """

    def rests(rows: Array) -> list[Array]:
        blocks = np.array_split(np.random.default_rng(0).permutation(len(rows)), 10)
        halves = [np.concatenate(blocks[5:]), np.concatenate(blocks[:5])]
        return [np.delete(rows, left_out, axis=0) for left_out in (*blocks, *halves)]

    others = [reference] * 12 if isinstance(reference, FrechetReference) else rests(reference)
    ours = rests(generated)
    found = [frechet_distance(a, b) for a, b in zip(ours, others, strict=True)]
    sizes = [len(rest) for rest in ours]
    tenths = np.average(found[:10], weights=sizes[:10])
    halves = np.average(found[10:], weights=sizes[10:])
    whole = frechet_distance(generated, reference)
    # With t = 1/n: D(t) = whole, D(10/9 t) = tenths, D(2t) = halves. A parabola through the three,
    # at t = 0, and what its quadratic term adds there to a straight line through the first two.
    parabola = np.polynomial.Polynomial.fit([1, 10 / 9, 2], [whole, tenths, halves], 2)
    line = 10 * whole - 9 * tenths
    return whole, parabola(0.0), parabola(0.0) - line


@pytest.mark.parametrize("shape", [(100, 90, 5), (103, 250, 5), (400, 900, 70)])
@pytest.mark.parametrize("is_sample", [True, False])
def test_corrections_are_those_of_their_definition(
    shape: tuple[int, int, int], is_sample: bool
) -> None:
    generated, reference = _sets(*shape)
    prepared = FrechetReference.from_activations(reference, is_population=not is_sample)
    expected = _by_definition(generated, reference if is_sample else prepared)
    for given in (reference, prepared) if is_sample else (prepared, prepared.source):
        found = CorrectedFrechetDistance.from_activations(generated, given)
        corrected = (found.plug_in, found.value, found.score.last_correction)
        assert corrected == pytest.approx(expected, rel=1e-6)


def test_a_bias_of_two_orders_is_removed() -> None:
    # |mean|^2 of constant columns x_i, scaled so that D(n) is 3 + 7/n + 50/n^2 exactly, cannot be
    # had from data; the corrections are linear in the distances, so they are checked on these.
    counts = [36] * 10 + [20] * 2
    distances = iter([3 + 7 / n + 50 / n**2 for n in counts])
    rests = [Moments.from_covariance(n, [0.0], [[1.0]]) for n in counts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frechet_uncertainty, "frechet_distance", lambda *_: next(distances))
        whole = 3 + 7 / 40 + 50 / 40**2
        first, second = frechet_uncertainty._corrections(whole, rests, rests)
    assert whole + first + second == pytest.approx(3.0, rel=1e-13)
    # The first leaves -c/n^2 B/(B - 1), which the second gives back.
    assert second == pytest.approx(50 / 40**2 * 10 / 9, rel=1e-12)


def test_the_error_is_that_of_both_sides() -> None:
    generated, reference = _sets(200, 150, 4)
    own = frechet_influence(generated, reference)
    others = frechet_influence(reference, generated)
    errors = [psi.std(ddof=1) / math.sqrt(len(psi)) for psi in (own, others)]
    both = CorrectedFrechetDistance.from_activations(generated, reference)
    one = CorrectedFrechetDistance.from_activations(generated, Moments.from_activations(reference))
    assert both.standard_error == pytest.approx(math.hypot(*errors), rel=1e-9)
    assert one.standard_error == pytest.approx(errors[0], rel=1e-9)
    assert both.score.reference_influence == pytest.approx(others, rel=1e-6)
    assert one.score.reference_influence is None
    assert both.value < one.value < one.plug_in == both.plug_in


def test_a_sorted_reference_is_no_worse_than_a_shuffled_one() -> None:
    """Blocks are drawn at random: halves of a sorted set would be far from each other."""
    generated, reference = _sets(300, 300, 4)
    ordered = reference[np.argsort(reference[:, 0])]
    found, shuffled = (
        CorrectedFrechetDistance.from_activations(generated, rows) for rows in (ordered, reference)
    )
    assert found.value == pytest.approx(shuffled.value, abs=found.standard_error)
    assert found.interval() is not None


# When an interval is published.


@pytest.mark.parametrize(
    ("counts", "dimension", "few"),
    [
        ((10_000, 10_000), 2048, False),
        ((9_999, 50_000), 2048, True),
        ((50_000, 9_999), 2048, True),
        ((10_000,), 2048, False),
        ((313, 313), 64, False),  # 64 * 10000 / 2048 = 312.5
        ((312, 10**6), 64, True),
    ],
)
def test_the_rule_on_samples(counts: tuple[int, ...], dimension: int, few: bool) -> None:
    assert bias_dominated(dimension, *counts) is few


def test_an_interval_by_hand() -> None:
    # Influences 1 and -1 of 8 samples: sd^2 = 8/7, error sqrt(1/7). The first correction is -1.2,
    # the second .2: 2.5 -+ (1.959964 sqrt(1/7) + .2).
    score = PairedScore(2.5, np.tile([1.0, -1.0], 4), last_correction=0.2)
    corrected = CorrectedFrechetDistance(3.5, score, bias_dominated=False)
    half = 1.959963984540054 * math.sqrt(1 / 7) + 0.2
    interval = corrected.interval()
    assert interval == Interval(2.5, pytest.approx(2.5 - half), pytest.approx(2.5 + half), 0.95)
    assert corrected.doubt is None
    few = replace(corrected, bias_dominated=True)
    assert few.interval() is None
    assert few.doubt == "fewer than 4.88 images per feature dimension"
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        corrected.interval(95)


@pytest.mark.parametrize(("second", "known"), [(0.5, True), (-0.5, True), (0.51, False)])
def test_no_interval_where_the_corrections_do_not_shrink(second: float, known: bool) -> None:
    # The first correction is -1: 3.5 - 1 + second. The error is sqrt(1/7).
    score = PairedScore(2.5 + second, np.tile([1.0, -1.0], 4), last_correction=second)
    corrected = CorrectedFrechetDistance(3.5, score, bias_dominated=False)
    assert (corrected.interval() is not None) is known
    assert (corrected.doubt is None) is known
    if not known:
        assert "second correction, 0.51, is not small against the first, -1" in corrected.doubt
        # Where the noise is larger, it may be noise: sqrt(4/7) = .76.
        noisy = replace(corrected, score=replace(score, influence=2 * score.influence))
        assert noisy.doubt is None


@dataclass(frozen=True)
class Truth:
    """A pair of checkpoints over shared draws, a known reference, and their true distances."""

    reference: FrechetReference
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]]
    distances: tuple[float, float]


def _truth(d: int, skewed: bool) -> Truth:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    spectrum = np.exp(-4.0 * np.arange(d) / d)
    scale = turn * np.sqrt(spectrum)
    a = scale @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)) / math.sqrt(d))
    b = a @ (np.eye(d) + 0.05 * rng.normal(size=(d, d)) / math.sqrt(d))
    shift_a = 0.05 * rng.normal(size=d)
    shift_b = shift_a + 0.02 * rng.normal(size=d)

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        gamma = (rng.gamma(2.0, size=(n, d)) - 2) / math.sqrt(2)  # mean 0, variance 1
        z = gamma if skewed else rng.normal(size=(n, d))
        return z @ a.T + shift_a, z @ b.T + shift_b

    def exact(mean: Array, covariance: Array) -> Moments:
        return Moments.from_covariance(10**9, mean, covariance)

    reference = exact(np.zeros(d), scale @ scale.T)
    true_a = frechet_distance(exact(shift_a, a @ a.T), reference)
    true_b = frechet_distance(exact(shift_b, b @ b.T), reference)
    return Truth(FrechetReference.from_moments(reference), draw, (true_a, true_b))


REPEATS = 300
"""The share of 300 intervals that hold the truth has a standard error of 1.3 % at 95 %."""


@pytest.mark.slow
@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("d", [16, 32])
def test_intervals_hold_the_truth(d: int, skewed: bool) -> None:
    truth, n = _truth(d, skewed), 10 * d
    held, plug_in_held, paired_held = [], [], []
    paired_errors, unpaired_errors = [], []
    for seed in range(REPEATS):
        a, b = truth.draw(np.random.default_rng(seed), n)
        corrected = [CorrectedFrechetDistance.from_activations(x, truth.reference) for x in (a, b)]
        if any(each.doubt for each in corrected):
            continue  # no interval is published, and no difference
        interval = corrected[0].interval()
        held.append(interval.low <= truth.distances[0] <= interval.high)
        plain = 1.96 * corrected[0].standard_error
        plug_in_held.append(abs(corrected[0].plug_in - truth.distances[0]) < plain)
        difference = paired_difference(corrected[1].score, corrected[0].score)
        true_difference = truth.distances[1] - truth.distances[0]
        paired_held.append(difference.low < true_difference < difference.high)
        paired_errors.append(difference.standard_error)
        unpaired_errors.append(difference.unpaired_standard_error)
    assert len(held) > 0.9 * REPEATS
    assert 0.92 <= np.mean(held) <= 0.99
    assert 0.92 <= np.mean(paired_held) <= 0.99
    assert np.mean(plug_in_held) < 0.5
    assert np.mean(unpaired_errors) > 3 * np.mean(paired_errors)


@pytest.mark.parametrize("d", [16, 32])
def test_no_interval_where_bias_dominates(d: int) -> None:
    truth = _truth(d, skewed=False)
    for seed in range(5):
        a, _ = truth.draw(np.random.default_rng(seed), 2 * d)
        assert CorrectedFrechetDistance.from_activations(a, truth.reference).interval() is None


def test_the_error_is_that_of_repeated_sampling() -> None:
    truth, n = _truth(8, skewed=True), 800
    corrected, errors = [], []
    for seed in range(200):
        a, _ = truth.draw(np.random.default_rng(seed), n)
        found = CorrectedFrechetDistance.from_activations(a, truth.reference)
        corrected.append(found.value)
        errors.append(found.standard_error)
    spread = np.std(corrected, ddof=1)
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)
    off = np.mean(corrected) - truth.distances[0]
    assert off == pytest.approx(0.0, abs=4 * spread / math.sqrt(200))


# Extrapolation.


def test_two_points_make_a_line() -> None:
    # Through (1/30, f) and (1/90, g): the intercept is (90 g - 30 f) / 60.
    generated, reference = _sets(90, 80, 3)
    order = np.random.default_rng(5).permutation(90)
    f = frechet_distance(generated[order[:30]], reference)
    g = frechet_distance(generated, reference)
    found = frechet_distance_infinity(generated, reference, smallest=30, points=2, seed=5)
    assert found == pytest.approx((90 * g - 30 * f) / 60, rel=1e-11)


def test_sizes_run_from_a_tenth_and_the_seed_decides() -> None:
    generated, reference = _sets(200, 80, 3)
    found = frechet_distance_infinity(generated, reference)
    assert found == frechet_distance_infinity(generated, reference, smallest=20, points=15, seed=0)
    assert found != frechet_distance_infinity(generated, reference, seed=1)


def test_extrapolation_removes_most_of_the_bias() -> None:
    truth = _truth(8, skewed=False)
    found = []
    for seed in range(200):
        a, _ = truth.draw(np.random.default_rng(seed), 800)
        distance = frechet_distance(a, truth.reference)
        found.append([distance, frechet_distance_infinity(a, truth.reference)])
    plug_in, extrapolated = np.mean(found, axis=0) - truth.distances[0]
    assert abs(extrapolated) < plug_in / 3


# Input.


def test_bad_input_is_named() -> None:
    generated, reference = _sets(30, 40, 3)
    broken = generated.copy()
    broken[3, 1] = np.nan
    whole = CorrectedFrechetDistance.from_activations
    for call in (whole, frechet_distance_infinity):
        with pytest.raises(ValueError, match=r"generated: .*nan in row 3"):
            call(broken, reference)
        with pytest.raises(ValueError, match="expected one dimension, got 2 and 3"):
            call(generated[:, :2], reference)
    with pytest.raises(ValueError, match="generated: expected at least 10 samples, got 9"):
        whole(generated[:9], reference)
    with pytest.raises(ValueError, match="reference: expected at least 10 samples, got 9"):
        whole(generated, reference[:9])
    with pytest.raises(ValueError, match="15 sizes from 25 to 30 samples"):
        frechet_distance_infinity(generated, reference, smallest=25)
    with pytest.raises(ValueError, match="1 sizes"):
        frechet_distance_infinity(generated, reference, points=1)
