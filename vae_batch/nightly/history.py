"""``history.parquet``: one row a night and checkpoint/extractor scored that night, for years.

``SELECT date, max(elbo) FROM 'history.parquet' WHERE status = 'scored' GROUP BY date``
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vae_batch.storage import ScoreRow, Store
from vae_batch.storage.score_schema import SCHEMA as SCORES
from vae_batch.storage.tables import read_table, reading_table, write_table

NAME = "history"

#: Verdict of rows that were scored before the first night: they are compared with, not judged.
ADOPTED = "adopted"

_AGAIN = "the next night writes it again from the summaries of nights"

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

#: Sentences on single numbers stay in the score table; all else of it is kept here.
_FROM_SCORES = [
    field
    for field in SCORES
    if not field.name.endswith(("_reason", "_warning")) and field.name != "reason_codes"
]

SCHEMA = pa.schema([("date", pa.date32()), *_NIGHT, *_FROM_SCORES])


@dataclass(frozen=True)
class Change:
    """How far a checkpoint is from an earlier one by one metric.

    Attributes:
        other: Label of the earlier one.
        difference: This one less that, in the metric's unit.
        low: Lower end of its 95 % interval; None where the difference is not paired.
        high: Upper end.
        p: Two-sided p-value, adjusted by Holm over the night's checkpoints; None where not paired.
    """

    other: str
    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class HistoryRow:
    """A row of the history: one checkpoint under one extractor on one night.

    Attributes:
        date: Of the night.
        row: Its scores; read from the file without reasons of single numbers.
        is_newest: Whether it is the newest of its folder on this night.
        written_at: When its files were last written, UTC, to the second.
        judged_by: Column of the verdict.
        verdict: ``failed``, ``first``, ``regressed``, :data:`ADOPTED` or that of a comparison.
        regressions: Columns whose tolerance it exceeded.
        best_before: Its change from the best before, by ``judged_by``.
        latest_before: From the latest before.
    """

    date: datetime.date
    row: ScoreRow
    is_newest: bool | None = None
    written_at: datetime.datetime | None = None
    judged_by: str | None = None
    verdict: str | None = None
    regressions: tuple[str, ...] = ()
    best_before: Change | None = None
    latest_before: Change | None = None

    @property
    def series(self) -> str:
        """The checkpoint's folder: checkpoints of one training run follow each other."""
        return series_of(self.row.checkpoint)

    @property
    def is_scored(self) -> bool:
        """Whether it is scored, not failed."""
        return self.row.status == "scored"

    @property
    def mark(self) -> tuple[str, str, str | None]:
        """Checkpoint, extractor and fingerprint."""
        return (*self.row.key, self.row.provenance.fingerprint)

    def is_of(self, date: datetime.date) -> bool:
        """Whether the night of ``date`` scored it."""
        return self.date == date and self.verdict != ADOPTED

    def to_record(self) -> dict[str, Any]:
        """The row by the columns of :data:`SCHEMA`."""
        record = self.row.to_record() | {name: getattr(self, name) for name in _PLAIN}
        record["regressions"] = ", ".join(self.regressions) or None
        for other, name in _CHANGES.items():
            record |= _columns_of(other, name, getattr(self, other))
        return {name: record.get(name) for name in SCHEMA.names}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HistoryRow:
        """The row of a record."""
        regressions = record.get("regressions")
        values: dict[str, Any] = {n: record.get(n) for n in _PLAIN if n != "series"}
        values |= {other: _change(record, other, name) for other, name in _CHANGES.items()}
        values["regressions"] = tuple(regressions.split(", ")) if regressions else ()
        return cls(row=ScoreRow.from_record(record), **values)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> HistoryRow:
        """The row of a record in a night's summary, where times are texts.

        Raises:
            ValueError, TypeError, KeyError: It is no such record.
        """
        times = {
            "date": datetime.date.fromisoformat(record["date"]),
            "written_at": record["written_at"]
            and datetime.datetime.fromisoformat(record["written_at"]),
        }
        typed = pa.Table.from_pylist([{**record, **times}], schema=SCHEMA)
        return cls.from_record(typed.to_pylist()[0])


_PLAIN = ("date", "series", "is_newest", "written_at", "judged_by", "verdict")

_CHANGES = {"best_before": "from_best", "latest_before": "from_latest"}


def _columns_of(other: str, name: str, found: Change | None) -> dict[str, object]:
    names = (other, *(f"{name}{part}" for part in _DIFFERENCE))
    if found is None:
        return dict.fromkeys(names)
    values = (found.other, found.difference, found.low, found.high, found.p)
    return dict(zip(names, values, strict=True))


def _change(record: Mapping[str, Any], other: str, name: str) -> Change | None:
    if record.get(other) is None:
        return None
    return Change(record[other], *(record[f"{name}{part}"] for part in _DIFFERENCE))


def has_history(store: Store) -> bool:
    """Whether a night has begun there, even if it recorded nothing."""
    return store.find(f"{NAME}.parquet") is not None


def read_history(store: Store) -> list[HistoryRow]:
    """Rows by date, series, step, checkpoint and extractor; empty before the first night.

    Raises:
        OSError: The file is damaged.
    """
    table = read_table(store, NAME, SCHEMA, _AGAIN)
    with reading_table(store, NAME, _AGAIN):
        return [] if table is None else [HistoryRow.from_record(row) for row in table.to_pylist()]


def upsert_history(store: Store, rows: Iterable[HistoryRow]) -> list[HistoryRow]:
    """Replace or add rows by (date, checkpoint, extractor), and write Parquet and CSV.

    This is idempotent.

    Returns:
        All rows.
    """
    merged = {(row.date, *row.row.key): row for row in [*read_history(store), *rows]}
    ordered = sorted(merged.values(), key=_order)
    records = [row.to_record() for row in ordered]
    write_table(store, NAME, pa.Table.from_pylist(records, schema=SCHEMA))
    return ordered


def series_of(checkpoint: str) -> str:
    """The folder of a checkpoint's label."""
    return checkpoint.rpartition("/")[0] or "."


def content_of(row: ScoreRow) -> tuple[object, ...]:
    """What was scored and how, whichever metrics were asked for."""
    held = row.conditions
    names = ("checkpoint_sha256", "weights_sha256", "protocol", "likelihood", "sigma")
    return (*row.key, *(getattr(held, name) for name in names))


def _order(row: HistoryRow) -> tuple[object, ...]:
    step = row.row.step
    numbered = (step is None, step or 0)
    return row.date, row.series, numbered, *row.row.key
