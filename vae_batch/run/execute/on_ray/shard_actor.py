"""The actor that computes shards on a node; it knows nothing of other workers."""

from __future__ import annotations

import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray

from vae_batch.plan import Shard, Unit
from vae_batch.run.execute.on_ray.visibility import DriverFiles, refusal_here
from vae_batch.run.execute.timeout import Watchdog
from vae_batch.run.execute.worker import ShardOutcome, ShardWorker
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.log import set_up_logging

#: Shards that the driver keeps in flight: one computes while the one before is written.
IN_FLIGHT = 2

#: Calls at a time: the shards, and one that waits for the watchdog.
CONCURRENCY = IN_FLIGHT + 1

#: Seconds for a last reply to leave a process that is about to end.
_REPLY_S = 2.0


@dataclass(frozen=True)
class Place:
    """A process that computes.

    Attributes:
        node: Identifier of its node.
        process: Identifier of the process; a restarted actor has another one.
        refusal: Why it must not compute for this run; empty where it may.
    """

    node: str
    process: str
    refusal: str = ""


class ShardActor:
    """A `ShardWorker` in a process of its own, which Ray restarts when it is lost."""

    def __init__(self) -> None:
        """Wait for `start`; an error here would end the actor, and leave the driver no reason."""
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._noted = threading.Event()
        self._stuck: tuple[Shard, float] | None = None
        self._worker: ShardWorker | None = None
        self._pool = -1
        set_up_logging()

    def start(self, config: WorkerConfig, files: DriverFiles, pool: int) -> Place:
        """Make the worker, as the first call, again, or for another pool of workers.

        Returns:
            Where it runs.
        """
        if self._pool != pool:
            self._noted.set()  # ends the call that waits for the pool before
            self._noted = threading.Event()
            watchdog = Watchdog(config.spec.shard_timeout, self._note_stuck)
            self._worker = ShardWorker(config, watchdog, self._worker)
            self._pool = pool
        node = ray.get_runtime_context().get_node_id()
        return Place(node, self._process, refusal_here(files, extracts=True))

    def stuck(self) -> tuple[Shard, float] | None:
        """Wait until a shard exceeds its time limit: the shard and the limit in seconds.

        The process ends right afterwards. None where another pool of workers began instead.
        """
        self._noted.wait()
        return self._stuck

    def run(self, unit: Unit, shard: Shard, may_be_done: bool) -> ShardOutcome:
        """See `ShardWorker.run`."""
        if self._worker is None:
            raise RuntimeError("the actor was not started")
        return self._worker.run(unit, shard, may_be_done=may_be_done)

    def _note_stuck(self, shard: Shard, seconds: float) -> None:
        self._stuck = shard, seconds
        self._noted.set()
        time.sleep(_REPLY_S)


#: Options of the actor: the driver decides about every retry itself.
OPTIONS: dict[str, Any] = {
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": CONCURRENCY,
    "scheduling_strategy": "SPREAD",
}

REMOTE_SHARD_ACTOR: Any = ray.remote(ShardActor)
