"""What the ledger says workers are at."""

from __future__ import annotations

from vae_batch.plan import Shard
from vae_batch.run.execute.retry_ledger import Attempts, Place
from vae_batch.run.progress.activity import Activity

FIRST, SECOND = Shard("a", 0, 10), Shard("a", 10, 20)
ONE, OTHER = Place("node", "1"), Place("node", "2")


def test_workers_with_a_shard_in_hand_and_shards_begun_again() -> None:
    ledger = Attempts()
    assert ledger.activity() == Activity(0, 0)
    ledger.begin(FIRST, "c", place=ONE)
    ledger.begin(SECOND, "c", place=ONE)  # computes one while it writes the other
    assert ledger.activity().at_work == 1
    ledger.end(SECOND)
    assert ledger.begin(FIRST, "c", place=OTHER).alone, "the first worker was lost with it"
    ledger.begin(FIRST, "c", alone=True, place=OTHER)
    assert ledger.activity() == Activity(1, 1, {"workers lost": 1}, {"a": 1})
    ledger.end(FIRST)
    assert ledger.activity().at_work == 0


def test_the_ledger_of_a_cluster_tells_the_same(ray_cluster: None) -> None:
    import ray

    from vae_batch.run.execute.on_ray.ledger import start_ledger

    ledger = start_ledger([])
    ray.get(ledger.begin.remote(FIRST, "c", place=ONE))
    assert ray.get(ledger.activity.remote()) == Activity(1, 1)
