"""Counters of a run: the reference, checkpoints by state, shards, rows, faults, and time."""

from __future__ import annotations

from support.runs.planned_rows import (
    REFERENCE,
    Clock,
    new_counters,
    planned_row,
    row_scored,
    shard_done,
)

from vae_batch.plan import Unit
from vae_batch.run.progress.counters import Counters
from vae_batch.run.progress.events import (
    FaultMet,
    PartDamaged,
    PhaseBegan,
    PhaseEnded,
    RowFailed,
    Tick,
    UnitReduced,
    WorkBegan,
    WorkersStarted,
)
from vae_batch.run.progress.snapshot import Part, Work, faults_in_words


def test_a_checkpoint_from_waiting_to_scored() -> None:
    first, second = planned_row("a"), planned_row("b")
    counters = new_counters([first, second])
    found = counters.snapshot()
    # 2 shards of the reference, and 1 of losses and 3 generated for each of two checkpoints
    assert (found.shards_done, found.shards_total) == (0, 10)
    assert found.running == (Part("reference", 0, 2, 0),)
    assert (found.checkpoints, found.waiting) == (2, 2)
    for _ in range(2):
        counters(shard_done(REFERENCE))
    assert counters.snapshot().running == ()
    counters(shard_done(first.units["losses"]))
    found = counters.snapshot()
    assert found.running == (Part("runs/a", 1, 4, 0),)
    assert found.waiting == 1
    for _ in range(3):
        counters(shard_done(first.units["generated"]))
    assert counters.snapshot().running == (Part("runs/a", 4, 4, 0),)
    counters(row_scored(first))
    found = counters.snapshot()
    assert (found.scored, found.waiting, found.running) == (1, 1, ())
    assert (found.shards_done, found.shards_total) == (6, 10)


def test_units_that_rows_share_are_counted_once() -> None:
    rows = [planned_row("a", "first"), planned_row("a", "second")]
    counters = new_counters(rows)
    assert counters.snapshot().shards_total == 6
    for _ in range(2):
        counters(shard_done(REFERENCE))
    counters(shard_done(rows[0].units["losses"]))
    counters(row_scored(rows[0]))
    assert counters.snapshot().scored == 0, "its other row is open"
    counters(row_scored(rows[1]))
    assert counters.snapshot().scored == 1


def test_shards_of_a_failed_checkpoint_are_skipped() -> None:
    first, second = planned_row("a"), planned_row("b")
    counters = new_counters([first, second])
    counters(shard_done(first.units["losses"]))
    counters(RowFailed(first, "it is broken"))
    found = counters.snapshot()
    assert (found.failed, found.waiting) == (1, 1)
    # one of its four shards was done and stays; 2 of the reference and 4 of the other are left
    assert (found.shards_done, found.shards_total) == (1, 7)
    assert found.running == (Part("reference", 0, 2, 0),)
    counters(shard_done(first.units["generated"]))  # it had begun before
    assert counters.snapshot().shards_done == 1


def test_damaged_shards_are_missing_again() -> None:
    row = planned_row("a")
    counters = new_counters([row])
    counters(shard_done(row.units["losses"]))
    counters(shard_done(row.units["generated"]))
    counters(PartDamaged(row.units["generated"], "part-0", is_shard=True))
    counters(PartDamaged(row.units["generated"], "moments", is_shard=False))
    found = counters.snapshot()
    assert found.running[-1] == Part("runs/a", 1, 4, retried=1)
    assert faults_in_words(found.faults) == "2 damaged files computed again"


def test_shards_that_are_tried_again_stand_beside_their_checkpoint() -> None:
    row = planned_row("a")
    counters = new_counters([row])
    counters(WorkersStarted("Ray", 8, 4))
    counters(shard_done(row.units["losses"]))
    path = row.units["generated"].path
    counters(FaultMet("workers lost", (path, path)))
    counters(Tick(7))
    found = counters.snapshot()
    assert found.running[-1].retried == 2
    assert found.faults == {"workers lost": 1}
    assert (found.devices, found.workers, found.at_work, found.cores) == ("Ray", 8, 7, 4)


def test_work_of_earlier_runs_is_counted() -> None:
    scored, half = planned_row("a"), planned_row("b")
    missing = {REFERENCE.path: 0, half.units["losses"].path: 0, half.units["generated"].path: 2}
    counters = Counters(Clock())
    assert not counters.has_work
    counters(WorkBegan((scored, half), (half,), missing))
    assert counters.has_work
    found = counters.snapshot()
    assert (found.scored, found.waiting) == (1, 0)
    assert found.running == (Part("runs/b", 2, 4, 0),)
    # shards of the scored checkpoint are not counted
    assert (found.shards_done, found.shards_total) == (4, 6)


def test_only_shards_that_make_images_count_as_images() -> None:
    clock = Clock()
    row = planned_row("a")
    row.units["gallery"] = Unit(
        "gallery/checkpoint=a", "gallery", "f", samples=1, shard_size=1, checkpoint="a"
    )
    counters = new_counters([row], clock)
    clock.now = 2.0
    counters(shard_done(row.units["gallery"], samples=1))
    assert counters.snapshot().images_per_second == 0
    counters(shard_done(row.units["losses"]))
    assert counters.snapshot().images_per_second == 5


def test_seconds_by_phase_and_by_kind_of_work() -> None:
    row = planned_row("a")
    counters = new_counters([row])
    for name, seconds in (("plan", 1.0), ("work", 2.0), ("work", 3.0)):
        counters(PhaseBegan(name))
        counters(PhaseEnded(name, seconds))
    counters(PhaseBegan("report"))
    for seconds in (1.5, 2.5):
        counters(shard_done(row.units["generated"], seconds))
    counters(UnitReduced(row.units["generated"], 0.25))
    counters(row_scored(row))
    found = counters.snapshot()
    assert (found.phase, found.phases) == ("report", {"plan": 1.0, "work": 5.0})
    assert found.work == (
        Work("generated", None, "cpu", count=2, images=20, size=200, seconds=4.0),
        Work("reductions", None, "", count=1, seconds=0.25),
        Work("scores", None, "", count=1, seconds=0.5),
    )


def test_the_rounds_of_a_race_are_counted_one_by_one_and_their_times_together() -> None:
    row = planned_row("a")
    counters = new_counters([row])
    counters(shard_done(row.units["losses"]))
    counters(WorkBegan((row,), (row,), {unit.path: 1 for unit in row.units.values()}))
    found = counters.snapshot()
    assert (found.shards_done, found.shards_total) == (3, 6)
    assert found.work[0].count == 1


def test_faults_in_words() -> None:
    two = {"workers lost": 1, "shards stuck": 2}
    assert faults_in_words(two) == "1 worker lost, 2 shards timed out"
    assert faults_in_words({"damaged files made again": 1}) == "1 damaged file computed again"
    assert faults_in_words({}) == ""
