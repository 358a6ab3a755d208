"""What the workers of a run are at, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Activity:
    """Workers and faults, as far as they are known where nobody waits for an answer.

    Attributes:
      workers: Number of workers when all are there.
      at_work: Of those, with a shard in hand.
      faults: Faults survived so far, counted by their kind.
      retried: Shards begun again after a fault, counted by the path of their unit.
    """

    workers: int
    at_work: int
    faults: Mapping[str, int] = field(default_factory=dict)
    retried: Mapping[str, int] = field(default_factory=dict)


def faults_in_words(faults: Mapping[str, int]) -> str:
    """Such as ``1 worker lost, 2 shards stuck``; empty where there were none."""
    kinds = {
        kind: kind if count != 1 else kind.replace("s ", " ", 1) for kind, count in faults.items()
    }
    return ", ".join(f"{count} {kinds[kind]}" for kind, count in faults.items())
