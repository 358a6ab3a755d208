"""Workers stay with the checkpoint that they have loaded, and none is idle while tasks are left."""

from __future__ import annotations

from collections import OrderedDict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.scheduling import Assignments, Task, assignments_of


def tasks(checkpoint: str | None, kind: Kind, count: int) -> list[Task]:
    unit = Unit(f"{kind}/{checkpoint}", kind, "f", count, 1, checkpoint)
    return [(unit, shard) for shard in unit.shards()]


def run_of(checkpoints: int, shards: int, reference: int) -> list[Task]:
    listed = tasks(None, "reference", reference)
    for number in range(checkpoints):
        listed += tasks(str(number), "description", 1) + tasks(str(number), "generated", shards)
    return listed


def loads(order: list[tuple[int, int]], listed: list[Task]) -> int:
    """Times that a worker which keeps two checkpoints loads one."""
    kept: dict[int, OrderedDict[str, None]] = {}
    count = 0
    for worker, number in order:
        checkpoint = listed[number][0].checkpoint
        if checkpoint is not None:
            own = kept.setdefault(worker, OrderedDict())
            count += checkpoint not in own
            own.pop(checkpoint, None)
            own[checkpoint] = None
            while len(own) > 2:
                own.popitem(last=False)
    return count


def given_to(workers: list[int], listed: list[Task]) -> list[tuple[int, int]]:
    """Who was given what, workers asking in this order again and again."""
    assignments = assignments_of(listed)
    order, asking = [], deque(workers)
    while (number := assignments.next(asking[0])) is not None:
        order.append((asking[0], number))
        asking.rotate(-1)
    return order


def test_one_worker_goes_checkpoint_by_checkpoint() -> None:
    listed = run_of(checkpoints=3, shards=4, reference=4)
    order = given_to([0], listed)
    # Half of the reference, then the first checkpoint is tried, then the rest as it is listed.
    assert [number for _, number in order] == [0, 1, 4, 2, 3, *range(5, 19)]
    assert loads(order, listed) == 3


def test_workers_load_each_checkpoint_once_where_there_are_more_checkpoints() -> None:
    listed = run_of(checkpoints=40, shards=5, reference=30)
    assert loads(given_to([0, 1, 2, 3], listed), listed) == 40
    in_order_of_the_list = [(number % 4, number) for number in range(len(listed))]
    assert loads(in_order_of_the_list, listed) > 100


def test_every_worker_tries_a_checkpoint_of_its_own_before_the_reference_is_done() -> None:
    listed = run_of(checkpoints=3, shards=2, reference=12)
    order = given_to([0, 1], listed)
    described = {
        worker: listed[number][0].checkpoint
        for worker, number in order[:10]
        if listed[number][0].kind == "description"
    }
    assert described == {0: "0", 1: "1"}


def test_without_checkpoints_of_their_own_workers_help_where_most_is_left() -> None:
    listed = run_of(checkpoints=1, shards=2, reference=0)
    listed += tasks("big", "description", 1) + tasks("big", "generated", 8)
    assignments = assignments_of(listed)
    for worker in (0, 1, 2):
        assignments.next(worker)
    number = assignments.next(3)
    assert number is not None
    assert listed[number][0].checkpoint == "big"


def test_a_replaced_worker_has_nothing_loaded_and_its_checkpoint_goes_on() -> None:
    listed = run_of(checkpoints=2, shards=3, reference=0)
    assignments = assignments_of(listed)
    assert assignments.next("w", "first") == 0
    assert assignments.next("w", "first") == 1
    # The new process loads something anyway: it takes what nobody has.
    assert assignments.next("w", "second") == 4
    rest = {assignments.next("other") for _ in range(5)}
    assert rest == {2, 3, 5, 6, 7}
    assert assignments.next("w", "second") is None


@pytest.mark.parametrize("described", [True, False])
def test_what_was_described_by_an_earlier_run_comes_after_the_reference(described: bool) -> None:
    assignments = Assignments([None, None, "a", "a"], [False, False, not described, False])
    found = [assignments.next(0) for _ in range(4)]
    assert found == ([0, 1, 2, 3] if described else [0, 2, 1, 3])


@settings(deadline=None)
@given(st.integers(0, 7), st.integers(0, 6), st.integers(0, 9), st.integers(1, 6))
def test_every_task_is_given_once_whoever_asks(
    checkpoints: int, shards: int, reference: int, workers: int
) -> None:
    listed = run_of(checkpoints, shards, reference)
    rng = np.random.default_rng(checkpoints + 10 * shards + 100 * reference)
    assignments = assignments_of(listed)
    found = []
    while (
        number := assignments.next(int(rng.integers(workers)), int(rng.integers(2)))
    ) is not None:
        found.append(number)
    assert sorted(found) == list(range(len(listed)))
    positions = {number: place for place, number in enumerate(found)}
    for first, second in zip(range(len(listed)), range(1, len(listed)), strict=False):
        if listed[first][0].checkpoint == listed[second][0].checkpoint:
            assert positions[first] < positions[second], "a checkpoint's tasks keep their order"
