"""Small tables written whole, as Parquet for programs and CSV for eyes."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vae_batch.storage.store import Store


def write_table(store: Store, name: str, table: pa.Table) -> None:
    """Write ``NAME.parquet`` and ``NAME.csv``; whole numbers stay whole beside nulls."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    store.write(f"{name}.parquet", bytes(buffer.getvalue()))
    text = io.StringIO()
    to_pandas(table).to_csv(text, index=False)
    store.write(f"{name}.csv", text.getvalue().encode())


def read_table(store: Store, name: str) -> pa.Table | None:
    """The table of ``NAME.parquet``; None where there is none.

    Raises:
      OSError: The file is damaged.
    """
    path = f"{name}.parquet"
    try:
        content = store.read(path)
    except FileNotFoundError:
        return None
    try:
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except pa.ArrowException as error:
        raise OSError(f"{store.shown}/{path} is damaged: {error}") from error


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame with nullable whole numbers."""
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
