"""``comparisons.parquet``: each checkpoint against the best and against the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from vae_batch.metrics.catalogue import compared_column
from vae_batch.storage.store import Store
from vae_batch.storage.tables import read_table, reading_table, write_table

NAME = "comparisons"

Verdict = Literal["better", "worse", "level"]

_DIFFERENCE = ("", "_se", "_low", "_high", "_p")

_REQUIRED = ("metric", "checkpoint", "value", "n", "is_best", "level_with_best", "best")

#: ``..._p`` are adjusted by Holm over the rows of one metric and extractor; intervals are of 95 %
#: and not adjusted. Differences are in the metric's unit, this checkpoint less the other.
SCHEMA = pa.schema(
    [
        ("metric", pa.string()),
        ("extractor", pa.string()),
        ("checkpoint", pa.string()),
        ("step", pa.int64()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("is_best", pa.bool_()),
        ("level_with_best", pa.bool_()),
        ("best", pa.string()),
        *((f"from_best{part}", pa.float64()) for part in _DIFFERENCE),
        ("from_best_unpaired_se", pa.float64()),
        ("previous", pa.string()),
        *((f"from_previous{part}", pa.float64()) for part in _DIFFERENCE),
        ("verdict", pa.string()),
    ]
)

COMPARISON_COLUMNS = tuple(SCHEMA.names)

#: In the Parquet file's metadata: digest of what was compared, and the version of the columns.
_INPUTS = b"vae_batch.compared"
_VERSION = b"vae_batch.comparison_schema"
_SCHEMA_VERSION = b"2"


@dataclass(frozen=True)
class Difference:
    """A paired difference from another checkpoint, in the metric's unit.

    Attributes:
        value: This checkpoint's score less the other's.
        standard_error: Of the difference, paired.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p-value, adjusted by Holm over the checkpoints compared.
    """

    value: float
    standard_error: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """One checkpoint compared with the best, and with the one before it in its folder.

    Attributes:
        metric: Column of the score table.
        extractor: Under which it was measured; None for metrics that need none.
        checkpoint: Label.
        step: Training step; None where its name has none.
        value: The checkpoint's score, as in the score table.
        n: Test images or generated samples that the score is computed from.
        is_best: Whether it is the best.
        level_with_best: Whether it is not distinguishable from the best; true for the best.
        best: Label of the best.
        from_best: Difference from the best; None for the best.
        from_best_unpaired_se: Standard error that independent draws would have had.
        previous: Label of the checkpoint before it; None for the first.
        from_previous: Difference from that; None where there is none.
        verdict: Against the one before; None where there is none.
    """

    metric: str
    extractor: str | None
    checkpoint: str
    step: int | None
    value: float
    n: int
    is_best: bool
    level_with_best: bool
    best: str
    from_best: Difference | None = None
    from_best_unpaired_se: float | None = None
    previous: str | None = None
    from_previous: Difference | None = None
    verdict: Verdict | None = None

    @property
    def group(self) -> tuple[str, str | None, str]:
        """What checkpoints that were compared with each other share: metric, extractor, best."""
        return self.metric, self.extractor, self.best

    def to_record(self) -> dict[str, Any]:
        """The comparison by the columns of :data:`SCHEMA`."""
        record = {name: getattr(self, name) for name in COMPARISON_COLUMNS if hasattr(self, name)}
        for name in ("from_best", "from_previous"):
            record |= _columns_of(name, getattr(self, name))
        return {name: record[name] for name in COMPARISON_COLUMNS}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Comparison:
        """The comparison of a record.

        Raises:
            ValueError, KeyError: It lacks a value that every comparison has.
        """
        plain = {name: record[name] for name in cls.__dataclass_fields__ if name in record}
        missing = [name for name in _REQUIRED if plain.get(name) is None]
        if missing:
            raise ValueError(f"a comparison has no {missing[0]}")
        both = {name: _difference(name, record) for name in ("from_best", "from_previous")}
        return cls(**{**plain, **both})


def _columns_of(name: str, found: Difference | None) -> dict[str, float | None]:
    if found is None:
        return dict.fromkeys(f"{name}{part}" for part in _DIFFERENCE)
    values = (found.value, found.standard_error, found.low, found.high, found.p)
    return {f"{name}{part}": value for part, value in zip(_DIFFERENCE, values, strict=True)}


def _difference(name: str, record: Mapping[str, Any]) -> Difference | None:
    if record[name] is None:
        return None
    return Difference(*(record[f"{name}{part}"] for part in _DIFFERENCE))


def write_comparisons(store: Store, rows: Iterable[Comparison], inputs: str | None = None) -> None:
    """Write the table whole, as Parquet and CSV.

    Args:
        store: The output folder.
        rows: In the table's order.
        inputs: Digest of everything that was compared, by which a later run sees that nothing has
            changed; None where it must be compared again.
    """
    metadata = {_VERSION: _SCHEMA_VERSION} | ({_INPUTS: inputs.encode()} if inputs else {})
    schema = SCHEMA.with_metadata(metadata)
    write_table(store, NAME, pa.Table.from_pylist([row.to_record() for row in rows], schema=schema))


def read_comparisons(store: Store) -> list[Comparison]:
    """Rows of the table; empty where nothing has been compared.

    In tables of version 0.1 ``fid`` is read as ``fid_corrected``, whose values it held; rows of
    ``inception_score``, whose values no column has, are omitted.

    Raises:
        OSError: The file is damaged.
    """
    table = read_table(store, NAME, SCHEMA)
    records: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    if table is not None and _VERSION not in (table.schema.metadata or {}):
        records = [
            {**record, "metric": compared_column(record["metric"])}
            for record in records
            if record["metric"] != "inception_score"
        ]
    with reading_table(store, NAME):
        return [Comparison.from_record(record) for record in records]


def comparison_inputs(store: Store) -> str | None:
    """Digest of what the table was made of; None where there is no table, or it does not say.

    Raises:
        OSError: The file is damaged.
    """
    table = read_table(store, NAME)
    metadata = (table.schema.metadata or {}) if table is not None else {}
    return metadata[_INPUTS].decode(errors="replace") if _INPUTS in metadata else None
