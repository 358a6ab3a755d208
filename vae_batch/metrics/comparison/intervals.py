"""Confidence intervals of a single score."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtri  # type: ignore[import-untyped, unused-ignore]


@dataclass(frozen=True)
class Interval:
    """A score with the ends of its confidence interval.

    Attributes:
        value: the score.
        low: lower end, in the score's unit.
        high: upper end.
        level: the share of repetitions whose interval should hold the truth, in (0, 1).
    """

    value: float
    low: float
    high: float
    level: float

    @classmethod
    def around(
        cls, value: float, standard_error: float, level: float = 0.95, bias: float = 0.0
    ) -> Interval:
        """Symmetric normal interval, wider on both sides by a bound on the value's bias.

        Raises:
            ValueError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, got {level}")
        half = standard_error * float(ndtri((1 + level) / 2)) + bias
        return cls(value, value - half, value + half, level)
