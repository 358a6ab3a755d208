"""Tickets: the ledger of a cluster gives each its shard, once, and for good."""

from __future__ import annotations

from typing import Any

import pytest

from vae_batch.plan import Unit
from vae_batch.run.execute.retry_ledger import Place
from vae_batch.run.execute.scheduling import Task

FIRST, SECOND = Place("node", "1", "a"), Place("node", "2", "b")

pytestmark = pytest.mark.usefixtures("ray_cluster")


def listed() -> list[Task]:
    units = [Unit(f"losses/{name}", "losses", "f", 3, 1, name) for name in ("x", "y")]
    return [(unit, shard) for unit in units for shard in unit.shards()]


def ask(ledger: Any, method: str, *arguments: Any, **named: Any) -> Any:
    import ray

    return ray.get(getattr(ledger, method).remote(*arguments, **named))


@pytest.fixture
def ledger() -> Any:
    from vae_batch.run.execute.on_ray.ledger import start_ledger

    return start_ledger(listed())


def test_workers_that_take_turns_stay_with_their_checkpoints(ledger: Any) -> None:
    found = []
    for ticket in range(6):
        unit, shard, permit = ask(ledger, "take", ticket, (FIRST, SECOND)[ticket % 2])
        ask(ledger, "end", shard)
        assert not permit.refusal
        found.append((unit.checkpoint, shard.start))
    assert found == [("x", 0), ("y", 0), ("x", 1), ("y", 1), ("x", 2), ("y", 2)]


def test_a_ticket_keeps_its_shard_when_its_worker_is_lost(ledger: Any) -> None:
    _, lost, _ = ask(ledger, "take", 0, FIRST)
    _, other, _ = ask(ledger, "take", 1, SECOND)
    unit, again, permit = ask(ledger, "take", 0, Place("node", "1", "its next process"))
    assert (again, unit.checkpoint) == (lost, "x")
    assert again != other
    assert permit.alone, "it was lost with a process, perhaps through its own fault"


def test_more_tickets_than_shards_are_a_fault_of_ours(ledger: Any) -> None:
    for ticket in range(6):
        ask(ledger, "take", ticket, FIRST)
    with pytest.raises(ValueError, match="ticket 6: all 6 shards have one"):
        ask(ledger, "take", 6, FIRST)
