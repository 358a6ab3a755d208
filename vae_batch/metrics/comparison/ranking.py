"""Which checkpoint is better: each against the best and against the step before it.

    scores = {"step-1": PairedScore.from_values(nll_1), "step-2": PairedScore.from_values(nll_2)}
    level_with_best(scores, "lower").members
    comparison_table(scores, "lower")

Traps: the best of many is best partly by chance, so measure a winner again on fresh seeds
before its value is quoted. A step of training is no replicate: one run cannot show that one
recipe beats another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.comparison.paired_difference import (
    PairedDifference,
    PairedScore,
    holm_adjusted,
    paired_difference,
    paired_score,
)

Verdict = Literal["better", "worse", "level"]


@dataclass(frozen=True)
class LevelWithBest:
    """The best checkpoint and those that are not distinguishable from it.

    Attributes:
        best: The checkpoint with the best value; the first of several equal ones.
        members: ``best`` and every checkpoint whose adjusted p-value is above alpha, in the order
            given.
        differences: Each other checkpoint's difference from the best (checkpoint - best).
        adjusted_p: Its p-value, adjusted by Holm over these comparisons.
    """

    best: str
    members: tuple[str, ...]
    differences: dict[str, PairedDifference]
    adjusted_p: dict[str, float]

    @cached_property
    def member_names(self) -> frozenset[str]:
        """``members``, to be looked up among many."""
        return frozenset(self.members)


def level_with_best(
    scores: Mapping[str, PairedScore | ArrayLike], better: str, alpha: float = 0.05
) -> LevelWithBest:
    """Compare every checkpoint with the best one, adjusting for their number.

    The best is chosen from the same draws, which favours it; two-sided p-values and Holm's
    factor make up for that (a checkpoint that is truly best was left out in under alpha of
    simulated runs, see the tests). For a stricter claim measure the group on fresh seeds.

    Args:
        scores: A ``PairedScore`` or (n,) per-index values by checkpoint.
        better: "lower" or "higher".
        alpha: Probability of leaving out a checkpoint that is as good as the best.

    Raises:
        ValueError: No checkpoints, a direction that is neither, or as ``paired_difference``.
    """
    paired = {name: paired_score(score) for name, score in scores.items()}
    best = best_of({name: score.value for name, score in paired.items()}, better)
    differences = {
        name: paired_difference(score, paired[best])
        for name, score in paired.items()
        if name != best
    }
    return level_from_differences(best, paired, differences, alpha)


def best_of(values: Mapping[str, float], better: str) -> str:
    """The checkpoint with the best value; the first of several equal ones.

    Raises:
        ValueError: No checkpoints, or a direction that is neither "lower" nor "higher".
    """
    sign = direction_sign(better)
    if not values:
        raise ValueError("scores: expected at least one checkpoint, got none")
    return min(values, key=lambda name: sign * values[name])


def level_from_differences(
    best: str,
    names: Iterable[str],
    differences: Mapping[str, PairedDifference],
    alpha: float = 0.05,
) -> LevelWithBest:
    """As ``level_with_best``, from differences that were taken one by one.

    Args:
        best: Of ``best_of``.
        names: All checkpoints, in order.
        differences: Of each other checkpoint from the best (checkpoint - best), in order.
        alpha: As in ``level_with_best``.
    """
    p_values = _adjusted([difference.p_value for difference in differences.values()])
    adjusted = dict(zip(differences, p_values, strict=True))
    members = tuple(name for name in names if name == best or adjusted[name] > alpha)
    return LevelWithBest(best, members, dict(differences), adjusted)


@dataclass(frozen=True)
class ComparisonRow:
    """One checkpoint of ``comparison_table``.

    Attributes:
        checkpoint: Its name.
        value: Its score.
        is_best: Whether it is the best; then ``against_best`` is None.
        level_with_best: Whether it is not distinguishable from the best.
        against_best: This - best.
        best_p: p-value of that, adjusted over the table; 1 for the best itself.
        against_previous: This - the row before; None in the first row.
        previous_p: p-value of that, adjusted over the table; 1 in the first row.
        verdict: Against the row before, "level" unless ``previous_p`` is at most alpha.
    """

    checkpoint: str
    value: float
    is_best: bool
    level_with_best: bool
    against_best: PairedDifference | None
    best_p: float
    against_previous: PairedDifference | None
    previous_p: float
    verdict: Verdict


def comparison_table(
    scores: Mapping[str, PairedScore | ArrayLike], better: str, alpha: float = 0.05
) -> list[ComparisonRow]:
    """Every checkpoint against the best and against the one before it, in the order given.

    Raises:
        ValueError: As ``level_with_best``.
    """
    paired = {name: paired_score(score) for name, score in scores.items()}
    group = level_with_best(paired, better, alpha)
    steps = [None, *(paired_difference(paired[b], paired[a]) for a, b in pairwise(paired))]
    judged = judge_steps(steps, better, alpha)
    return [
        comparison_row(group, name, paired[name].value, step)
        for name, step in zip(paired, judged, strict=True)
    ]


@dataclass(frozen=True)
class Step:
    """A checkpoint against the one before it; see ``ComparisonRow``."""

    difference: PairedDifference | None
    p_value: float
    verdict: Verdict


NO_STEP = Step(None, 1.0, "level")
"""Of a checkpoint without one before it."""


def judge_steps(
    steps: Iterable[PairedDifference | None], better: str, alpha: float = 0.05
) -> list[Step]:
    """Adjusted p-values and verdicts of consecutive differences; None stays without.

    Raises:
        ValueError: A direction that is neither "lower" nor "higher".
    """
    sign, given = direction_sign(better), list(steps)
    adjusted = iter(_adjusted([step.p_value for step in given if step is not None]))
    judged = []
    for step in given:
        if step is None:
            judged.append(NO_STEP)
            continue
        p = next(adjusted)
        judged.append(Step(step, p, _verdict(step, p, sign, alpha)))
    return judged


def comparison_row(group: LevelWithBest, name: str, value: float, step: Step) -> ComparisonRow:
    """A row of ``comparison_table`` from its parts."""
    return ComparisonRow(
        name,
        value,
        name == group.best,
        name in group.member_names,
        group.differences.get(name),
        group.adjusted_p.get(name, 1.0),
        step.difference,
        step.p_value,
        step.verdict,
    )


def require_same_conditions(
    conditions_a: Mapping[str, object], conditions_b: Mapping[str, object]
) -> None:
    """Refuse to compare two rows that were not scored alike: n, extractor, weights, seed, ...

    Raises:
        ValueError: Names each field that differs, with both values.
    """
    absent = object()
    fields = dict.fromkeys([*conditions_a, *conditions_b])
    pairs = {f: (conditions_a.get(f, absent), conditions_b.get(f, absent)) for f in fields}
    words = [
        f"{field} ({', '.join('absent' if v is absent else repr(v) for v in pair)})"
        for field, pair in pairs.items()
        if pair[0] != pair[1]
    ]
    if words:
        raise ValueError(
            f"scores of different conditions do not compare: {'; '.join(words)}; "
            "score both checkpoints with the same settings"
        )


def _verdict(step: PairedDifference, p: float, sign: float, alpha: float) -> Verdict:
    if p > alpha or step.difference == 0.0:
        return "level"
    return "better" if sign * step.difference < 0 else "worse"


def direction_sign(better: str) -> float:
    """1 where lower values are better, -1 where higher ones are.

    Raises:
        ValueError: Neither.
    """
    if better not in ("lower", "higher"):
        raise ValueError(
            f"better: expected 'lower' or 'higher', got {better!r}; a metric with no better "
            "direction ranks no checkpoints"
        )
    return 1.0 if better == "lower" else -1.0


def _adjusted(p_values: list[float]) -> list[float]:
    return [float(p) for p in holm_adjusted(np.array(p_values, dtype=np.float64))]
