"""The queue against one that looks at everything each time, through random runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vae_batch.plan import Shard, Unit
from vae_batch.run.execute.failures import Failure
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.work_queue import WorkQueue
from vae_batch.storage import REDUCTION, Store, is_activations, write_with_receipt


@dataclass(frozen=True)
class Row:
    """What a queue asks of a planned row."""

    checkpoint: str
    extractor: str
    units: dict[str, Unit]

    @property
    def key(self) -> tuple[str, str]:
        return self.checkpoint, self.extractor

    @property
    def job(self) -> Any:
        return SimpleNamespace(identifier=self.checkpoint)


def make_rows(checkpoints: int) -> list[Row]:
    """Two extractors; losses are shared by the rows of a checkpoint, the reference by all."""
    return [
        Row(
            f"c{number}",
            extractor,
            {
                "reference": Unit(f"reference/{extractor}", "reference", "r", 3, 2),
                "losses": Unit(f"losses/c{number}", "losses", "l", 5, 2, f"c{number}"),
                "generated": Unit(
                    f"generated/c{number}/{extractor}", "generated", "g", 4, 2, f"c{number}"
                ),
            },
        )
        for number in range(checkpoints)
        for extractor in ("a", "b")
    ]


class PlainQueue:
    """The same rules, told by looking at all units and rows whenever something is asked."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {row.key: row for row in rows}
        self.units = {unit.path: unit for row in rows for unit in row.units.values()}
        self.missing = {path: set(unit.shards()) for path, unit in self.units.items()}
        self.reduced: set[str] = set()
        self.given: set[Any] = set()
        self.failed: set[str] = set()

    def is_settled(self, row: Row) -> bool:
        units = row.units.values()
        if all(unit.path not in self.failed for unit in units):
            return all(map(self.is_complete, units))
        own = [unit for unit in units if unit.checkpoint is not None]
        return all(unit.path in self.failed or self.is_complete(unit) for unit in own)

    def is_complete(self, unit: Unit) -> bool:
        return not self.missing[unit.path] and (
            not is_activations(unit) or unit.path in self.reduced
        )

    def reducible(self) -> set[str]:
        return {
            path
            for path, unit in self.units.items()
            if is_activations(unit)
            and not self.missing[path]
            and path not in self.reduced | self.given | self.failed
        }

    def scorable(self) -> set[Any]:
        return {
            key for key, row in self.rows.items() if key not in self.given and self.is_settled(row)
        }

    def fail(self, path: str) -> None:
        self.missing[path] = set()
        self.failed.add(path)


@pytest.mark.parametrize("seed", range(20))
def test_random_runs_give_what_looking_at_everything_gives(tmp_path: Path, seed: int) -> None:
    rows, draw = make_rows(4), random.Random(seed)
    stores = RunStores(Store.open(str(tmp_path / "out")), Store.open(str(tmp_path / "reference")))
    real, plain = WorkQueue(stores, rows), PlainQueue(rows)
    assert real.count() == (4 * (3 + 2 * 2) + 2 * 2, 0)
    reducing: list[Unit] = []
    scoring: list[Row] = []
    steps = 0
    while plain.rows:
        steps += 1
        assert steps < 1000
        assert real.has_ready() == bool(plain.reducible() or plain.scorable())
        expected = plain.reducible()
        taken = real.take_reducible()
        assert {unit.path for unit in taken} == expected
        assert len(taken) == len(expected)
        plain.given |= expected
        reducing += taken
        expected_rows = plain.scorable()
        taken_rows = real.take_scorable()
        for row in taken_rows:
            has_failed = any(unit.path in plain.failed for unit in row.units.values())
            assert (real.failure_of(row) is not None) == has_failed
        assert {row.key for row in taken_rows} == expected_rows
        plain.given |= expected_rows
        scoring += taken_rows
        assert {row.key for row in real.open_rows()} == set(plain.rows)
        missing = {shard for shards in plain.missing.values() for shard in shards}
        assert {shard for _, shard in real.missing()} == missing
        assert real.count()[1] == real.count()[0] - len(missing)
        choices = ["shard"] * 6 * bool(missing) + ["reduce"] * 3 * bool(reducing)
        choices += ["score", "score", "score", "damage"] * bool(scoring)
        choices += ["fail"] * (draw.random() < 0.02 and bool(unfinished(plain)))
        step(draw.choice(choices), draw, real, plain, reducing, scoring)
    assert real.open_rows() == []
    assert not real.has_ready()


