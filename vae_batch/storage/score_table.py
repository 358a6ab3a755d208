"""The score table: one row per (checkpoint, extractor), written whole, upserted by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from vae_batch.plan.credentials import values_without_credentials
from vae_batch.plan.errors import InputError
from vae_batch.plan.spec import WITHOUT_EXTRACTOR
from vae_batch.storage.score_rows import ScoreRow, require_key
from vae_batch.storage.score_schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY
from vae_batch.storage.store import Store
from vae_batch.storage.tables import read_table, reading_table, to_pandas, write_table

NAME = "scores"

Record = dict[str, Any]

#: Seconds that rows wait for others, at least and at most; in between, so many times as long as
#: the table took to be written, which so costs a small share of a run.
_WAIT, _LONGEST_WAIT, _WAIT_SHARE = 1.0, 30.0, 20.0


def read_score_rows(store: Store) -> list[ScoreRow]:
    """Rows of the table, in its order; empty where there is no table yet.

    Tables of version 0.1 are read, too: their reasons get the code ``unknown``.

    Raises:
        InputError: A newer version wrote the table.
        OSError: The file is damaged.
    """
    records = _read_records(store)
    with reading_table(store, NAME):
        return [ScoreRow.from_record(record) for record in records]


def read_scores(store: Store) -> pd.DataFrame:
    """The table as a pandas frame with nullable types; columns as in :data:`SCHEMA`.

    Raises:
        InputError, OSError: As :func:`read_score_rows`.
    """
    return to_pandas(pa.Table.from_pylist(_read_records(store), schema=SCHEMA))


def upsert_scores(store: Store, rows: Iterable[ScoreRow]) -> None:
    """Replace or add rows by (checkpoint, extractor), and write Parquet and CSV.

    Upserting the same rows again changes nothing. Rows are ordered by step, checkpoint and
    extractor; texts are stored without credentials.

    Raises:
        KeyError: A row has a score that the schema has no column for.
        InputError, OSError: As :func:`read_score_rows`.
    """
    records = {_key(record): record for record in _read_records(store)}
    new = [values_without_credentials(row.to_record()) for row in rows]
    for key in superseded(records, map(_key, new)):
        del records[key]
    records |= {_key(record): record for record in new}
    ordered = sorted(records.values(), key=_order)
    write_table(store, NAME, pa.Table.from_pylist(ordered, schema=SCHEMA))


def superseded(
    before: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Rows without an extractor that give way to new ones with one, by (checkpoint, extractor)."""
    scored = {checkpoint for checkpoint, extractor in new if extractor != WITHOUT_EXTRACTOR}
    return {key for key in before if key[1] == WITHOUT_EXTRACTOR and key[0] in scored}


def _read_records(store: Store) -> list[Record]:
    """Records by the columns of the present schema."""
    table = read_table(store, NAME, SCHEMA)
    if table is None:
        return []
    with reading_table(store, NAME):
        records: list[Record] = table.to_pylist()
        version = int((table.schema.metadata or {}).get(VERSION_KEY, b"1"))
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{store.shown_path(f'{NAME}.parquet')} has version {version} of the score table, and "
            f"this release of vae_batch reads versions up to {SCHEMA_VERSION}; install the release "
            "that wrote it, or a newer one"
        )
    with reading_table(store, NAME):
        if version < SCHEMA_VERSION:
            return [ScoreRow.from_record(record).to_record() for record in records]
        for record in records:
            require_key(record)
        return [{name: record.get(name) for name in SCHEMA.names} for record in records]


class ScoreWriter:
    """Writes rows into the table: one at a time, or several at once where they come fast.

    Writing a row means writing the whole table, so a row that comes soon after another waits for
    more. A crash loses the waiting rows, which can be computed again from stored files, and
    nothing that was in the table.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to the table of ``store``; ``clock`` gives seconds."""
        self._store, self._clock = store, clock
        self._waiting: dict[tuple[str, str], ScoreRow] = {}
        self._due = clock()

    def add(self, rows: Iterable[ScoreRow]) -> None:
        """Rows to be written with the next ``write``."""
        self._waiting |= {row.key: row for row in rows}

    @property
    def is_due(self) -> bool:
        """Whether rows wait, and the last ones were written long enough ago."""
        return bool(self._waiting) and self._clock() >= self._due

    def write(self) -> None:
        """Write all rows that wait."""
        if not self._waiting:
            return
        began = self._clock()
        upsert_scores(self._store, self._waiting.values())
        self._waiting = {}
        ended = self._clock()
        self._due = ended + min(_LONGEST_WAIT, max(_WAIT, _WAIT_SHARE * (ended - began)))


def _key(record: Record) -> tuple[str, str]:
    return record["checkpoint"], record["extractor"]


def _order(record: Record) -> tuple[bool, int, str, str]:
    step = record["step"]
    return (step is None, step or 0, *_key(record))
