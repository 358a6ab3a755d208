"""The score table: one row per (checkpoint, extractor), written whole, upserted by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from vae_batch.metrics import METRICS
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
        merged[_key(row)] = {name: row.get(name) for name in SCHEMA.names}
    ordered = sorted(merged.values(), key=_order)
    write_table(store, NAME, pa.Table.from_pylist(ordered, schema=SCHEMA))
    return ordered


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _order(row: Row) -> tuple[Any, ...]:
    step = row["step"]
    return (step is None, step or 0, row["checkpoint"], row["extractor"])
