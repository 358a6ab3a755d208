"""Where a run stands, read from receipts and the score table; needs no cluster and no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.run.output.recorded_rows import open_record
from vae_batch.run.output.run_record import RecordedRow
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import read_score_rows, unit_progress_of


@dataclass(frozen=True)
class RowStatus:
    """A row and the shards that it still needs.

    Attributes:
      checkpoint: Label.
      extractor: Name.
      status: ``scored``, ``failed``, ``under way`` or ``waiting``, where at most the reference
        has finished shards.
      done: Finished shards of this row's units, the reference's among them; of a scored row all,
        whether or not its activations were pruned since.
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

    Files of scored rows are not looked at (that is what ``verify_output`` does), so that the
    status of many rows costs about what is left to do.

    Raises:
      InputError: No run has begun there.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec.model_copy(update={"out": location}))
    table = {(row["checkpoint"], row["extractor"]): row for row in read_score_rows(stores.out)}
    current = [_current(row, table) for row in record.rows]
    pairs = list(zip(record.rows, current, strict=True))
    finished = _finished(stores, [row for row, fields in pairs if _word(fields) != "scored"])
    return [_status(row, fields, finished) for row, fields in pairs]


def _current(
    row: RecordedRow, table: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The row's fields in the score table, where they are of what is planned now."""
    fields = table.get((row.checkpoint, row.extractor))
    return fields if fields and fields["fingerprint"] == row.fingerprint else None


def _word(fields: Mapping[str, Any] | None) -> str | None:
    return fields["status"] if fields else None


def _finished(stores: RunStores, rows: Iterable[RecordedRow]) -> dict[str, int]:
    """Numbers of finished shards by unit; rows share units, each is counted once."""
    units = list({unit.path: unit for row in rows for unit in row.units.values()}.values())
    progress = unit_progress_of((stores.holding(unit), unit) for unit in units)
    return {unit.path: len(found.shards) for unit, found in zip(units, progress, strict=True)}


def _status(
    row: RecordedRow, fields: Mapping[str, Any] | None, finished: Mapping[str, int]
) -> RowStatus:
    total = sum(sum(1 for _ in unit.ranges()) for unit in row.units.values())
    is_scored = _word(fields) == "scored"
    done = total if is_scored else sum(finished[unit.path] for unit in row.units.values())
    own = 0 if is_scored else sum(finished[u.path] for u in row.units.values() if u.checkpoint)
    word = _word(fields) or ("under way" if own else "waiting")
    reason = (fields["reason"] or "") if fields else ""
    return RowStatus(row.checkpoint, row.extractor, word, done, total, reason)
