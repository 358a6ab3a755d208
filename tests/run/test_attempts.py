"""The attempt ledger: what is tried again, what is given up, and who is never blamed."""

from __future__ import annotations

from vae_batch.plan import Shard
from vae_batch.run.execute.retry_ledger import MAX_ATTEMPTS, MAX_MACHINES, Attempts, Permit, Place

GO, ALONE = Permit(), Permit(alone=True)

POISON = Shard("losses/checkpoint=bad", 64, 128)
OTHER = Shard("generated/checkpoint=bad", 0, 64)
HEALTHY = Shard("losses/checkpoint=good", 0, 64)


def begin_alone(ledger: Attempts, shard: Shard, checkpoint: str | None, place: Place) -> Permit:
    assert ledger.begin(shard, checkpoint, place=place) == ALONE
    return ledger.begin(shard, checkpoint, alone=True, place=place)


def worker(number: int, node: str = "a") -> Place:
    return Place(node, str(number), "1")


def test_a_shard_that_takes_workers_down_is_given_up_with_its_checkpoint() -> None:
    ledger = Attempts()
    assert ledger.begin(POISON, "bad", place=worker(0)) == GO
    for lost in range(1, MAX_ATTEMPTS):
        assert begin_alone(ledger, POISON, "bad", worker(lost)) == GO
    refused = ledger.begin(POISON, "bad", place=worker(3))
    assert refused.refusal == (
        "losses 64 to 128 took 3 workers down (out of memory, or a crash in the model's code); "
        "see the worker's log"
    )
    assert ledger.begin(OTHER, "bad", place=worker(4)) == refused
    assert ledger.begin(HEALTHY, "good", place=worker(4)) == GO
    assert ledger.faults() == {"workers lost": 3}


def test_a_poison_shard_is_given_up_although_its_checkpoint_is_fine() -> None:
    ledger = Attempts()
    ledger.begin(POISON, "bad", place=worker(0))
    for lost in range(1, MAX_ATTEMPTS):
        assert begin_alone(ledger, POISON, "bad", worker(lost)) == GO
        assert begin_alone(ledger, OTHER, "bad", worker(-lost)) == GO
        ledger.end(OTHER)
        assert ledger.begin(OTHER, "bad", place=worker(-lost)) == GO  # the checkpoint is cleared
        ledger.end(OTHER)
    assert "losses 64 to 128 took 3 workers down" in ledger.begin(POISON, "bad").refusal


def test_a_checkpoint_that_kills_whoever_loads_it_costs_each_worker_one_death_and_two_more() -> (
    None
):
    """Five workers meet it at once, each with another shard; nobody knows of the others."""
    ledger = Attempts()
    shards = [Shard("losses/checkpoint=bad", n, n + 1) for n in range(5)]
    for number, shard in enumerate(shards):
        assert ledger.begin(shard, "bad", place=worker(number)) == GO
    assert begin_alone(ledger, shards[0], "bad", worker(5)) == GO  # the first is back
    assert begin_alone(ledger, OTHER, "bad", worker(6)) == GO  # never tried, but suspect
    assert begin_alone(ledger, shards[0], "bad", worker(7)) == GO
    refused = ledger.begin(OTHER, "bad", place=worker(8)).refusal
    # Shards 1 to 4 have not come back, so that five losses are not known to the ledger.
    assert refused.startswith("it took 3 workers down (out of memory")
    assert refused.endswith("at last generated 0 to 64; see the worker's log")
    assert all(ledger.begin(shard, "bad").refusal == refused for shard in shards)


def test_a_worker_that_was_replaced_need_not_begin_with_what_it_was_lost_with() -> None:
    """Of the shards that wait for a worker any may come first; the one it died of is known."""
    ledger = Attempts()
    assert ledger.begin(POISON, "bad", place=Place("a", "w", "1")) == GO
    assert ledger.begin(HEALTHY, "good", place=Place("a", "other", "1")) == GO
    assert begin_alone(ledger, OTHER, "bad", Place("a", "w", "2")) == GO
    assert begin_alone(ledger, POISON, "bad", Place("a", "w", "3")) == GO
    assert (
        "it took 3 workers down" in ledger.begin(OTHER, "bad", place=Place("a", "w", "4")).refusal
    )
    ledger.end(HEALTHY)
    assert ledger.begin(HEALTHY, "good", place=Place("a", "other", "1")) == GO
    assert ledger.activity().at_work == 1


def test_many_deaths_at_once_are_no_evidence_against_a_checkpoint() -> None:
    """A machine out of memory may kill all its workers: whose fault it was, nobody knows."""
    ledger = Attempts()
    shards = [Shard("losses/checkpoint=good", n, n + 1) for n in range(8)]
    for number, shard in enumerate(shards):
        assert ledger.begin(shard, "good", place=worker(number)) == GO
    for number, shard in enumerate(shards):
        assert begin_alone(ledger, shard, "good", worker(10 + number)) == GO
    for shard in shards:
        ledger.end(shard)
    assert ledger.begin(HEALTHY, "good") == GO
    assert ledger.faults() == {"workers lost": 8}


