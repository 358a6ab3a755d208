"""A race between checkpoints: those that cannot be the best any more are scored no further.

    race = Race(names, "lower", looks=len(race_counts(first=500, growth=2.0, most=10_000)))
    for n in race_counts(500, 2.0, 10_000):
        race.look({name: score_of_the_first(n, name) for name in race.survivors})

Every checkpoint decodes the same latents and sees the same images, so that after n indices all
have scores over the same draws, and the differences between them are paired. A checkpoint leaves
once it is worse than the leader beyond a bound that holds over all looks and all rivals at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.special import stdtr  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.comparison.paired_difference import (
    PairedDifference,
    PairedScore,
    paired_difference,
)
from vae_batch.metrics.comparison.ranking import LevelWithBest, direction_sign, level_with_best


@dataclass(frozen=True)
class Elimination:
    """A checkpoint that has left the race.

    Attributes:
        checkpoint: Its name.
        count: Indices after which it left; its scores are scores of so many.
        leader: The best checkpoint then.
        difference: Checkpoint - leader over those indices.
        p_value: one-sided, of being no worse than the leader, for this one look and rival.
    """

    checkpoint: str
    count: int
    leader: str
    difference: PairedDifference
    p_value: float


class Race:
    """The checkpoints still in the race, and how the others left it.

    The checkpoint that is truly best leaves with a probability of at most ``alpha``: it can only
    leave by losing against one of K - 1 rivals at one of the looks, and each of these tests is
    made at ``alpha / ((K - 1) * looks)`` (Bonferroni: no assumption on how looks and rivals
    depend on each other, nor on how the leader was chosen). Each test is Student's t of paired
    differences, exact for normal ones, else by the central limit theorem. That theorem says nothing
    of an advantage that few indices carry and that were not drawn, or too few of them. So nobody
    leaves before indices of a share ``rare`` would have been drawn (``rare_count``), nor where it
    would stay if log(1/level) more indices had its largest gain seen so far.
    """

    def __init__(
        self, checkpoints: Iterable[str], better: str, looks: int, alpha: float = 0.05
    ) -> None:
        """A race that has not begun.

        Args:
            checkpoints: Names, each once.
            better: "lower" or "higher".
            looks: How often the race may be looked at.
            alpha: Probability that the truly best checkpoint leaves.

        Raises:
            ValueError: No checkpoints, a name twice, no looks, or an alpha outside (0, 1).
        """
        self._survivors = list(checkpoints)
        if not self._survivors or len(set(self._survivors)) < len(self._survivors):
            raise ValueError(f"checkpoints: expected different names, got {self._survivors}")
        if looks < 1 or not 0 < alpha < 1:
            raise ValueError(
                f"race: expected looks >= 1 and alpha between 0 and 1, got {looks} and {alpha}"
            )
        self._sign, self._better = direction_sign(better), better
        self._looks_left = looks
        self._alpha = alpha
        self._level = _level(len(self._survivors), looks, alpha)
        self._eliminated: dict[str, Elimination] = {}

    @property
    def survivors(self) -> tuple[str, ...]:
        """Checkpoints that may still be the best, in the order given."""
        return tuple(self._survivors)

    @property
    def eliminated(self) -> dict[str, Elimination]:
        """How each other checkpoint left, in the order in which they did."""
        return dict(self._eliminated)

    @property
    def level(self) -> float:
        """Level of each single test."""
        return self._level

    def withdraw(self, checkpoint: str) -> None:
        """Take one out that cannot be scored any more; the level of the tests stays.

        Raises:
            ValueError: It is not in the race.
        """
        if checkpoint not in self._survivors:
            raise ValueError(f"race: {checkpoint!r} is not among {self._survivors}")
        self._survivors.remove(checkpoint)

    def look(self, scores: Mapping[str, PairedScore]) -> tuple[Elimination, ...]:
        """Let those leave that are worse than the leader beyond doubt.

        Args:
            scores: Of survivors, over the same indices; those of earlier looks come first. A
                difference must exceed what may be left of the biases as well. A survivor without
                a score neither leads nor leaves.

        Returns:
            Those that leave now.

        Raises:
            ValueError: No survivor has a score, the scores have different lengths, or the race was
                looked at as often as was said.
        """
        ranked = [name for name in self._survivors if name in scores]
        if not ranked:
            raise ValueError(f"scores: expected one of some of {self._survivors}, got none")
        if self._looks_left < 1:
            raise ValueError("race: looked at as often as was said; the bound holds no further")
        self._looks_left -= 1
        leader = min(ranked, key=lambda name: self._sign * scores[name].value)
        leaving = [
            Elimination(name, found.count, leader, found, p)
            for name in ranked
            if name != leader
            for found in [paired_difference(scores[name], scores[leader])]
            for p in [self._p_value(found, scores[name], scores[leader])]
            if p <= self._level
        ]
        for elimination in leaving:
            self._survivors.remove(elimination.checkpoint)
            self._eliminated[elimination.checkpoint] = elimination
        return tuple(leaving)

    def result(self, scores: Mapping[str, PairedScore]) -> LevelWithBest:
        """The best of the survivors and those that are not distinguishable from it.

        The differences to survivors are tested at ``alpha``, adjusted for their number, beside
        the ``alpha`` that the eliminations have used.

        Args:
            scores: Of survivors at the last look; those without one are not among them.
        """
        found = {name: scores[name] for name in self._survivors if name in scores}
        return level_with_best(found, self._better, self._alpha)

    def _p_value(self, found: PairedDifference, own: PairedScore, leader: PairedScore) -> float:
        """One-sided, of a deterioration of at most the bias that may be left.

        As if log(1/level) more indices had the largest gain of all.
        """
        n, excess = found.count, self._sign * found.difference - found.bias_allowance
        gains = self._sign * (own.influence - leader.influence) + excess
        largest, more = min(0.0, float(gains.min())), math.log(1.0 / self._level)
        mean = (n * excess + more * largest) / (n + more)
        scatter = n * (excess - mean) ** 2 + more * (largest - mean) ** 2
        error = math.hypot(found.standard_error, math.sqrt(scatter / (n - 1) / n))
        if error == 0.0:
            return 0.0 if mean > 0 else 1.0
        return float(stdtr(n - 1, -mean / error))


def rare_count(rare: float, checkpoints: int, looks: int, alpha: float = 0.05) -> int:
    """Indices of which none is of a share ``rare`` with a probability of a single test's level.

    Args:
        rare: Share of the indices that may carry all of an advantage, in [0, 1).
        checkpoints: In the race.
        looks: How often it may be looked at.
        alpha: As in ``Race``.
    """
    if rare == 0.0:
        return 0
    return math.ceil(math.log(_level(checkpoints, looks, alpha)) / math.log1p(-rare))


def _level(checkpoints: int, looks: int, alpha: float) -> float:
    """Level of each single test."""
    return alpha / (max(1, checkpoints - 1) * looks)


def race_counts(first: int, growth: float, most: int) -> tuple[int, ...]:
    """Numbers of indices at which a race is looked at: first, first * growth, ..., most.

    Args:
        first: At the first look, at least 2.
        growth: Factor from look to look, above 1.
        most: At the last look.

    Raises:
        ValueError: Values that give no race.
    """
    if not 2 <= first <= most or not growth > 1:
        raise ValueError(
            f"race: expected 2 <= first <= most and growth > 1, got first {first}, growth "
            f"{growth}, most {most}"
        )
    looks = 1 + math.ceil(round(math.log(most / first) / math.log(growth), 9))
    return tuple(min(most, round(first * growth**k)) for k in range(looks))
