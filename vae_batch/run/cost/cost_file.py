"""``cost.json``: what the runs of an output folder have cost, by kind of work, device and phase.

It is word of runs that are over, and no result: nothing is decided by it but estimates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.run.cost.default_rates import MAKE_NO_IMAGE
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_checked, encode_checked

COST_FILE = "cost.json"

#: Runs that are kept, the last ones.
_KEPT = 50


@dataclass(frozen=True)
class ShardCost:
    """What shards of one kind, extractor and device have cost.

    Attributes:
      kind: Of their units.
      extractor: Folder of it, or None.
      device: Where they were computed.
      shards: Number of them.
      images: Samples in them.
      size: Bytes of their files.
      seconds: That they kept workers busy, networks loaded on the way among them.
    """

    kind: str
    extractor: str | None
    device: str
    shards: int
    images: int
    size: int
    seconds: float


@dataclass(frozen=True)
class LightCost:
    """What light tasks of one kind have cost: their function, number and seconds."""

    task: str
    count: int
    seconds: float


@dataclass(frozen=True)
class RunCost:
    """What one run has cost.

    Attributes:
      at: When it ended, UTC.
      devices: In words.
      workers: At once; 0 where all was done in one process.
      cores: That they shared, where the machine is this one; 0 on a cluster.
      phases: Seconds by phase, in order: plan, start, work, compare, report; perhaps confirm.
      first_end: Seconds of ``work`` until the first shard had ended; None where none did.
      first_seconds: That this shard took on its worker.
      last_end: Seconds of ``work`` until the last one had ended.
      shards: What shards have cost.
      light: What light tasks have cost.
      planned_seconds: Of workers, for the same shards, by the rates known before; None where
        some were not.
      planned_size: Bytes expected of them.
    """

    at: str
    devices: str
    workers: int
    cores: int
    phases: Mapping[str, float]
    first_end: float | None
    first_seconds: float | None
    last_end: float | None
    shards: tuple[ShardCost, ...]
    light: tuple[LightCost, ...]
    planned_seconds: float | None
    planned_size: float

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(self.phases.values())

    @property
    def worker_seconds(self) -> float:
        """That workers were busy."""
        return sum(cost.seconds for cost in self.shards)

    @property
    def light_seconds(self) -> float:
        """Of all light tasks."""
        return sum(cost.seconds for cost in self.light)

    @property
    def shard_count(self) -> int:
        """Shards computed."""
        return sum(cost.shards for cost in self.shards)

    @property
    def images(self) -> int:
        """That were decoded, encoded or extracted."""
        return sum(cost.images for cost in self.shards if cost.kind not in MAKE_NO_IMAGE)

    @property
    def size(self) -> int:
        """Bytes of their files."""
        return sum(cost.size for cost in self.shards)


def add_cost(store: Store, cost: RunCost) -> None:
    """Write the cost of a run behind those before it.

    Raises:
      OSError: The store cannot be read or written.
    """
    kept = [*read_costs(store), cost][-_KEPT:]
    store.write(COST_FILE, encode_checked({"runs": [dataclasses.asdict(one) for one in kept]}))


def read_costs(store: Store) -> list[RunCost]:
    """Costs of runs, the last one at the end; none where the file is missing or damaged.

    Raises:
      OSError: The store cannot be read.
    """
    found = store.find(COST_FILE)
    if found is None:
        return []
    try:
        return [_run_cost(fields) for fields in decode_checked(found)["runs"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _run_cost(fields: Mapping[str, Any]) -> RunCost:
    shards = tuple(ShardCost(**cost) for cost in fields["shards"])
    light = tuple(LightCost(**cost) for cost in fields["light"])
    return RunCost(**{**fields, "shards": shards, "light": light})
