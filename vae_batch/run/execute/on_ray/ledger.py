"""The attempt ledger as an actor, which outlives the workers, and gives them their shards.

Ray alone would retry for ever, and hand out shards in the order of the list, whoever has which
checkpoint loaded.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vae_batch.plan import Shard
from vae_batch.run.execute.retry_ledger import Attempts, Permit, Place, Taken
from vae_batch.run.execute.scheduling import Task, assignments_of


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Ledger(Attempts):
    """Lives beside the driver: where workers run, machines may go."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(_node_is_dead)
        self._tasks = tasks
        self._assignments = assignments_of(tasks)
        self._of_ticket: dict[int, int] = {}

    def take(self, ticket: int, place: Place) -> Taken:
        """The shard of a ticket, begun; it keeps its shard when its worker is lost.

        Args:
          ticket: One of as many as there are tasks.
          place: Of the worker that has it.
        """
        if ticket not in self._of_ticket:
            number = self._assignments.next(place.worker, place.process)
            if number is None:
                raise ValueError(f"ticket {ticket}: all {len(self._tasks)} shards have one")
            self._of_ticket[ticket] = number
        unit, shard = self._tasks[self._of_ticket[ticket]]
        return unit, shard, self.begin(shard, unit.checkpoint, place=place)


def start_ledger(tasks: Sequence[Task]) -> Any:  # noqa: ANN401
    """A new ledger on the driver's node, of the shards to compute."""
    here = ray.get_runtime_context().get_node_id()
    beside = NodeAffinitySchedulingStrategy(here, soft=True)
    return Ledger.options(scheduling_strategy=beside).remote(tasks)  # type: ignore[attr-defined]


class LedgerClient:
    """The ledger as a worker calls it; made by the worker, whose place it notes."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401
        self._actor = actor
        here = ray.get_runtime_context()
        process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._place = Place(here.get_node_id(), here.get_actor_id() or process, process)

    def take(self, ticket: int) -> Taken:
        """See ``Ledger.take``."""
        taken: Taken = ray.get(self._actor.take.remote(ticket, self._place))
        return taken

    def begin(self, shard: Shard, checkpoint: str | None, *, alone: bool = False) -> Permit:
        """See ``AttemptLedger.begin``."""
        call = self._actor.begin.remote(shard, checkpoint, alone=alone, place=self._place)
        permit: Permit = ray.get(call)
        return permit

    def end(self, shard: Shard) -> None:
        """See ``AttemptLedger.end``."""
        ray.get(self._actor.end.remote(shard))

    def fail(self, checkpoint: str, reason: str) -> None:
        """See ``AttemptLedger.fail``."""
        ray.get(self._actor.fail.remote(checkpoint, reason))

    def stuck(self, shard: Shard, seconds: float) -> None:
        """See ``AttemptLedger.stuck``."""
        ray.get(self._actor.stuck.remote(shard, seconds))


def _node_is_dead(node: str) -> bool:
    return any(found["NodeID"] == node and not found["Alive"] for found in ray.nodes())
