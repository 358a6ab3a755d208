"""Processor sharing: activities on the cores of one machine, slowed alike where they want more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Parts = Sequence[tuple[float, float]]
"""(seconds, cores) of what is done one after the other."""


class SharedCores:
    """Cores of one machine; what is under way on them is slowed alike where they are too few."""

    def __init__(self, cores: float) -> None:
        """Nothing is under way at time 0."""
        self._cores, self._since = cores, 0.0
        self._parts: dict[int, deque[list[float]]] = {}
        #: Changes with what is under way.
        self.version = 0

    def add(self, now: float, key: int, parts: Parts) -> None:
        """Begin something."""
        self._pass(now)
        self._parts[key] = deque([seconds, cores] for seconds, cores in parts)
        self.version += 1

    def remove(self, now: float, key: int) -> None:
        """Break something off."""
        self._pass(now)
        del self._parts[key]
        self.version += 1

    def next_end(self) -> tuple[float, int]:
        """When the next part of anything ends, and whose it is.

        Raises:
          ValueError: Nothing is under way.
        """
        slowed = self._rate()
        ends = (
            (self._since + max(0.0, parts[0][0]) / (slowed if parts[0][1] else 1.0), key)
            for key, parts in self._parts.items()
        )
        return min(ends)

    def end_part(self, now: float, key: int) -> bool:
        """The part under way of something has ended; whether that was its last."""
        self._pass(now)
        parts = self._parts[key]
        parts.popleft()
        self.version += 1
        if not parts:
            del self._parts[key]
        return not parts

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._parts

    def _pass(self, now: float) -> None:
        slowed = self._rate()
        for parts in self._parts.values():
            parts[0][0] -= (now - self._since) * (slowed if parts[0][1] else 1.0)
        self._since = now

    def _rate(self) -> float:
        wanted = sum(parts[0][1] for parts in self._parts.values())
        return min(1.0, self._cores / wanted) if wanted else 1.0
