"""What a simulated run does and on what: shards, light tasks, workers and their losses.

All times are in seconds. Nothing here is random or has a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Checkpoint of shards that need none.
REFERENCE = -1


@dataclass(frozen=True)
class SimulatedTask:
    """One shard.

    Attributes:
      checkpoint: Number of it; ``REFERENCE`` where it needs none.
      kind: Of its unit.
      unit: Number of it.
      seconds: On the measured device with everything loaded.
      first: More seconds where a worker does this kind for this checkpoint for the first time.
    """

    checkpoint: int
    kind: str
    unit: int
    seconds: float
    first: float = 0.0


@dataclass(frozen=True)
class Workload:
    """What a run does.

    Attributes:
      tasks: In the order in which they are handed out.
      loads: Seconds to load each checkpoint.
      warm_up: Seconds that a worker's first shard takes more: imports, extractor, compilation.
      reductions: Seconds of the reduction of each unit that is reduced.
      rows: Units of each row that is scored, and the seconds of its score.
    """

    tasks: Sequence[SimulatedTask]
    loads: Mapping[int, float] = field(default_factory=dict)
    warm_up: float = 0.0
    reductions: Mapping[int, float] = field(default_factory=dict)
    rows: Sequence[tuple[frozenset[int], float]] = ()


@dataclass(frozen=True)
class Cluster:
    """On what it does it; times in seconds.

    Attributes:
      workers: At once.
      cores: That all workers and light tasks share; infinite where each worker is a device of its
        own, with cores enough.
      threads: Of a worker; its shards were measured with ``measured_threads``.
      measured_threads: See there.
      parallel: Share of a shard's seconds that more threads shorten (Amdahl).
      has_device: Whether each worker computes on a device of its own: its shards need no core.
      loading_cores: In use while a checkpoint is loaded.
      speedup: Of the device over the measured one; loading and light tasks are not sped up.
      boot: Until a new worker takes its first shard.
      dispatch: Of the driver's for each shard that it hands out.
      between: Of a worker's between two shards.
      light_slots: Light tasks at once.
      losses_an_hour: Of each worker, on average (Poisson).
      replacement: Until a lost worker has a machine again, before it boots.
    """

    workers: int
    cores: float = math.inf
    threads: int = 1
    measured_threads: int = 1
    parallel: float = 1.0
    has_device: bool = False
    loading_cores: float = 1.0
    speedup: float = 1.0
    boot: float = 0.0
    dispatch: float = 0.0
    between: float = 0.0
    light_slots: int = 1
    losses_an_hour: float = 0.0
    replacement: float = 0.0

    def computing(self, seconds: float) -> tuple[float, float]:
        """(seconds, cores in use) of measured shard seconds on a worker that no other slows."""
        if self.has_device:
            return seconds / self.speedup, 0.0
        alone = 1 - self.parallel + self.parallel * self.measured_threads
        scale = 1 - self.parallel + self.parallel * self.measured_threads / self.threads
        return seconds * scale / self.speedup, alone / scale


@dataclass(frozen=True)
class SimulatedRun:
    """What a simulation found; times in seconds, from the first hand-out.

    Attributes:
      seconds: Until the last score.
      shards_end: Until the last shard has ended.
      busy: Of all workers together, loading and what was lost among them.
      loading: Of these, imports, checkpoints and first calls.
      light_busy: Of light tasks.
      recomputed: Of ``busy``, spent on shards that were lost.
      losses: Workers lost.
      idle_share: Of the workers' time until ``shards_end``, in which they had nothing to compute.
    """

    seconds: float
    shards_end: float
    busy: float
    loading: float
    light_busy: float
    recomputed: float
    losses: int
    idle_share: float
