"""The score table: one row per (checkpoint, extractor), written whole, upserted by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from vae_batch.metrics import METRICS
from vae_batch.plan.credentials import values_without_credentials
from vae_batch.storage.store import Store
from vae_batch.storage.tables import read_table, to_pandas, write_table

NAME = "scores"

#: Between the sentences of the column ``warnings``.
FLAGS_APART = " | "

_TEXT, _COUNT, _NUMBER = pa.string(), pa.int64(), pa.float64()

_CONDITIONS = [
    ("checkpoint", _TEXT),
    ("step", _COUNT),
    ("status", _TEXT),
    ("reason", _TEXT),
    ("warnings", _TEXT),
    ("extractor", _TEXT),
    ("weights_sha256", _TEXT),
    ("protocol", _TEXT),
    ("feature_dim", _COUNT),
    ("n_generated", _COUNT),
    ("n_reference", _COUNT),
    ("left_race_at", _COUNT),
    ("reference", _TEXT),
    ("reference_split", _TEXT),
    ("reference_sha256", _TEXT),
    ("checkpoint_sha256", _TEXT),
    ("seed", _COUNT),
    ("model_format", _TEXT),
    ("model_range", _TEXT),
    ("input_fit", _TEXT),
    ("condition", _TEXT),
    ("second_head", _TEXT),
    ("likelihood", _TEXT),
    ("sigma", _NUMBER),
    ("sigma_source", _TEXT),
    ("beta", _NUMBER),
]

_PROVENANCE = [
    ("device", _TEXT),
    ("fingerprint", _TEXT),
    ("scored_at", _TEXT),
    ("version", _TEXT),
]


def _metric_columns() -> Iterator[tuple[str, pa.DataType]]:
    """A number, its standard error where it has one, and why it is undefined where it is."""
    for column, metric in METRICS.items():
        yield column, _NUMBER
        if metric.standard_error:
            yield f"{column}_se", _NUMBER
        yield f"{column}_reason", _TEXT
        if column == "fid":
            yield "fid_warning", _TEXT


#: Columns in order. Units and meanings of the metrics are in ``vae_batch.metrics.METRICS``.
SCHEMA = pa.schema([*_CONDITIONS, *_metric_columns(), *_PROVENANCE])

KEY = ("checkpoint", "extractor")

#: Seconds that rows wait for others, at least and at most; in between, so many times as long as
#: the table took to be written, which so costs a small share of a run.
_WAIT, _LONGEST_WAIT, _WAIT_SHARE = 1.0, 30.0, 20.0

Row = Mapping[str, Any]


def read_score_rows(store: Store) -> list[dict[str, Any]]:
    """Rows of the table as plain dictionaries; empty where there is no table yet.

    Raises:
      OSError: The file is damaged.
    """
    table = read_table(store, NAME)
    rows = [] if table is None else table.to_pylist()
    return [{name: row.get(name) for name in SCHEMA.names} for row in rows]


def read_scores(store: Store) -> pd.DataFrame:
    """The table as a pandas frame with nullable types; columns as in :data:`SCHEMA`."""
    return to_pandas(pa.Table.from_pylist(read_score_rows(store), schema=SCHEMA))


def upsert_scores(store: Store, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Replace or add rows by (checkpoint, extractor) and write Parquet and CSV.

    Doing it twice is doing it once. Rows are ordered by step, checkpoint and extractor.

    Returns:
      All rows of the table.

    Raises:
      KeyError: A row has a column that the schema does not know.
    """
    merged = {_key(row): dict(row) for row in read_score_rows(store)}
    for row in rows:
        unknown = set(row) - set(SCHEMA.names)
        if unknown:
            raise KeyError(f"columns {sorted(unknown)} are not in the score table's schema")
        fields = {name: row.get(name) for name in SCHEMA.names}
        merged[_key(row)] = values_without_credentials(fields)
    ordered = sorted(merged.values(), key=_order)
    write_table(store, NAME, pa.Table.from_pylist(ordered, schema=SCHEMA))
    return ordered


class ScoreWriter:
    """Brings rows into the table: each as it comes, and several at once where they come fast.

    To write a row is to write the table, so a row that comes soon after another waits for more.
    Rows that wait can be computed again from stored files, and the table is replaced whole: a
    crash loses seconds of rows, and nothing that was in the table.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to the table of ``store``; ``clock`` gives seconds."""
        self._store, self._clock = store, clock
        self._waiting: dict[tuple[Any, ...], Row] = {}
        self._due = clock()

    def add(self, rows: Iterable[Row]) -> None:
        """Rows to be written with the next ``write``."""
        self._waiting |= {_key(row): row for row in rows}

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


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _order(row: Row) -> tuple[Any, ...]:
    step = row["step"]
    return (step is None, step or 0, row["checkpoint"], row["extractor"])
