"""A checkpoint is loaded by one worker before the others come to it."""

from __future__ import annotations

from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.task_order import Task, descriptions_ahead


def tasks(checkpoint: str | None, kind: Kind, count: int) -> list[Task]:
    unit = Unit(f"{kind}/{checkpoint}", kind, "f", count, 1, checkpoint)
    return [(unit, shard) for shard in unit.shards()]


def names(ordered: list[Task]) -> list[str]:
    return [f"{unit.checkpoint}:{unit.kind}" for unit, _ in ordered]


def test_descriptions_come_half_a_checkpoint_ahead() -> None:
    given = tasks(None, "reference", 2)
    for checkpoint in ("a", "b"):
        given += tasks(checkpoint, "description", 1) + tasks(checkpoint, "losses", 2)
        given += tasks(checkpoint, "generated", 2)
    ordered = descriptions_ahead(given)
    assert names(ordered) == [
        "None:reference", "a:description", "None:reference",
        "a:losses", "a:losses", "b:description", "a:generated", "a:generated",
        "b:losses", "b:losses", "b:generated", "b:generated",
    ]  # fmt: skip
    assert sorted(map(repr, ordered)) == sorted(map(repr, given))


def test_what_has_been_described_and_an_empty_list_stay_as_they_are() -> None:
    given = tasks("a", "losses", 3) + tasks("b", "losses", 1)
    assert descriptions_ahead(given) == given
    assert descriptions_ahead([]) == []
    first = tasks("a", "description", 1) + tasks("a", "losses", 1)
    assert descriptions_ahead(first) == first


def test_a_worker_that_keeps_two_checkpoints_loads_each_once() -> None:
    given: list[Task] = tasks(None, "reference", 3)
    for number in range(6):
        given += tasks(str(number), "description", 1) + tasks(str(number), "losses", number + 1)
    kept: list[str] = []
    loads = 0
    for unit, _ in descriptions_ahead(given):
        if unit.checkpoint is not None:
            loads += unit.checkpoint not in kept
            kept = [*(name for name in kept if name != unit.checkpoint), unit.checkpoint][-2:]
    assert loads == 6


def test_shards_of_a_unit_stay_in_order() -> None:
    given = tasks("a", "description", 1) + tasks("a", "losses", 5) + tasks("b", "description", 1)
    shards = [shard for unit, shard in descriptions_ahead(given) if unit.kind == "losses"]
    assert shards == [Shard("losses/a", n, n + 1) for n in range(5)]
