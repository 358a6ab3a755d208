"""Rows of a plan as counters see them, and events of their run; no files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vae_batch.plan import Shard, Unit
from vae_batch.run.progress.counters import Counters
from vae_batch.run.progress.events import RowScored, ShardDone, WorkBegan

REFERENCE = Unit("reference/activations", "reference", "f", samples=20, shard_size=10)


def own_unit(name: str, kind: Any, shards: int) -> Unit:
    """A unit of a checkpoint with shards of 10 samples."""
    path = f"{kind}/checkpoint={name}"
    return Unit(path, kind, "f", samples=10 * shards, shard_size=10, checkpoint=name)


def planned_row(name: str, extractor: str = "e", *, generated: int = 3) -> Any:
    """One shard of losses, some of generated images, and the reference that all rows share."""
    units = {
        "reference": REFERENCE,
        "losses": own_unit(name, "losses", 1),
        "generated": own_unit(f"{name}", "generated", generated),
    }
    return SimpleNamespace(
        job=SimpleNamespace(identifier=name),
        checkpoint=SimpleNamespace(label=f"runs/{name}"),
        extractor=SimpleNamespace(name=extractor),
        units=units,
    )


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def work_of(rows: list[Any]) -> WorkBegan:
    """The begin of the work on rows of which nothing is finished."""
    units = {unit.path: unit for row in rows for unit in row.units.values()}
    missing = {path: len(unit.shards()) for path, unit in units.items()}
    return WorkBegan(tuple(rows), tuple(rows), missing)


def new_counters(rows: list[Any], clock: Clock | None = None) -> Counters:
    """Counters of rows of which nothing is finished."""
    counters = Counters(clock or Clock())
    counters(work_of(rows))
    return counters


def shard_done(unit: Unit, seconds: float = 1.0, samples: int = 10) -> ShardDone:
    """Any shard of a unit has been computed."""
    return ShardDone(unit, Shard(unit.path, 0, samples), seconds, "cpu", 100)


def row_scored(row: Any, sentence: str = "") -> RowScored:
    """A row has been scored in half a second."""
    return RowScored(row, sentence, 0.5)
