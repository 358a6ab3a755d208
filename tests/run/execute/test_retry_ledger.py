"""The retry ledger: what is tried alone, what is given up, and who is never blamed."""

from __future__ import annotations

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.execute.task_queue import MAX_ATTEMPTS, MAX_MACHINES, RetryLedger, Task


def task(kind: Kind, checkpoint: str | None, number: int = 0) -> Task:
    unit = Unit(f"{kind}/checkpoint={checkpoint}", kind, "f", 640, 64, checkpoint)
    return unit, unit.shards()[number]


POISON, OTHER = task("losses", "bad", 1), task("generated", "bad")
HEALTHY = task("losses", "good")


def given_up(ledger: RetryLedger, tried: Task) -> str:
    """Why a shard is given up; empty where it is not."""
    failure = ledger.given_up(tried)
    return "" if failure is None else failure.reason


def crash(ledger: RetryLedger, tried: Task, *beside: Task) -> None:
    """A worker dies while it has these shards in flight."""
    for one in (tried, *beside):
        ledger.crashed(one, alone=not beside and ledger.is_suspect(one))


def test_a_shard_that_ends_its_workers_is_given_up_with_its_checkpoint() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS):
        assert given_up(ledger, POISON) == ""
        crash(ledger, POISON)
    assert given_up(ledger, POISON) == (
        "losses 64 to 128 took 3 workers down (out of memory, or a crash in the model's code); "
        "see the worker's log"
    )
    assert given_up(ledger, OTHER).startswith("it took 3 workers down")
    assert given_up(ledger, OTHER).endswith("at last generated 0 to 64; see the worker's log")
    assert not given_up(ledger, HEALTHY)
    assert not ledger.is_suspect(HEALTHY)


def test_a_poison_shard_is_given_up_although_its_checkpoint_is_fine() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS):
        crash(ledger, POISON)
        assert ledger.is_suspect(OTHER)
        ledger.ended(OTHER)
        assert not ledger.is_suspect(OTHER), "the checkpoint is cleared"
    assert "losses 64 to 128 took 3 workers down" in given_up(ledger, POISON)
    assert not given_up(ledger, OTHER)


def test_many_deaths_at_once_are_no_evidence_against_a_checkpoint() -> None:
    """A machine out of memory may kill all its workers: whose fault it was, nobody knows."""
    ledger = RetryLedger()
    shards = [task("losses", "good", number) for number in range(8)]
    for shard in shards:
        ledger.crashed(shard, alone=False)
    assert all(ledger.is_suspect(shard) and not given_up(ledger, shard) for shard in shards)
    for shard in shards:
        ledger.ended(shard)
    assert not ledger.is_suspect(HEALTHY)


def test_neighbours_of_a_crash_are_tried_alone_and_never_blamed() -> None:
    """Both shards in flight are lost with the process; one of them is the cause."""
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS + 1):
        crash(ledger, POISON, HEALTHY)
        assert ledger.is_suspect(HEALTHY)
        ledger.ended(HEALTHY)  # alone
        crash(ledger, POISON)  # alone
    assert "workers down" in given_up(ledger, POISON)
    assert not given_up(ledger, HEALTHY)


def test_an_end_clears_a_shard() -> None:
    ledger = RetryLedger()
    for _ in range(3 * MAX_ATTEMPTS):
        crash(ledger, HEALTHY)
        crash(ledger, HEALTHY)
        assert not given_up(ledger, HEALTHY)
        ledger.ended(HEALTHY)
    assert not ledger.is_suspect(HEALTHY)


def test_shards_of_the_reference_are_given_up_one_by_one() -> None:
    ledger = RetryLedger()
    first, second = task("reference", None), task("reference", None, 1)
    for _ in range(MAX_ATTEMPTS):
        crash(ledger, first)
    assert "took 3 workers down" in given_up(ledger, first)
    assert not ledger.is_suspect(second)


def test_a_lost_machine_is_no_fault_of_its_shards() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_MACHINES):
        assert not given_up(ledger, HEALTHY)
        ledger.lost_with_machine(HEALTHY)
    assert f"was lost with {MAX_MACHINES} machines" in given_up(ledger, HEALTHY)
    assert not given_up(ledger, task("generated", "good"))


def test_a_shard_that_times_out_says_so() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS):
        ledger.stuck(POISON, 30.0)
    reason = "losses 64 to 128 took longer than shard_timeout, 30 s, 3 times; see the worker's log"
    assert given_up(ledger, POISON) == reason


def test_a_shard_may_time_out_and_crash() -> None:
    ledger = RetryLedger()
    crash(ledger, POISON)
    ledger.stuck(POISON, 30.0)
    crash(ledger, POISON)
    reason = given_up(ledger, POISON)
    assert "took 2 workers down" in reason
    assert "and took longer than shard_timeout, 30 s, 1 times" in reason


def test_loading_is_named_as_such() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS):
        crash(ledger, task("description", "bad"))
    reason = given_up(ledger, task("description", "bad"))
    assert reason.startswith("loading it took 3 workers down")


def test_the_code_says_what_happened_most_often() -> None:
    ledger = RetryLedger()
    for _ in range(MAX_ATTEMPTS):
        crash(ledger, POISON)
        ledger.stuck(HEALTHY, 1.0)
    codes = [failure.code for one in (POISON, HEALTHY) if (failure := ledger.given_up(one))]
    assert codes == ["worker_lost", "timeout"]
