from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_batch.metrics import FrechetReference, Moments, frechet_distance
from vae_batch.metrics.comparison.paired_difference import Interval
from vae_batch.metrics.samples.frechet_influence import frechet_influence, frechet_standard_error
from vae_batch.metrics.samples.frechet_uncertainty import (
    CorrectedFrechetDistance,
    _jackknife,
    bias_dominated,
    frechet_distance_infinity,
)

Array = NDArray[np.float64]

STANDARD = Moments.from_covariance(10**6, [0.0], [[1.0]])
"""N(0, 1): from it the distance of N(m, s^2) is m^2 + (s - 1)^2."""


def _sets(n: int, m: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 0.3, rng.gamma(2.0, size=(m, d))


# Jackknife.


def test_two_blocks_by_hand() -> None:
    # {0, 2} has mean 1, variance 2; {4, 8} mean 6, variance 8; together 3.5 and 35/3.
    first, second = 1 + (math.sqrt(2) - 1) ** 2, 36 + (math.sqrt(8) - 1) ** 2
    whole = 3.5**2 + (math.sqrt(35 / 3) - 1) ** 2
    rows = [[0.0], [2.0], [4.0], [8.0]]
    found = CorrectedFrechetDistance.from_activations(rows, STANDARD, blocks=2)
    assert found.plug_in == pytest.approx(whole, rel=1e-12)
    # B whole - (B - 1) mean, and (B - 1)/B times the squares about the mean.
    assert found.value == pytest.approx(2 * whole - (first + second) / 2, rel=1e-12)
    assert found.standard_error == pytest.approx((second - first) / 2, rel=1e-12)
    assert found.bias_dominated is True  # 4 samples a dimension, fewer than 4.88


def test_a_bias_of_one_over_n_is_removed_whatever_the_blocks() -> None:
    # Distances 3 + 7/n: every remainder of n - m samples has 3 + 7/(n - m).
    counts = np.array([4, 9, 2, 25])
    value, error = _jackknife(3 + 7 / 40, 3 + 7 / (40 - counts), counts)
    assert value == pytest.approx(3.0, rel=1e-14)
    assert error > 0


def test_blocks_of_any_size_give_the_error_of_a_mean() -> None:
    # For a mean, pseudo-values are the blocks' own means, and the error is that of a mean over
    # all: here 40 values of variance v in blocks, compared over many draws.
    counts = np.array([4, 9, 2, 25])
    cuts = np.cumsum(counts)[:-1]
    squares = []
    for seed in range(2000):
        x = np.random.default_rng(seed).normal(size=40)
        rest = [(x.sum() - part.sum()) / (40 - len(part)) for part in np.split(x, cuts)]
        value, error = _jackknife(x.mean(), np.array(rest), counts)
        assert value == pytest.approx(x.mean(), abs=1e-12)
        squares.append(error**2)
    assert np.mean(squares) == pytest.approx(1 / 40, rel=0.1)


@pytest.mark.parametrize("shape", [(103, 90, 5), (60, 90, 70), (400, 90, 70)])
def test_moments_and_activations_agree(shape: tuple[int, int, int]) -> None:
    generated, reference = _sets(*shape)
    found = CorrectedFrechetDistance.from_activations(generated, reference, blocks=7)
    parts = np.array_split(generated, 7)
    blocks = [Moments.from_activations(part) for part in parts]
    merged = CorrectedFrechetDistance.from_moments(blocks, reference)
    # The definition, leaving out rows.
    counts = np.array([len(part) for part in parts])
    rests = [np.vstack(parts[:i] + parts[i + 1 :]) for i in range(7)]
    without = np.array([frechet_distance(rest, reference) for rest in rests])
    expected = _jackknife(frechet_distance(generated, reference), without, counts)
    for one in (found, merged):
        assert (one.value, one.standard_error) == pytest.approx(expected, rel=1e-6)
        assert one.bias_dominated is (shape[2] == 70)


def test_both_sides_add_up() -> None:
    generated, reference = _sets(200, 150, 4)
    one = CorrectedFrechetDistance.from_activations(generated, reference)
    other = CorrectedFrechetDistance.from_activations(reference, generated)
    both = one.with_reference_side(other)
    assert both.plug_in == one.plug_in
    # Each side's correction once.
    correction = (one.value - one.plug_in) + (other.value - other.plug_in)
    assert both.value == pytest.approx(one.plug_in + correction, rel=1e-9)
    assert both.standard_error == math.hypot(one.standard_error, other.standard_error)
    assert both.value < one.value < one.plug_in


# When an interval is published.


@pytest.mark.parametrize(
    ("generated", "reference", "dimension", "few"),
    [
        (10_000, 10_000, 2048, False),
        (9_999, 50_000, 2048, True),
        (50_000, 9_999, 2048, True),
        (313, 313, 64, False),  # 64 * 10000 / 2048 = 312.5
        (312, 10**6, 64, True),
    ],
)
def test_the_rule_on_samples(generated: int, reference: int, dimension: int, few: bool) -> None:
    assert bias_dominated(generated, reference, dimension) is few


def test_an_interval_by_hand() -> None:
    # 2.5 -+ (1.959964 * 0.25 + 4 % of the correction 3.5 - 2.5).
    corrected = CorrectedFrechetDistance(3.5, 2.5, 0.25, bias_dominated=False)
    half = 1.959963984540054 * 0.25 + 0.04
    interval = corrected.interval()
    assert interval == Interval(2.5, pytest.approx(2.5 - half), pytest.approx(2.5 + half), 0.95)
    assert CorrectedFrechetDistance(3.5, 2.5, 0.25, bias_dominated=True).interval() is None
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        corrected.interval(95)


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
        interval = corrected[0].interval()
        held.append(interval.low <= truth.distances[0] <= interval.high)
        plain = 1.96 * frechet_standard_error(a, truth.reference)
        plug_in_held.append(abs(corrected[0].plug_in - truth.distances[0]) < plain)
        psi = [frechet_influence(x, truth.reference) for x in (a, b)]
        error = (psi[1] - psi[0]).std(ddof=1) / math.sqrt(n)
        difference = corrected[1].value - corrected[0].value
        true_difference = truth.distances[1] - truth.distances[0]
        paired_held.append(abs(difference - true_difference) < 1.96 * error)
        paired_errors.append(error)
        unpaired_errors.append(math.hypot(*(p.std(ddof=1) / math.sqrt(n) for p in psi)))
    assert 0.90 <= np.mean(held) <= 0.98
    assert 0.90 <= np.mean(paired_held) <= 0.98
    assert np.mean(plug_in_held) < 0.5
    assert np.mean(unpaired_errors) > 3 * np.mean(paired_errors)


@pytest.mark.slow
def test_in_many_dimensions_the_bias_that_is_left_is_allowed_for() -> None:
    # 400 Gaussian dimensions of comparable spread, at the fewest samples of the rule: the
    # hardest case that was found.
    truth = _truth(400, skewed=False)
    held, held_without = [], []
    for seed in range(25):
        a, _ = truth.draw(np.random.default_rng(seed), 1954)
        corrected = CorrectedFrechetDistance.from_activations(a, truth.reference)
        interval = corrected.interval()
        held.append(interval.low <= truth.distances[0] <= interval.high)
        off = abs(corrected.value - truth.distances[0])
        held_without.append(off < 1.96 * corrected.standard_error)
    assert np.mean(held) >= 0.9
    assert np.mean(held_without) < 0.7


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
        errors.append([found.standard_error, frechet_standard_error(a, truth.reference)])
    spread = np.std(corrected, ddof=1)
    np.testing.assert_allclose(np.mean(errors, axis=0), spread, rtol=0.15)
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
    with pytest.raises(ValueError, match="generated: expected at least 20 samples, got 19"):
        whole(generated[:19], reference)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        whole(generated, reference, blocks=1)
    with pytest.raises(ValueError, match="at least 2, got 0"):
        CorrectedFrechetDistance.from_moments([], reference)
    blocks = [Moments.from_activations(generated), Moments.empty(3)]
    with pytest.raises(ValueError, match="at least 1 sample in each"):
        CorrectedFrechetDistance.from_moments(blocks, reference)
    with pytest.raises(ValueError, match="15 sizes from 25 to 30 samples"):
        frechet_distance_infinity(generated, reference, smallest=25)
    with pytest.raises(ValueError, match="1 sizes"):
        frechet_distance_infinity(generated, reference, points=1)
