"""Scored rows of an output folder and the stored files that they were computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vae_batch.plan import EvaluationSpec, InputError
from vae_batch.plan.credentials import lend_credentials
from vae_batch.run.output.run_record import RecordedRow, RunRecord, read_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import ScoreRow, Store, read_score_rows


@dataclass(frozen=True)
class ScoredRow:
    """A scored row of the table and the files that it was computed from."""

    row: ScoreRow
    parts: RowParts


def open_record(location: str) -> RunRecord:
    """The record of an output folder.

    Its spec is stored without credentials. Here it takes those of ``location``: for ``out``, and
    for a shared reference cache of the same service; otherwise the environment's are used.

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
    """Scored rows whose record has the same fingerprint, in the table's order."""
    spec = record.spec.model_copy(update={"out": location})
    stores = RunStores.of(spec)
    recorded = {(row.checkpoint, row.extractor): row for row in record.rows}
    found = []
    for row in read_score_rows(stores.out):
        planned = recorded.get(row.key)
        current = planned is not None and planned.fingerprint == row.provenance.fingerprint
        if planned is not None and current and row.status == "scored":
            found.append(ScoredRow(row, _parts(stores, spec, planned, row)))
    return found


def _parts(
    stores: RunStores, spec: EvaluationSpec, planned: RecordedRow, row: ScoreRow
) -> RowParts:
    """The files of a row; why its extractor has no class probabilities stands in the row."""
    reason = row.score("inception_score").reason
    is_extractors = reason is not None and reason.code == "no_class_probabilities"
    return RowParts(
        stores,
        planned.units,
        spec,
        spec.reading_of(planned.checkpoint),
        reason.text if reason is not None and is_extractors else None,
        row.conditions.reference_sha256,
    )
