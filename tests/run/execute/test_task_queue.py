"""Workers stay with the checkpoint that they loaded, and none is idle while shards are left."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.task_queue import Task, TaskQueue


def tasks(checkpoint: str | None, kind: Kind, count: int) -> list[Task]:
    unit = Unit(f"{kind}/{checkpoint}", kind, "f", count, 1, checkpoint)
    return [(unit, shard) for shard in unit.shards()]


def run_of(checkpoints: int, shards: int, reference: int) -> list[Task]:
    listed = tasks(None, "reference", reference)
    for number in range(checkpoints):
        listed += tasks(str(number), "description", 1) + tasks(str(number), "generated", shards)
    return listed


def loads(order: list[tuple[int, Task]]) -> int:
    """Times that a worker which keeps two checkpoints loads one."""
    kept: dict[int, OrderedDict[str, None]] = {}
    count = 0
    for worker, (unit, _) in order:
        if unit.checkpoint is not None:
            own = kept.setdefault(worker, OrderedDict())
            count += unit.checkpoint not in own
            own.pop(unit.checkpoint, None)
            own[unit.checkpoint] = None
            while len(own) > 2:
                own.popitem(last=False)
    return count


def given_to(workers: list[int], listed: list[Task]) -> list[tuple[int, Task]]:
    """Who was given what, workers asking in this order again and again."""
    queue = TaskQueue(listed)
    order, asking = [], deque(workers)
    while (task := queue.next(asking[0])) is not None:
        order.append((asking[0], task))
        asking.rotate(-1)
    assert not queue
    return order


def test_one_worker_goes_checkpoint_by_checkpoint() -> None:
    listed = run_of(checkpoints=3, shards=4, reference=4)
    order = given_to([0], listed)
    # Half of the reference, then the first checkpoint is tried, then the rest as it is listed.
    expected = [0, 1, 4, 2, 3, *range(5, 19)]
    assert [task for _, task in order] == [listed[number] for number in expected]
    assert loads(order) == 3


def test_workers_load_each_checkpoint_once_where_there_are_more_checkpoints() -> None:
    listed = run_of(checkpoints=40, shards=5, reference=30)
    assert loads(given_to([0, 1, 2, 3], listed)) == 40
    assert loads([(number % 4, task) for number, task in enumerate(listed)]) > 100


def test_every_worker_tries_a_checkpoint_of_its_own_before_the_reference_is_done() -> None:
    order = given_to([0, 1], run_of(checkpoints=3, shards=2, reference=12))
    described = {
        worker: unit.checkpoint for worker, (unit, _) in order[:10] if unit.kind == "description"
    }
    assert described == {0: "0", 1: "1"}


def test_without_checkpoints_of_their_own_workers_help_where_most_is_left() -> None:
    listed = run_of(checkpoints=1, shards=2, reference=0)
    listed += tasks("big", "description", 1) + tasks("big", "generated", 8)
    queue = TaskQueue(listed)
    for worker in (0, 1, 2):
        queue.next(worker)
    helped = queue.next(3)
    assert helped is not None
    assert helped[0].checkpoint == "big"


def test_a_replaced_worker_has_nothing_loaded_and_its_checkpoint_goes_on() -> None:
    listed = run_of(checkpoints=2, shards=3, reference=0)
    queue = TaskQueue(listed)
    assert [queue.next("w"), queue.next("w")] == listed[:2]
    queue.unload("w")
    # The new process loads something anyway: it takes what nobody has.
    assert queue.next("w") == listed[4]
    queue.put_back(listed[1])
    assert {queue.next("other") for _ in range(6)} == {listed[n] for n in (1, 2, 3, 5, 6, 7)}
    assert queue.next("w") is None


def test_what_failed_is_dropped() -> None:
    listed = tasks("a", "losses", 3) + tasks("a", "generated", 2) + tasks("b", "losses", 1)
    queue = TaskQueue(listed)
    first = queue.next("w")
    assert first == listed[0]
    queue.drop(first[0], whole_checkpoint=False)
    assert queue.next("w") == listed[3]
    queue.drop(first[0], whole_checkpoint=True)
    assert queue.next("w") == listed[5]
    queue.drop(first[0], whole_checkpoint=True)  # nothing of it is left
    assert not queue


@pytest.mark.parametrize("described", [True, False])
def test_what_was_described_by_an_earlier_run_comes_after_the_reference(described: bool) -> None:
    listed = tasks(None, "reference", 2) + tasks("a", "losses" if described else "description", 2)
    found = [task for _, task in given_to([0], listed)]
    order = (0, 1, 2, 3) if described else (0, 2, 1, 3)
    assert found == [listed[number] for number in order]


@settings(deadline=None)
@given(st.integers(0, 7), st.integers(0, 6), st.integers(0, 9), st.integers(1, 6))
def test_every_task_is_given_once_whoever_asks(
    checkpoints: int, shards: int, reference: int, workers: int
) -> None:
    listed = run_of(checkpoints, shards, reference)
    rng = np.random.default_rng(checkpoints + 10 * shards + 100 * reference)
    queue = TaskQueue(listed)
    found = []
    while True:
        worker = int(rng.integers(workers))
        if rng.integers(4) == 0:
            queue.unload(worker)
        task = queue.next(worker)
        if task is None:
            break
        found.append(task)
    assert sorted(found, key=listed.index) == listed
    positions = {task[1]: place for place, task in enumerate(found)}
    for (first, one), (second, other) in itertools.pairwise(listed):
        if first.checkpoint == second.checkpoint:
            assert positions[one] < positions[other], "a checkpoint's shards keep their order"
