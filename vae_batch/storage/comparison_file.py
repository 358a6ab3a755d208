"""``comparisons.parquet``: each checkpoint against the best and against the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from vae_batch.storage.store import Store
from vae_batch.storage.tables import read_table, write_table

NAME = "comparisons"

_DIFFERENCE = ("", "_se", "_low", "_high", "_p")

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


#: In the Parquet file's metadata: digest of what was compared.
_INPUTS = b"vae_batch.compared"


def write_comparisons(
    store: Store, rows: Iterable[Mapping[str, Any]], inputs: str | None = None
) -> None:
    """Write the table whole, as Parquet and CSV.

    Args:
      store: The output folder.
      rows: In the table's order.
      inputs: Digest of all that they were made of, by which a later run sees that nothing has
        changed; None where they are to be made again.
    """
    metadata = {_INPUTS: inputs.encode()} if inputs else None
    schema = SCHEMA.with_metadata(metadata)
    write_table(store, NAME, pa.Table.from_pylist([dict(row) for row in rows], schema=schema))


def read_comparisons(store: Store) -> list[dict[str, Any]]:
    """Rows of the table; empty where nothing has been compared.

    Raises:
      OSError: The file is damaged.
    """
    table = read_table(store, NAME)
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    return rows


def comparison_inputs(store: Store) -> str | None:
    """Digest of what the table was made of; None where there is no table, or it does not say.

    Raises:
      OSError: The file is damaged.
    """
    table = read_table(store, NAME)
    metadata = (table.schema.metadata or {}) if table is not None else {}
    return metadata[_INPUTS].decode() if _INPUTS in metadata else None
