"""How fast a run goes, and how long what is left takes at that pace."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Seconds that the pace is taken over, so that it says what is, not what was.
_WINDOW = 60.0

#: Shards that it is taken over at least: where shards take minutes, few end within the window.
_FEWEST = 16

#: Last shards of a kind whose mean says what one costs.
_REMEMBERED = 64

#: Shards that tell the time left, unless each kind that is left has been met: the first ones load
#: networks, and are of the reference.
_TELLING = 8


@dataclass(frozen=True)
class _Ended:
    """A shard that has ended: when, its images, and the seconds that it kept a worker busy."""

    at: float
    images: int
    seconds: float


class Pace:
    """Made of shards as they end.

    A shard of losses costs less than one of an extractor, so the time left is told from the
    seconds that shards of each kind took on their workers, and from how many ran at a time: the
    workers' busy seconds for each second of the clock. What a driver does beside them lowers the
    latter, and so is allowed for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now; ``clock`` gives seconds."""
        self._clock = clock
        self._since = clock()
        self._ended: deque[_Ended] = deque()
        self._costs: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    def took(self, kind: str, images: int, seconds: float) -> None:
        """A shard of some kind has ended."""
        self._ended.append(_Ended(self._clock(), images, seconds))
        self._costs[kind].append(seconds)

    def images_a_second(self) -> float | None:
        """Images of the last minute by its seconds; None before the first shard has ended."""
        span = self._span()
        return sum(ended.images for ended in self._ended) / span if span else None

    def seconds_left(self, shards: Mapping[str, int]) -> float | None:
        """How long the shards left take, by their kind; None where that cannot be told yet."""
        span = self._span()
        at_once = sum(ended.seconds for ended in self._ended) / span if span else 0.0
        kinds = {kind for kind, count in shards.items() if count}
        if not at_once or (len(self._ended) < _TELLING and kinds - self._costs.keys()):
            return None
        return sum(shards[kind] * self._cost(kind) for kind in kinds) / at_once

    def _cost(self, kind: str) -> float:
        """Seconds of one shard; of a kind not met yet, the mean of those that were."""
        known = self._costs.get(kind) or [cost for all_ in self._costs.values() for cost in all_]
        return sum(known) / len(known)

    def _span(self) -> float:
        """Seconds that the kept shards have ended in; 0 where there are none."""
        now = self._clock()
        while len(self._ended) > _FEWEST and self._ended[0].at < now - _WINDOW:
            self._since = self._ended.popleft().at
        return max(now - self._since, 1e-9) if self._ended else 0.0
