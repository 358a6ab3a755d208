"""Where a run stands, read from receipts and the score table; needs no cluster and no model."""

from __future__ import annotations

from dataclasses import dataclass

from vae_batch.plan import Unit
from vae_batch.run.recorded import open_record
from vae_batch.run.stores import RunStores
from vae_batch.storage import finished_shards, read_score_rows


@dataclass(frozen=True)
class RowStatus:
    """A row and the shards that it still needs.

    Attributes:
      checkpoint: Label.
      extractor: Name.
      status: ``scored``, ``failed``, ``under way`` or ``waiting``.
      done: Finished shards of this row's units, the reference's among them.
      total: All shards of this row's units.
      reason: Why it failed.
    """

    checkpoint: str
    extractor: str
    status: str
    done: int
    total: int
    reason: str


def run_status(location: str) -> list[RowStatus]:
    """Status of every row that the runs of an output folder planned.

    Raises:
      InputError: No run has begun there.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec.model_copy(update={"out": location}))
    table = {(row["checkpoint"], row["extractor"]): row for row in read_score_rows(stores.out)}
    counted: dict[str, int] = {}
    statuses = []
    for row in record.rows:
        scored = table.get((row.checkpoint, row.extractor))
        current = scored if scored and scored["fingerprint"] == row.fingerprint else None
        done = sum(_done(stores, unit, counted) for unit in row.units.values())
        total = sum(len(unit.shards()) for unit in row.units.values())
        word = current["status"] if current else ("under way" if done else "waiting")
        reason = (current["reason"] or "") if current else ""
        statuses.append(RowStatus(row.checkpoint, row.extractor, word, done, total, reason))
    return statuses


def _done(stores: RunStores, unit: Unit, counted: dict[str, int]) -> int:
    """Finished shards of a unit; rows share units, each is counted once."""
    if unit.path not in counted:
        counted[unit.path] = len(finished_shards(stores.holding(unit), unit))
    return counted[unit.path]
