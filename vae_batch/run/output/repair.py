"""Removes damaged files, so that the next run of the same settings computes only them again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vae_batch.run.compare.best_checkpoint import SELECTION
from vae_batch.run.output.layout import DAMAGED_RECORD
from vae_batch.run.output.lease import output_lease
from vae_batch.run.output.record_faults import TABLES
from vae_batch.run.output.run_record import RUN_FILE, RunRecord
from vae_batch.run.output.verify import Verification, runs_in
from vae_batch.storage import (
    ScoreRow,
    Store,
    forget,
    read_score_rows,
    upsert_scores,
)
from vae_batch.storage.receipts import shard_of_pictures
from vae_batch.storage.tables import csv_of, read_table


def mend(location: str, verification: Verification) -> None:
    """Remove damaged files.

    Receipts of damaged files are deleted, and rows computed from them lose their fingerprint, so
    that they are scored again; where a row's activations were pruned, they are computed again too.
    Damaged tables and records are deleted, and so are temporary files; a damaged CSV is written
    again. A damaged ``run.json`` is renamed: the next run writes its own and continues from
    everything that is stored. Rows of checkpoints that this run does not score stay in the table,
    but are not compared any more. A damaged history is written again by the next night, from the
    summaries of earlier nights and the score table.

    Raises:
        InputError: Another run uses the folder.
    """
    with output_lease(Store.open(location), run="verify --mend"):
        _mend(location, verification)


def _mend(location: str, verification: Verification) -> None:
    units = {bad.unit.path for bad in verification.bad if bad.unit is not None}
    for out, record in runs_in(location):
        names = {b.name for b in verification.bad if b.unit is None and b.store.root == out.root}
        _remove_tables(out, names)
        if record is not None:
            _reopen_rows(out, record, units)
        _write_csv(out, names)
        if RUN_FILE in names:
            out.write(DAMAGED_RECORD, out.read(RUN_FILE))
            out.delete(RUN_FILE)
    for bad in verification.bad:
        if bad.unit is not None:
            forget(bad.store, bad.unit, shard_of_pictures(bad.name))
            forget(bad.store, bad.unit, bad.name)
        elif bad.name != RUN_FILE and not bad.name.endswith((".csv", ".parquet")):
            bad.store.delete(bad.name)


def _remove_tables(out: Store, names: Collection[str]) -> None:
    """Delete tables whose Parquet is damaged; the CSV is only a copy for people."""
    for table in TABLES:
        if f"{table}.parquet" in names:
            out.delete(f"{table}.parquet")
            out.delete(f"{table}.csv")
    if "comparisons.parquet" in names:  # from which the selection was made
        out.delete(SELECTION)


def _reopen_rows(out: Store, record: RunRecord, units: Collection[str]) -> None:
    touched = {
        (row.checkpoint, row.extractor)
        for row in record.rows
        if any(unit.path in units for unit in row.units.values())
    }
    rows = [row for row in read_score_rows(out) if row.key in touched]
    if rows:
        upsert_scores(out, [_without_fingerprint(row) for row in rows])


def _without_fingerprint(row: ScoreRow) -> ScoreRow:
    """The row as one that must be scored again."""
    return replace(row, provenance=replace(row.provenance, fingerprint=None))


def _write_csv(out: Store, names: Collection[str]) -> None:
    """Write tables again of which only the CSV is damaged."""
    for name in TABLES:
        if f"{name}.csv" in names and f"{name}.parquet" not in names:
            table = read_table(out, name)
            if table is not None:
                out.write(f"{name}.csv", csv_of(table))
