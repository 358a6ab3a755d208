"""The race: its level, its power, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from vae_batch.metrics import PairedScore, paired_difference
from vae_batch.metrics.comparison.elimination import Race, race_counts, rare_count


def first(values: dict[str, np.ndarray], n: int, names: tuple[str, ...]) -> dict[str, PairedScore]:
    return {name: PairedScore.from_values(values[name][:n]) for name in names}


def run_race(values: dict[str, np.ndarray], counts: tuple[int, ...], alpha: float = 0.05) -> Race:
    race = Race(values, "lower", looks=len(counts), alpha=alpha)
    for n in counts:
        race.look(first(values, n, race.survivors))
    return race


def test_counts_grow_from_the_first_to_the_most() -> None:
    assert race_counts(500, 2.0, 10_000) == (500, 1000, 2000, 4000, 8000, 10_000)
    assert race_counts(500, 2.0, 4000) == (500, 1000, 2000, 4000)
    assert race_counts(300, 3.0, 300) == (300,)


@pytest.mark.parametrize(("begin", "growth", "most"), [(1, 2.0, 9), (10, 1.0, 99), (10, 2.0, 9)])
def test_counts_that_give_no_race(begin: int, growth: float, most: int) -> None:
    with pytest.raises(ValueError, match="expected 2 <= first <= most and growth > 1"):
        race_counts(begin, growth, most)


def test_a_worse_checkpoint_leaves_with_its_count_and_leader() -> None:
    """b is worse by exactly 1 nat but for noise of sd 0.1: t is far beyond any level."""
    rng = np.random.default_rng(0)
    a = rng.normal(100, 10, 400)
    values = {"a": a, "b": a + 1.0 + rng.normal(0, 0.1, 400)}
    race = run_race(values, (200, 400))
    left = race.eliminated["b"]
    assert (left.count, left.leader) == (200, "a")
    assert left.difference.difference == pytest.approx(1.0, abs=0.03)
    assert race.survivors == ("a",)
    assert race.result(first(values, 400, ("a",))).members == ("a",)


def test_the_level_of_a_single_test_is_shared_by_rivals_and_looks() -> None:
    assert Race("abcde", "lower", looks=5, alpha=0.05).level == pytest.approx(0.05 / (4 * 5))


def test_p_value_is_one_sided_students_t_with_the_largest_gain_again() -> None:
    """Differences 0, 2, 0, 2, ...: mean 1, sum of squares about it 10; 9 degrees of freedom.

    No difference is a gain, so that log(1/level) = log 2 more are 0: their mean with the ten is
    10/(10 + log 2), about which squares sum to 10 + 10 (1 - mean)^2 + log 2 mean^2.
    """
    values = {"a": np.zeros(10), "b": np.tile([0.0, 2.0], 5)}
    race = Race(values, "lower", looks=1, alpha=0.5)
    (left,) = race.look(first(values, 10, ("a", "b")))
    more = math.log(2)
    mean = 10 / (10 + more)
    squares = 10 + 10 * (1 - mean) ** 2 + more * mean**2
    expected = student.sf(mean / math.sqrt(squares / 9 / 10), 9)
    assert left.p_value == pytest.approx(expected, rel=1e-12)


def test_a_few_large_gains_keep_a_checkpoint() -> None:
    """b is worse by 1 on all images but one of 400, where it is better by 30.

    Its mean difference is .92 with an error of .08; but five more of these are no surprise.
    """
    values = {"a": np.zeros(400), "b": np.ones(400)}
    values["b"][7] = -30.0
    race = Race(values, "lower", looks=1, alpha=0.007)
    plain = paired_difference(*(PairedScore.from_values(values[name]) for name in "ba"))
    assert plain.difference / plain.standard_error > 11
    assert race.look(first(values, 400, ("a", "b")))
    values["b"][7] = -150.0
    assert plain.difference > 0
    assert not Race(values, "lower", looks=1, alpha=0.007).look(first(values, 400, ("a", "b")))


def test_what_is_rare_would_have_been_seen() -> None:
    # (1 - .002)^n <= .05/(5 * 3): n >= log(300)/.002002.
    assert rare_count(0.002, checkpoints=6, looks=3) == 2850
    assert 0.998**2850 <= 0.05 / 15 < 0.998**2849
    assert rare_count(0.0, checkpoints=6, looks=3) == 0


def test_what_may_be_left_of_the_biases_must_be_exceeded_too() -> None:
    """b is worse by 1 nat; the last corrections of the two biases differ by 1.1, then by 0.4."""
    rng = np.random.default_rng(0)
    values = {"a": np.zeros(100), "b": 1.0 + rng.normal(0, 0.1, 100)}
    scores = first(values, 100, ("a", "b"))
    assert Race(values, "lower", looks=1).look(scores)
    scores["a"] = replace(scores["a"], last_correction=0.6)
    for last, leaves in ((-0.5, False), (0.2, True)):
        scores["b"] = replace(scores["b"], last_correction=last)
        assert bool(Race(values, "lower", looks=1).look(scores)) is leaves


def test_higher_may_be_better() -> None:
    values = {"a": np.tile([0.0, 0.1], 50), "b": np.tile([5.0, 5.1], 50)}
    race = Race(values, "higher", looks=1)
    race.look(first(values, 100, ("a", "b")))
    assert race.survivors == ("b",)


def test_equal_checkpoints_stay() -> None:
    values = {name: np.arange(50.0) for name in "abc"}
    race = run_race(values, (25, 50))
    assert race.survivors == ("a", "b", "c")
    assert race.result(first(values, 50, ("a", "b", "c"))).members == ("a", "b", "c")


@pytest.mark.parametrize("noise", ["normal", "skewed"])
def test_the_truly_best_checkpoint_stays(noise: str) -> None:
    """600 races of 6 checkpoints that are all equally good, which is the hardest case.

    The first leaves in at most 5 % of them; 600 races see that rate within 2.2 % at 99 %.
    """
    rng = np.random.default_rng(1)
    lost = 0
    for _ in range(600):
        shared = rng.normal(0, 3, 800)
        draw = rng.normal if noise == "normal" else _skewed(rng)
        values = {name: shared + draw(0, 1, 800) for name in "abcdef"}
        lost += "a" in run_race(values, (100, 200, 400, 800)).eliminated
    assert lost <= 0.072 * 600


@pytest.mark.slow
@pytest.mark.parametrize("common", [0.2, 0.5, 2.0])
def test_rare_large_gains_keep_the_best_in_the_race(common: float) -> None:
    """The first is worse on all images but .2 %, where it is so much better that it is the best.

    300 races of 6; without the guards it leaves in a quarter of them, before any such image.
    """
    most, looks = 10_000, len(race_counts(512, 2.0, 10_000))
    begin = rare_count(0.002, 6, looks)
    counts, lost, unguarded = race_counts(begin, 2.0, most), 0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = {name: rng.normal(size=most) for name in "abcdef"}
        gains = rng.random(most) < 0.002
        values["a"] += common - (common + 0.02) / 0.002 * gains
        lost += "a" in run_race(values, counts).eliminated
        unguarded += "a" in run_race(values, race_counts(512, 2.0, most)).eliminated
    assert lost <= 0.05 * 300
    assert unguarded > 0.15 * 300


def _skewed(rng: np.random.Generator):
    return lambda mean, scale, size: mean + scale * (rng.exponential(1, size) - 1)


def test_pairing_saves_most_images() -> None:
    """Ten checkpoints 0.3 nats apart, shared noise of 10 nats, own noise of 2.

    Unpaired, a difference of 0.3 at n = 6400 has an error of sqrt(2 * 104 / 6400) = 0.18; paired,
    sqrt(2 * 4 / n) is 0.06 at n = 2200, so the second-best leaves about there and the others
    before: in all less than a third of the images.
    """
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 10, 6400)
    values = {str(k): shared + 0.3 * k + rng.normal(0, 2, 6400) for k in range(10)}
    race = run_race(values, race_counts(200, 2.0, 6400))
    assert race.survivors == ("0",)
    spent = sum(left.count for left in race.eliminated.values()) + 6400
    assert spent < 10 * 6400 / 3


def test_what_is_no_race_is_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        Race(["a", "a"], "lower", looks=1)
    with pytest.raises(ValueError, match="looks >= 1"):
        Race(["a"], "lower", looks=0)
    with pytest.raises(ValueError, match="'lower' or 'higher'"):
        Race(["a"], "neither", looks=1)


def test_a_survivor_without_a_score_neither_leads_nor_leaves() -> None:
    """c is the best of all, b the worst: c is not scored at the first look, b at the second."""
    values = {"a": np.tile([5.0, 5.1], 50), "b": np.tile([9.0, 9.1], 50), "c": np.zeros(100)}
    race = Race(values, "lower", looks=2)
    scores = first(values, 100, ("a", "b", "c"))
    (left,) = race.look({name: scores[name] for name in "ab"})
    assert (left.checkpoint, left.leader, race.survivors) == ("b", "a", ("a", "c"))
    assert race.look({"c": scores["c"]}) == ()
    assert race.result({"a": scores["a"]}).members == ("a",)


def test_a_race_needs_a_score_and_ends_with_its_looks() -> None:
    scores = {name: PairedScore.from_values([1.0, 2.0]) for name in "ab"}
    race = Race("ab", "lower", looks=1)
    with pytest.raises(ValueError, match=r"some of \['a', 'b'\], got none"):
        race.look({"c": scores["a"]})
    race.look(scores)
    with pytest.raises(ValueError, match="as often as was said"):
        race.look(scores)
