"""Rows of an output folder as they were recorded: what scoring needs, without plan or model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.plan.credentials import lend_credentials
from vae_batch.run.output.run_record import RecordedRow, RunRecord, read_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Store, read_score_rows


@dataclass(frozen=True)
class ScoredRow:
    """A scored row of the table and the files it was made of."""

    fields: Mapping[str, Any]
    parts: RowParts


def open_record(location: str) -> RunRecord:
    """The record of an output folder.

    Its spec is stored without credentials. Here it takes those of ``location``: for ``out``, and
    for a shared reference cache of the same service; else the environment's are used.

    Raises:
      InputError: No run has begun there.
    """
    out = Store.open(location)
    record = read_record(out)
    if record is None:
        raise InputError(
            f"{out.shown} holds no run (no run.json); give the --out folder of a `vae-batch score`"
        )
    cache = record.spec.reference_cache
    places = {"out": location, "reference_cache": cache and lend_credentials(location, cache)}
    return replace(record, spec=record.spec.model_copy(update=places))


def scored_rows(location: str, record: RunRecord) -> list[ScoredRow]:
    """Rows that are scored and whose record is that of their score, in the table's order."""
    spec = record.spec.model_copy(update={"out": location})
    stores = RunStores.of(spec)
    recorded = {(row.checkpoint, row.extractor): row for row in record.rows}
    found = []
    for fields in read_score_rows(stores.out):
        row = recorded.get((fields["checkpoint"], fields["extractor"]))
        current = row is not None and row.fingerprint == fields["fingerprint"]
        if row is not None and current and fields["status"] == "scored":
            found.append(ScoredRow(fields, _parts(stores, spec, row, fields)))
    return found


def _parts(
    stores: RunStores, spec: EvaluationSpec, row: RecordedRow, fields: Mapping[str, Any]
) -> RowParts:
    """What the row's numbers are made of; the extractor's reason is that of its own row."""
    without = fields["inception_score_reason"] if fields["fid"] is not None else None
    asked = "not asked for" in (without or "")
    reading = spec.reading_of(row.checkpoint)
    reason = None if asked else without
    return RowParts(stores, row.units, spec, reading, reason, fields["reference_sha256"])
