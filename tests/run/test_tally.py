"""Counts of a run: the reference, checkpoints by state, shards and rows."""

from __future__ import annotations

from support.runs.planned_rows import REFERENCE, Clock, new_tally, planned_row

from vae_batch.run.progress.activity import Activity, faults_in_words
from vae_batch.run.progress.counters import Part, Tally


def test_a_checkpoint_from_waiting_to_scored() -> None:
    first, second = planned_row("a"), planned_row("b")
    tally = new_tally([first, second])
    standing = tally.standing()
    # 2 shards of the reference, and 1 of losses and 3 generated for each of two checkpoints
    assert (standing.shards_done, standing.shards_total) == (0, 10)
    assert standing.under_way == (Part("reference", 0, 2, 0),)
    assert (standing.checkpoints, standing.waiting) == (2, 2)
    for _ in range(2):
        tally.finished(REFERENCE, 10, 1.0)
    assert tally.standing().under_way == ()
    tally.finished(first.units["losses"], 10, 1.0)
    standing = tally.standing()
    assert standing.under_way == (Part("runs/a", 1, 4, 0),)
    assert standing.waiting == 1
    for _ in range(3):
        tally.finished(first.units["generated"], 10, 1.0)
    assert tally.standing().under_way == (Part("runs/a", 4, 4, 0),)
    tally.scored(first)
    standing = tally.standing()
    assert (standing.scored, standing.waiting, standing.under_way) == (1, 1, ())
    assert (standing.shards_done, standing.shards_total) == (6, 10)


def test_units_that_rows_share_are_counted_once() -> None:
    rows = [planned_row("a", "first"), planned_row("a", "second")]
    tally = new_tally(rows)
    assert tally.standing().shards_total == 6
    for _ in range(2):
        tally.finished(REFERENCE, 10, 1.0)
    tally.finished(rows[0].units["losses"], 10, 1.0)
    tally.scored(rows[0])
    assert tally.standing().scored == 0, "its other row is open"
    tally.scored(rows[1])
    assert tally.standing().scored == 1


def test_nobody_waits_for_shards_of_a_failed_checkpoint() -> None:
    first, second = planned_row("a"), planned_row("b")
    tally = new_tally([first, second])
    tally.finished(first.units["losses"], 10, 1.0)
    tally.failed(first)
    standing = tally.standing()
    assert (standing.failed, standing.waiting) == (1, 1)
    # one of its four shards was done and stays; 2 of the reference and 4 of the other are left
    assert (standing.shards_done, standing.shards_total) == (1, 7)
    assert standing.under_way == (Part("reference", 0, 2, 0),)
    tally.finished(first.units["generated"], 10, 1.0)  # had begun before
    assert tally.standing().shards_done == 1


def test_damaged_shards_are_missing_again() -> None:
    row = planned_row("a")
    tally = new_tally([row])
    tally.finished(row.units["losses"], 10, 1.0)
    tally.finished(row.units["generated"], 10, 1.0)
    tally.redone(row.units["generated"])
    assert tally.standing().under_way[-1] == Part("runs/a", 1, 4, retried=1)


def test_shards_that_workers_began_again_stand_beside_their_checkpoint() -> None:
    row = planned_row("a")
    tally = new_tally([row])
    tally.finished(row.units["losses"], 10, 1.0)
    activity = Activity(8, 7, {"workers lost": 1}, {row.units["generated"].path: 2})
    tally.note(activity)
    standing = tally.standing()
    assert standing.under_way[-1].retried == 2
    assert standing.activity == activity


def test_what_earlier_runs_did_is_there() -> None:
    scored, half = planned_row("a"), planned_row("b")
    missing = {REFERENCE.path: 0, half.units["losses"].path: 0, half.units["generated"].path: 2}
    standing = Tally([scored, half], [half], missing, Clock()).standing()
    assert (standing.scored, standing.waiting) == (1, 0)
    assert standing.under_way == (Part("runs/b", 2, 4, 0),)
    # the scored checkpoint's shards are nobody's concern any more
    assert (standing.shards_done, standing.shards_total) == (4, 6)
    assert Tally([scored], [], {}, Clock()).is_idle


def test_only_shards_that_make_images_count_as_images() -> None:
    clock = Clock()
    row = planned_row("a")
    row.units["gallery"] = row.units["losses"].__class__(
        "gallery/checkpoint=a", "gallery", "f", samples=1, shard_size=1, checkpoint="a"
    )
    tally = new_tally([row], clock)
    clock.now = 2.0
    tally.finished(row.units["gallery"], 1, 1.0)
    assert tally.standing().images_a_second == 0
    tally.finished(row.units["losses"], 10, 1.0)
    assert tally.standing().images_a_second == 5


def test_faults_in_words() -> None:
    assert (
        faults_in_words({"workers lost": 1, "shards stuck": 2}) == "1 worker lost, 2 shards stuck"
    )
    assert faults_in_words({"damaged files made again": 1}) == "1 damaged file made again"
    assert faults_in_words({}) == ""