def step(
    what: str,
    draw: random.Random,
    real: WorkQueue,
    plain: PlainQueue,
    reducing: list[Unit],
    scoring: list[Row],
) -> None:
    """One event, told to both."""
    if what == "shard":
        path = draw.choice([path for path, shards in plain.missing.items() if shards])
        shard = draw.choice(sorted(plain.missing[path]))
        plain.missing[path].discard(shard)
        assert real.finish(plain.units[path], shard) == (not plain.missing[path])
    elif what == "reduce":
        unit = reducing.pop(draw.randrange(len(reducing)))
        plain.reduced.add(unit.path)
        real.reduced(unit)
    elif what == "score":
        row = scoring.pop(draw.randrange(len(scoring)))
        if row.key in plain.rows:
            plain.rows.pop(row.key)
            real.close(row)
    elif what == "damage":
        row = scoring.pop(draw.randrange(len(scoring)))
        unit = draw.choice(list(row.units.values()))
        if row.key not in plain.rows or unit in reducing or unit.path in plain.failed:
            scoring.append(row)
            return
        name = draw.choice([shard.name for shard in unit.shards()])
        if is_activations(unit) and draw.random() < 0.5:
            name = REDUCTION
        plain.given -= {row.key, unit.path}
        plain.reduced.discard(unit.path)
        plain.missing[unit.path] |= {shard for shard in unit.shards() if shard.name == name}
        real.reopen(row)
        real.forget(unit, name)
    else:
        path = draw.choice(unfinished(plain))
        plain.fail(path)
        real.fail(plain.units[path], Failure(f"{path} failed"))


def unfinished(plain: PlainQueue) -> list[str]:
    """Paths of checkpoints' units that miss shards."""
    return [p for p, shards in plain.missing.items() if shards and plain.units[p].checkpoint]


def test_what_is_stored_is_done(tmp_path: Path) -> None:
    rows = make_rows(2)
    stores = RunStores(Store.open(str(tmp_path / "out")), Store.open(str(tmp_path / "reference")))
    first = rows[0].units["generated"]
    for unit in rows[0].units.values():
        for shard in unit.shards():
            write_with_receipt(
                stores.holding(unit), unit, shard.name, b"x" * len(shard), rows=len(shard)
            )
    write_with_receipt(stores.out, first, REDUCTION, b"moments", rows=first.samples)
    queue = WorkQueue(stores, rows)
    assert queue.count()[1] == 2 + 3 + 2
    assert [unit.kind for unit in queue.take_reducible()] == ["reference"]
    assert queue.take_scorable() == []
    queue.reduced(rows[0].units["reference"])
    assert queue.take_scorable() == [rows[0]]
    assert all(unit.path != first.path for unit, _ in queue.missing())


def test_a_late_reduction_of_a_damaged_unit_completes_nothing(tmp_path: Path) -> None:
    """A shard was found damaged while its unit was being reduced: the row waits for the shard."""
    (row, _) = make_rows(1)
    stores = RunStores(Store.open(str(tmp_path / "out")), Store.open(str(tmp_path / "reference")))
    queue = WorkQueue(stores, [row])
    for unit, shard in queue.missing():
        queue.finish(unit, shard)
    assert len(queue.take_reducible()) == 2
    queue.reduced(row.units["reference"])
    generated = row.units["generated"]
    shard = generated.shards()[0]
    queue.forget(generated, shard.name)
    queue.reduced(generated)
    assert queue.take_scorable() == []
    queue.finish(generated, Shard(generated.path, shard.start, shard.stop))
    assert queue.take_scorable() == [row]


def test_a_failed_unit_fails_its_rows_when_the_checkpoint_has_no_other_work(tmp_path: Path) -> None:
    """Losses are still computed; the reference, which other rows need, is not waited for."""
    rows = make_rows(1)
    stores = RunStores(Store.open(str(tmp_path / "out")), Store.open(str(tmp_path / "reference")))
    queue = WorkQueue(stores, rows)
    losses, generated = rows[0].units["losses"], rows[0].units["generated"]
    queue.fail(generated, Failure("NaN"))
    queue.fail(generated, Failure("later"))
    assert not queue.has_ready()
    assert generated not in queue.unfinished("c0")
    for shard in losses.shards():
        queue.finish(losses, shard)
    assert queue.take_scorable() == [rows[0]]
    assert queue.failure_of(rows[0]) == Failure("NaN")
    assert queue.failure_of(rows[1]) is None
    queue.finish(generated, generated.shards()[0])  # was in flight: of no use any more
    assert queue.take_reducible() == []
