"""Counts of attempts that outlive the workers which made them."""

from __future__ import annotations

from typing import Any

import ray

from vae_batch.run.shard_worker import MAX_ATTEMPTS


@ray.remote(num_cpus=0)
class Ledger:
    """Lives beside the workers; Ray alone would retry a shard that kills them for ever."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], int] = {}
        self._given_up: set[str] = set()

    def begin(self, unit: str, shard: str, checkpoint: str | None) -> int:
        """See ``AttemptLedger.begin``."""
        key = (unit, shard)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if checkpoint is not None and self._attempts[key] > MAX_ATTEMPTS:
            self._given_up.add(checkpoint)
        return MAX_ATTEMPTS + 1 if checkpoint in self._given_up else self._attempts[key]

    def end(self, unit: str, shard: str) -> None:
        """See ``AttemptLedger.end``."""
        self._attempts.pop((unit, shard), None)


class LedgerClient:
    """The ledger as a worker calls it."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401
        self._actor = actor

    def begin(self, unit: str, shard: str, checkpoint: str | None) -> int:
        """See ``AttemptLedger.begin``."""
        return int(ray.get(self._actor.begin.remote(unit, shard, checkpoint)))

    def end(self, unit: str, shard: str) -> None:
        """See ``AttemptLedger.end``."""
        ray.get(self._actor.end.remote(unit, shard))