def test_neighbours_of_a_crash_are_tried_alone_and_never_blamed() -> None:
    """Both shards in flight are lost with the process; one of them is the cause."""
    ledger = Attempts()
    for turn in range(MAX_ATTEMPTS):
        assert ledger.begin(HEALTHY, "good", place=worker(turn)) == GO
        if turn == 0:
            assert ledger.begin(POISON, "bad", place=worker(turn)) == GO
        else:
            assert begin_alone(ledger, POISON, "bad", worker(turn)) == GO
        # The process dies; the healthy one comes first, ends alone, and is free of suspicion ...
        assert begin_alone(ledger, HEALTHY, "good", worker(turn + 1)) == GO
        ledger.end(HEALTHY)
        # ... and is in flight once more, by chance, when the other takes the next process down.
    assert "took 3 workers down" in ledger.begin(POISON, "bad").refusal
    assert ledger.begin(HEALTHY, "good") == GO
    assert ledger.faults() == {"workers lost": 3}  # of which each lost two shards


def test_what_the_workers_are_at() -> None:
    ledger = Attempts()
    ledger.begin(POISON, "bad", place=worker(0))
    ledger.begin(HEALTHY, "good", place=worker(1))
    ledger.begin(OTHER, "bad", place=worker(1))
    assert ledger.activity().at_work == 2
    ledger.end(POISON)
    assert begin_alone(ledger, HEALTHY, "good", worker(2)) == GO
    found = ledger.activity()
    assert (found.at_work, dict(found.retried)) == (2, {HEALTHY.unit: 1})
    assert found.faults == {"workers lost": 1}


def test_an_end_clears_a_shard() -> None:
    ledger = Attempts()
    for turn in range(3 * MAX_ATTEMPTS):
        assert ledger.begin(HEALTHY, "good", place=worker(turn)) == GO
        assert begin_alone(ledger, HEALTHY, "good", worker(-turn - 1)) == GO
        ledger.end(HEALTHY)
    assert ledger.begin(HEALTHY, "good") == GO


def test_a_failed_checkpoint_is_refused_with_its_first_reason() -> None:
    ledger = Attempts()
    ledger.begin(POISON, "bad")
    ledger.fail("bad", "it is truncated")
    ledger.end(POISON)
    ledger.fail("bad", "later")
    for shard in (POISON, OTHER):
        assert ledger.begin(shard, "bad") == Permit(refusal="it is truncated")
    assert ledger.begin(HEALTHY, "good") == GO
    assert ledger.faults() == {}


def test_shards_of_the_reference_are_given_up_one_by_one() -> None:
    ledger = Attempts()
    first, second = Shard("images-1/a", 0, 64), Shard("images-1/a", 64, 128)
    ledger.begin(first, None, place=worker(0))
    for lost in range(1, MAX_ATTEMPTS):
        begin_alone(ledger, first, None, worker(lost))
    assert "took 3 workers down" in ledger.begin(first, None).refusal
    assert ledger.begin(second, None) == GO


def test_a_lost_machine_is_no_fault_of_its_shards() -> None:
    gone: set[str] = set()
    ledger = Attempts(gone.__contains__)
    assert ledger.begin(HEALTHY, "good", place=worker(0, "m0")) == GO
    for number in range(1, MAX_MACHINES):
        gone.add(f"m{number - 1}")
        assert begin_alone(ledger, HEALTHY, "good", worker(0, f"m{number}")) == GO
    assert ledger.faults() == {"machines lost": MAX_MACHINES - 1}
    gone.add(f"m{MAX_MACHINES - 1}")
    assert f"was lost with {MAX_MACHINES} machines" in ledger.begin(HEALTHY, "good").refusal


def test_a_stuck_shard_says_so_and_its_neighbour_is_not_blamed() -> None:
    ledger = Attempts()
    for turn in range(MAX_ATTEMPTS):
        assert ledger.begin(HEALTHY, "good", place=worker(turn)) == GO  # being written
        begin = begin_alone if turn else Attempts.begin
        assert begin(ledger, POISON, "bad", place=worker(turn)) == GO
        ledger.stuck(POISON, 30.0)
    reason = "losses 64 to 128 took longer than shard_timeout, 30 s, 3 times; see the worker's log"
    assert ledger.begin(POISON, "bad") == Permit(refusal=reason)
    assert ledger.faults() == {"shards stuck": 3}


def test_a_shard_may_be_stuck_and_crash() -> None:
    ledger = Attempts()
    ledger.begin(POISON, "bad", place=worker(0))
    begin_alone(ledger, POISON, "bad", worker(1))
    ledger.stuck(POISON, 30.0)
    begin_alone(ledger, POISON, "bad", worker(2))
    reason = ledger.begin(POISON, "bad").refusal
    assert "took 2 workers down" in reason
    assert "and took longer than shard_timeout, 30 s, 1 times" in reason


def test_loading_is_named_as_such() -> None:
    ledger, description = Attempts(), Shard("description/checkpoint=bad", 0, 1)
    ledger.begin(description, "bad", place=worker(0))
    for lost in range(1, MAX_ATTEMPTS):
        begin_alone(ledger, description, "bad", worker(lost))
    assert ledger.begin(OTHER, "bad", place=worker(9)) == ALONE
    assert ledger.begin(description, "bad").refusal.startswith("loading it took 3 workers down")
    assert ledger.begin(OTHER, "bad").refusal.startswith("loading it took 3 workers down")
    assert ledger.begin(HEALTHY, "good") == GO
