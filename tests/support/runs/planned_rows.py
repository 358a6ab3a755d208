"""Rows of a plan as a tally sees them: a job, a label and units; no files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vae_batch.plan import Unit
from vae_batch.run.progress.counters import Tally

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


def new_tally(rows: list[Any], clock: Clock | None = None) -> Tally:
    """A tally of which nothing is finished yet."""
    units = {unit.path: unit for row in rows for unit in row.units.values()}
    missing = {path: len(unit.shards()) for path, unit in units.items()}
    return Tally(rows, rows, missing, clock or Clock())
