from __future__ import annotations

import numpy as np
import pytest

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.comparison.ranking import (
    comparison_table,
    level_with_best,
    require_same_conditions,
)


def _losses(*means: float, n: int = 400, noise: float = 0.1, seed: int = 0) -> dict:
    """Losses of checkpoints s0, s1, ... that share most of their scatter."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=n)
    return {f"s{i}": m + shared + noise * rng.normal(size=n) for i, m in enumerate(means)}


def test_the_group_level_with_the_best() -> None:
    # Standard error of a difference: .1 sqrt(2/400) = .007. s2 is best; s1 is far behind.
    losses = _losses(5.0, 3.0, 1.0, 1.0)
    losses["s3"] = losses["s2"] + np.where(np.arange(400) % 2, 0.05, -0.0499)
    group = level_with_best(losses, "lower")
    assert group.best == "s2"
    assert group.members == ("s2", "s3")
    assert set(group.differences) == {"s0", "s1", "s3"}
    assert group.differences["s1"].difference == pytest.approx(2.0, abs=0.05)
    assert group.adjusted_p["s1"] < 1e-10
    # s3 - s2 has mean .00005 and standard error .05 / 20: p = .98, alone above alpha.
    assert group.adjusted_p["s3"] == pytest.approx(0.984, abs=0.01)


def test_higher_is_the_mirror_of_lower() -> None:
    losses = _losses(1.0, 1.01, 0.99, 2.0)
    lower = level_with_best(losses, "lower")
    higher = level_with_best({k: -v for k, v in losses.items()}, "higher")
    assert (higher.best, higher.members) == (lower.best, lower.members)
    assert higher.adjusted_p == pytest.approx(lower.adjusted_p)
    rows = comparison_table(losses, "lower")
    mirror = comparison_table({k: -v for k, v in losses.items()}, "higher")
    assert [row.verdict for row in mirror] == [row.verdict for row in rows]


def test_equal_checkpoints_are_all_members() -> None:
    values = np.random.default_rng(1).normal(size=50)
    group = level_with_best({"a": values, "b": values.copy(), "c": values}, "higher")
    assert (group.best, group.members) == ("a", ("a", "b", "c"))
    assert level_with_best({"only": values}, "lower").members == ("only",)


def test_a_truly_best_checkpoint_is_seldom_left_out() -> None:
    # Ten equal checkpoints: whichever looks best, the first is left out in at most alpha of
    # the runs (measured .015 to .03); 200 runs scatter by .015.
    left_out = 0
    for seed in range(200):
        group = level_with_best(_losses(*[0.0] * 10, n=100, seed=seed), "lower")
        left_out += "s0" not in group.members
    assert left_out <= 0.05 * 200


def test_the_table_follows_the_steps() -> None:
    # Better, better, level, worse: lower losses are better.
    losses = _losses(5.0, 3.0, 1.0, 1.0, 2.0)
    losses["s3"] = losses["s2"] + np.where(np.arange(400) % 2, 0.05, -0.0499)
    rows = comparison_table(losses, "lower")
    assert [row.checkpoint for row in rows] == list(losses)
    assert [row.verdict for row in rows] == ["level", "better", "better", "level", "worse"]
    assert [row.is_best for row in rows] == [False, False, True, False, False]
    assert [row.level_with_best for row in rows] == [False, False, True, True, False]
    assert rows[0].against_previous is None
    assert rows[0].previous_p == 1.0
    assert rows[1].against_previous.difference == pytest.approx(-2.0, abs=0.05)
    assert rows[2].against_best is None
    assert rows[2].best_p == 1.0
    assert rows[4].against_best.difference == pytest.approx(1.0, abs=0.05)
    assert rows[4].value == pytest.approx(losses["s4"].mean())


def test_steps_are_adjusted_for_their_number() -> None:
    # One real step of 2.4 standard errors among twenty level ones: p = .017 alone, and at
    # least .3 among twenty, so that no verdict follows.
    pattern = np.where(np.arange(400) % 2, 1.0, -1.0) / 1.00125  # sd 1 with ddof 1
    flat = np.zeros(400)
    scores = {f"s{i}": flat + 1e-9 * i * pattern for i in range(20)}
    step = pattern + 2.4 / 20
    alone = comparison_table({"before": flat, "after": step}, "lower")
    assert alone[1].verdict == "worse"
    among = comparison_table({**scores, "after": scores["s19"] + step}, "lower")
    assert among[-1].verdict == "level"
    assert among[-1].previous_p == pytest.approx(20 * alone[1].previous_p, rel=1e-3)


def test_influences_are_compared_as_losses_are() -> None:
    losses = _losses(1.0, 1.002, 3.0)
    scores = {k: PairedScore(v.mean(), v - v.mean()) for k, v in losses.items()}
    assert level_with_best(scores, "lower").adjusted_p == pytest.approx(
        level_with_best(losses, "lower").adjusted_p
    )


def test_comparisons_that_make_no_sense_are_refused() -> None:
    losses = _losses(1.0, 2.0)
    with pytest.raises(ValueError, match="expected 'lower' or 'higher', got 'neither'"):
        level_with_best(losses, "neither")
    with pytest.raises(ValueError, match="at least one checkpoint"):
        comparison_table({}, "lower")
    losses["s1"] = losses["s1"][:300]
    with pytest.raises(ValueError, match="the same indices on both sides, got 300 and 400"):
        level_with_best(losses, "lower")


def test_rows_of_different_conditions_are_refused_by_name() -> None:
    row = {"samples": 10000, "extractor": "inception-2015", "seed": 0}
    require_same_conditions(row, dict(reversed(row.items())))
    other = {"samples": 5000, "extractor": "inception-2015", "resize": "tf1", "seed": 0}
    with pytest.raises(ValueError, match="conditions") as refusal:
        require_same_conditions(row, other)
    words = str(refusal.value)
    assert "samples (10000, 5000)" in words
    assert "resize (absent, 'tf1')" in words
    assert "seed" not in words
    assert "extractor" not in words
