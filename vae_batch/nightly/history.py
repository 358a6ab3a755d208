"""``history.parquet``: one row a night and checkpoint/extractor scored that night, for years.

``SELECT date, max(elbo) FROM 'history.parquet' WHERE status = 'scored' GROUP BY date``
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from vae_batch.storage import Store
from vae_batch.storage.score_schema import SCHEMA as SCORES
from vae_batch.storage.tables import read_table, write_table

NAME = "history"

#: Verdict of rows that were scored before the first night: they are compared with, not judged.
ADOPTED = "adopted"

_DIFFERENCE = ("", "_low", "_high", "_p")

#: Of the night. Differences are this checkpoint less the other in the unit of ``judged_by``, with
#: an interval of 95 %; p-values are adjusted by Holm over the night's checkpoints.
_NIGHT = [
    ("series", pa.string()),
    ("is_newest", pa.bool_()),
    ("written_at", pa.timestamp("s", tz="UTC")),
    ("judged_by", pa.string()),
    ("verdict", pa.string()),
    ("regressions", pa.string()),
    ("best_before", pa.string()),
    *((f"from_best{part}", pa.float64()) for part in _DIFFERENCE),
    ("latest_before", pa.string()),
    *((f"from_latest{part}", pa.float64()) for part in _DIFFERENCE),
]

#: Why single numbers are undefined stays in the score table; all else of it is kept here.
_FROM_SCORES = [
    field
    for field in SCORES
    if not field.name.endswith("_reason") and field.name not in ("fid_warning", "reason_codes")
]

SCHEMA = pa.schema([("date", pa.date32()), *_NIGHT, *_FROM_SCORES])

KEY = ("date", "checkpoint", "extractor")

#: Rows of one checkpoint that agree in these hold the score of one content under one protocol.
_CONTENT = (
    "checkpoint",
    "extractor",
    "checkpoint_sha256",
    "weights_sha256",
    "protocol",
    "likelihood",
    "sigma",
)

Row = dict[str, Any]


def has_history(store: Store) -> bool:
    """Whether a night has begun there, even if it recorded nothing."""
    return store.find(f"{NAME}.parquet") is not None


def read_history(store: Store) -> list[Row]:
    """Rows by date, series, step, checkpoint and extractor; empty before the first night.

    Raises:
        OSError: The file is damaged.
    """
    table = read_table(store, NAME)
    rows = [] if table is None else table.to_pylist()
    return [{name: row.get(name) for name in SCHEMA.names} for row in rows]


def upsert_history(store: Store, rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Replace or add rows by (date, checkpoint, extractor), and write Parquet and CSV.

    This is idempotent.

    Returns:
        All rows.
    """
    merged = {_key(row): row for row in read_history(store)}
    for row in rows:
        merged[_key(row)] = {name: row.get(name) for name in SCHEMA.names}
    ordered = sorted(merged.values(), key=_order)
    write_table(store, NAME, pa.Table.from_pylist(ordered, schema=SCHEMA))
    return ordered


def history_row(scores: Mapping[str, Any], date: datetime.date, **night: object) -> Row:
    """A row of the history from one of the score table.

    Args:
        scores: The score table's row.
        date: Of the night.
        **night: Columns of the night.
    """
    kept = {field.name: scores.get(field.name) for field in _FROM_SCORES}
    return {"date": date, "series": series_of(scores["checkpoint"]), **kept, **night}


def series_of(checkpoint: str) -> str:
    """The folder of a checkpoint's label: checkpoints of one training run follow each other."""
    return checkpoint.rpartition("/")[0] or "."


def content_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What was scored and how, whichever metrics were asked for."""
    return tuple(row[name] for name in _CONTENT)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    step = row["step"]
    numbered = (step is None, step or 0)
    return row["date"], row["series"], numbered, row["checkpoint"], row["extractor"]
