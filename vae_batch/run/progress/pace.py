"""How fast a run is, and how long the missing shards take at that pace."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Seconds over which the pace is taken, so that it is the present one.
_WINDOW = 60.0

#: Smallest number of shards over which it is taken; shards may take minutes.
_FEWEST = 16

#: Number of shards of a kind whose mean time is used, the last ones.
_REMEMBERED = 64

#: Shards that must have ended before the time left is estimated with kinds that have not ended
#: yet: the first ones load networks, and are of the reference.
_ENOUGH = 8


@dataclass(frozen=True)
class _Ended:
    """A shard that has ended: when, its images, and its seconds on a worker."""

    at: float
    images: int
    seconds: float


class Pace:
    """Images per second and time left.

    Shards of different kinds take different times. So the time left is the mean time of each
    kind's shards, summed over the missing ones, divided by how many run at the same time: busy
    seconds of all workers per second of the clock, which includes waiting for the driver.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._since = clock()
        self._ended: deque[_Ended] = deque()
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    def took(self, kind: str, images: int, seconds: float) -> None:
        """Note that a shard has ended."""
        self._ended.append(_Ended(self._clock(), images, seconds))
        self._seconds[kind].append(seconds)

    def images_per_second(self) -> float | None:
        """Images of the last minute per second; None before the first shard has ended."""
        span = self._span()
        return sum(ended.images for ended in self._ended) / span if span else None

    def seconds_left(self, shards: Mapping[str, int]) -> float | None:
        """Time that missing shards take, counted by kind; None if it cannot be estimated yet."""
        span = self._span()
        at_once = sum(ended.seconds for ended in self._ended) / span if span else 0.0
        kinds = {kind for kind, count in shards.items() if count}
        if not at_once or (len(self._ended) < _ENOUGH and kinds - self._seconds.keys()):
            return None
        return sum(shards[kind] * self._mean_seconds(kind) for kind in kinds) / at_once

    def _mean_seconds(self, kind: str) -> float:
        """Seconds of a shard; the mean over all kinds if none of this one has ended."""
        known = self._seconds.get(kind) or [s for kept in self._seconds.values() for s in kept]
        return sum(known) / len(known)

    def _span(self) -> float:
        """Seconds in which the kept shards have ended; 0 if there are none."""
        now = self._clock()
        while len(self._ended) > _FEWEST and self._ended[0].at < now - _WINDOW:
            self._since = self._ended.popleft().at
        return max(now - self._since, 1e-9) if self._ended else 0.0
