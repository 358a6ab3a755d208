"""What the workers of a run do at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Activity:
    """Workers and faults, as far as they are known without waiting.

    Attributes:
        workers: Number of workers when all are there.
        at_work: Workers that hold a shard.
        faults: Faults survived so far, counted by kind.
        retried: Shards that were tried again after a fault, counted by the path of their unit.
    """

    workers: int
    at_work: int
    faults: Mapping[str, int] = field(default_factory=dict)
    retried: Mapping[str, int] = field(default_factory=dict)
