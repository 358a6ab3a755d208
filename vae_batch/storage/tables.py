"""Small tables written whole, as Parquet for programs and CSV for people."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vae_batch.plan.errors import InputError
from vae_batch.plan.printable import for_spreadsheet
from vae_batch.storage.store import Store

BY_SCORE = "`vae-batch score` writes it again from stored files"

_WRITER, _CHECK = b"vae_batch.writer", b"vae_batch.check"


def write_table(store: Store, name: str, table: pa.Table) -> None:
    """Write ``NAME.csv`` and ``NAME.parquet``; integers stay integers in columns with nulls.

    Runs are resumed from the Parquet file, so it is written last: after a crash in between, the
    rows are written to both again.
    """
    store.write(f"{name}.csv", csv_of(table))
    store.write(f"{name}.parquet", parquet_of(table))


def csv_of(table: pa.Table) -> bytes:
    """The table as CSV, for people: no cell moves a cursor or is a formula in a spreadsheet."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = (text and for_spreadsheet(text) for text in table[number].to_pylist())
            table = table.set_column(number, field, pa.array(texts, field.type))
    text = io.StringIO()
    to_pandas(table).to_csv(text, index=False)
    return text.getvalue().encode()


def parquet_of(table: pa.Table) -> bytes:
    """The table as Parquet, with page checksums and a digest of rows and metadata in the footer.

    The same table gives the same bytes with the same release of Arrow, which is recorded too.
    """
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != _CHECK}
    metadata[_WRITER] = _writer()
    metadata[_CHECK] = check_of(table, metadata)
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        write_page_checksum=True,
    )
    return bytes(buffer.getvalue())


def check_of(table: pa.Table, metadata: Mapping[bytes, bytes]) -> bytes:
    """Digest of a table's rows and of its metadata, without the check itself."""
    digest = hashlib.sha256(json.dumps(table.to_pylist(), default=str).encode())
    for name in sorted(metadata):
        if name != _CHECK:
            digest.update(repr((name, metadata[name])).encode())
    return digest.hexdigest()[:32].encode()


def table_faults(store: Store, name: str) -> dict[str, str | None]:
    """Faults of the files of a table; empty where the table does not exist.

    Pages have checksums; rows and metadata have a digest. The rest of the footer, and the CSV, are
    compared with those of the same table written again, provided that the installed libraries are
    of the releases that wrote them.

    Returns:
        The fault of ``NAME.parquet`` and of ``NAME.csv``, or None where a file is intact.
    """
    files = {path: store.find(path) for path in (f"{name}.parquet", f"{name}.csv")}
    parquet, text = files.values()
    if parquet is None and text is None:
        return {}
    faults: dict[str, str | None] = {
        path: "is missing" if content is None else None for path, content in files.items()
    }
    if parquet is None:
        return faults
    try:
        table = _decoded(parquet)
        metadata = table.schema.metadata or {}
        same_writer = metadata.get(_WRITER) == _writer()
        if same_writer and parquet != parquet_of(table):
            raise ValueError("it differs from the same rows written again")
        expected = csv_of(table) if same_writer else text
    except Exception as error:  # what damaged bytes raise is as varied as the format
        said = f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
        return faults | {f"{name}.parquet": said}
    if text is not None and text != expected:
        faults[f"{name}.csv"] = f"differs from the rows of {name}.parquet"
    return faults


def read_table(
    store: Store, name: str, schema: pa.Schema | None = None, again: str = BY_SCORE
) -> pa.Table | None:
    """The table of ``NAME.parquet``; None where there is none.

    Args:
        store: The output folder.
        name: Of the table.
        schema: Columns that it has as far as it has them; None for any.
        again: Who writes a damaged table again, and from what.

    Raises:
        OSError: The file is damaged.
    """
    content = store.find(f"{name}.parquet")
    if content is None:
        return None
    with reading_table(store, name, again):
        table = _decoded(content)
        for field in schema or ():
            if field.name in table.column_names and table.field(field.name).type != field.type:
                found = table.field(field.name).type
                raise ValueError(f"column {field.name}: expected {field.type}, found {found}")
    return table


@contextmanager
def reading_table(store: Store, name: str, again: str = BY_SCORE) -> Iterator[None]:
    """Within the context, what is wrong with the values of a table means that it is damaged.

    Raises:
        OSError: Names the file and what to do.
    """
    try:
        yield
    except InputError:  # a table of a newer version
        raise
    except Exception as error:  # what damaged bytes raise is as varied as the format
        said = " ".join(str(error).split())[:200]
        raise OSError(
            f"{store.shown_path(f'{name}.parquet')} is damaged ({type(error).__name__}: {said}); "
            f"`vae-batch verify {store.shown} --mend` removes it, and {again}"
        ) from error


def _writer() -> bytes:
    return f"arrow {pa.__version__}, pandas {pd.__version__}".encode()


def _decoded(content: bytes) -> pa.Table:
    """The table of a file; damaged bytes raise errors as varied as the format."""
    table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    # Parquet has no seconds, which are read as milliseconds; all times here are whole seconds.
    in_seconds = [
        field.with_type(pa.timestamp("s", field.type.tz)) if _is_time(field.type) else field
        for field in table.schema
    ]
    table = table.cast(pa.schema(in_seconds, table.schema.metadata))
    metadata = table.schema.metadata or {}
    if _CHECK in metadata and metadata[_CHECK] != check_of(table, metadata):
        raise ValueError("its check does not match its rows")
    return table


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame with nullable integers."""
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
