"""Files of arrays: Parquet columns, compressed ``.npz``, and a unit's moments.

Activations, per-image losses and reference images are stored as columns, one row per sample, with
exact values and detection of damage. A column of shape ``(n, *rest)`` becomes a ``FixedSizeList``
of ``prod(rest)`` values; its shape stands in the schema's metadata. Floating-point lists use
BYTE_STREAM_SPLIT under zstd level 1 without dictionaries: the smallest, and among the fastest, of
the encodings that were tried for activations.
"""

from __future__ import annotations

import io
import json
import math
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vae_batch.metrics.samples.inception import LabelDistribution
from vae_batch.metrics.samples.moments import Moments
from vae_batch.plan.errors import InputError
from vae_batch.storage.checked_json import parse_as

Array = npt.NDArray[np.generic]

_SHAPES = b"vae_batch.shapes"

#: DEFLATE reaches 1032:1; other methods of zip archives are not written by NumPy.
_MOST_EXPANSION = 1032

_ROW_GROUP = 1024

#: NumPy parses headers by ``ast``, which raises a SystemError in threads of Python 3.11 and 3.12
#: (python/cpython#106905). Without the lock an intact file would seem damaged.
_PARSING = threading.RLock()


@dataclass(frozen=True)
class _Layout:
    """Shapes without their first axis, and names of dtypes, by column."""

    shapes: dict[str, list[int]]
    dtypes: dict[str, str]


@dataclass(frozen=True)
class Reduction:
    """The reduction of a unit of activations.

    Attributes:
        moments: Of the pooled features; None where the unit has no activations.
        labels: One label distribution per Inception Score split; empty where the extractor has
            no class probabilities.
    """

    moments: Moments | None
    labels: tuple[LabelDistribution, ...]


def encode_columns(columns: Mapping[str, Array], words: Mapping[str, str] | None = None) -> bytes:
    """One Parquet file, in memory, of arrays that share their first axis.

    Args:
        columns: Name to array of shape ``(n, ...)``; numeric, with at least one axis.
        words: Name to the text that all rows have, for other tools: :func:`decode_columns` leaves
            these columns out.

    Raises:
        ValueError: The first axes differ, or an array has no axis.
    """
    rows = {name: len(np.atleast_1d(array)) for name, array in columns.items()}
    if len(set(rows.values())) != 1 or any(array.ndim == 0 for array in columns.values()):
        raise ValueError(f"expected arrays with one common first axis, found rows {rows}")
    kept = {name: array for name, array in columns.items() if array[:1].size or not len(array)}
    shapes = {name: list(array.shape[1:]) for name, array in columns.items()}
    dtypes = {name: array.dtype.name for name, array in columns.items()}
    metadata = {_SHAPES: json.dumps({"shapes": shapes, "dtypes": dtypes}).encode()}
    texts = {name: pa.repeat(word, max(rows.values())) for name, word in (words or {}).items()}
    table = pa.table({**{name: _to_arrow(array) for name, array in kept.items()}, **texts})
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        compression="zstd",
        compression_level=1,
        use_dictionary=list(texts),
        column_encoding=_encodings(table.schema),
        write_page_checksum=True,
        row_group_size=_ROW_GROUP,
    )
    return bytes(buffer.getvalue())


def decode_columns(content: bytes, names: list[str] | None = None) -> dict[str, Array]:
    """Arrays of a file made by :func:`encode_columns`, equal in bits, shape and dtype.

    Args:
        content: The file.
        names: Columns to read, as far as they exist; all when None.

    Raises:
        OSError: The file is damaged (page checksum or structure).
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        layout = parse_as(_Layout, file.schema_arrow.metadata[_SHAPES])
        held = list(layout.shapes)
        wanted = held if names is None else [name for name in names if name in held]
        stored = set(file.schema_arrow.names)
        table = file.read(columns=[name for name in wanted if name in stored])
        rows = file.metadata.num_rows
        return {
            name: _to_numpy(table, name, (rows, *layout.shapes[name]), layout.dtypes[name])
            for name in wanted
        }
    except Exception as error:  # what damaged bytes raise is as varied as the format
        raise OSError(f"not an intact vae_batch Parquet file: {error}") from error


def encode_arrays(arrays: Mapping[str, Array]) -> bytes:
    """A compressed ``.npz``, in memory, of arrays that share no axis, such as pictures."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def decode_arrays(content: bytes) -> dict[str, Array]:
    """Arrays of a file made by :func:`encode_arrays`, or of any ``.npz``; thread-safe.

    Raises:
        ValueError: As :func:`npz_arrays`.
    """
    with npz_arrays(io.BytesIO(content)) as arrays:
        return dict(arrays)


@contextmanager
def npz_arrays(file: IO[bytes]) -> Iterator[np.lib.npyio.NpzFile]:
    """Within the context, the arrays of an ``.npz``, by name; never unpickled, thread-safe.

    Headers are read first: nothing is allocated for an array whose header does not agree with the
    archive's own entry of it, or for one that this machine's memory cannot hold.

    Raises:
        ValueError: It is no such file, or it is damaged; the message says how. An array that is
            read within the context may be found damaged, too.
    """
    try:
        head = file.read(6)
        file.seek(0)
        if head == b"\x93NUMPY":
            raise ValueError("it is one array, not an archive: name it .npy")
        with _PARSING, np.load(file, allow_pickle=False) as arrays:
            assert arrays.zip is not None
            _require_whole(arrays.zip)
            yield arrays
    except InputError:
        raise
    except Exception as error:  # what damaged bytes raise is as varied as the format
        raise ValueError(str(error) or type(error).__name__) from error


def npz_headers(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of each array of an ``.npz`` file; only headers are read.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file, or it is damaged; the message says how.
    """
    headers = {}
    with open(path, "rb") as file, npz_arrays(file) as arrays:
        assert arrays.zip is not None
        for member in arrays.zip.namelist():
            if member.endswith(".npy"):
                with arrays.zip.open(member) as stream:
                    headers[member.removesuffix(".npy")] = _header(stream, member)
    return headers


def npy_array(path: str | os.PathLike[str]) -> Array:
    """The array of an ``.npy`` file, memory-mapped and never unpickled.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is no such file, or it is damaged; the message says how.
    """
    with open(path, "rb") as file, _PARSING:
        try:
            _require_size(file, "the array", os.fstat(file.fileno()).st_size)
            found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # as above
            raise ValueError(str(error) or type(error).__name__) from error
    return found


def memory_bytes() -> int | None:
    """Memory of this machine; None where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(size: int, what: str) -> None:
    """Refuse what this machine's memory cannot hold.

    Raises:
        ValueError: Names both sizes.
    """
    memory = memory_bytes()
    if memory is not None and size > memory:
        raise ValueError(f"{what} takes {size:,} bytes, and this machine has {memory:,}")


def _require_whole(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    for member in members:
        if member.file_size > _MOST_EXPANSION * (member.compress_size + 1):
            raise ValueError(
                f"{member.filename} is damaged: {member.compress_size:,} bytes cannot unpack to "
                f"{member.file_size:,}"
            )
        if member.filename.endswith(".npy"):
            with archive.open(member) as stream:
                _require_size(stream, member.filename, member.file_size)
    largest = max(members, key=lambda member: member.file_size, default=None)
    if largest is not None:  # others may not be asked for
        require_memory(largest.file_size, f"{largest.filename}, unpacked,")


def _require_size(stream: IO[bytes], name: str, size: int) -> None:
    """Compare the header of an ``.npy`` with the size of the file."""
    shape, dtype = _header(stream, name)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    declared = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or declared != size - stream.tell():
        raise ValueError(
            f"{name} is damaged: its header says shape {shape} of {dtype}, {declared:,} bytes, and "
            f"{size - stream.tell():,} follow"
        )


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0
    }.get(version)  # fmt: skip
    if read is None:  # names of fields that are not Latin-1: records, which nothing here takes
        raise ValueError(f"{name} is of version {version} of the format")
    shape, _, dtype = read(stream)
    return shape, dtype


def encode_reduction(moments: Moments | None, labels: Sequence[LabelDistribution]) -> bytes:
    """An uncompressed ``.npz`` (17 MB at d = 2048: only the scatter's upper triangle)."""
    upper = np.triu_indices(moments.dimension if moments else 0)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        count=np.int64(moments.count if moments else 0),
        mean=moments.mean if moments else np.empty(0),
        scatter_upper=moments.scatter[upper] if moments else np.empty(0),
        label_count=np.array([label.count for label in labels], np.int64),
        label_sum_p=np.array([label.sum_p for label in labels], np.float64),
        label_sum_p_log_p=np.array([label.sum_p_log_p for label in labels], np.float64),
    )
    return buffer.getvalue()


def decode_reduction(content: bytes) -> Reduction:
    """The reduction that :func:`encode_reduction` wrote, equal in bits.

    Raises:
        OSError: The content is damaged.
    """
    try:
        arrays = decode_arrays(content)
        mean = np.asarray(arrays["mean"], np.float64)
        if arrays["scatter_upper"].shape != (mean.size * (mean.size + 1) // 2,):
            raise ValueError(f"scatter of {arrays['scatter_upper'].shape}, mean of {mean.shape}")
        scatter = np.zeros((len(mean), len(mean)))
        scatter[np.triu_indices(len(mean))] = arrays["scatter_upper"]
        scatter += np.triu(scatter, 1).T
        labels = zip(
            arrays["label_count"],
            arrays["label_sum_p"],
            arrays["label_sum_p_log_p"],
            strict=True,
        )
        return Reduction(
            Moments(int(arrays["count"]), mean, scatter) if len(mean) else None,
            tuple(LabelDistribution(int(n), p, float(plogp)) for n, p, plogp in labels),
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise OSError(f"damaged moments file: {error}") from error


def _to_arrow(array: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    if array.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(array.shape[1:])))


def _to_numpy(table: pa.Table, name: str, shape: tuple[int, ...], dtype: str) -> Array:
    if name not in table.column_names:
        if math.prod(shape):  # only a column of zero width has no values to store
            raise ValueError(f"column {name} is missing")
        return np.empty(shape, dtype)
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], type=column.type)
    values = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    numbers: Array = values.to_numpy(zero_copy_only=False)
    return numbers.astype(dtype, copy=False).reshape(shape)


def _encodings(schema: pa.Schema) -> dict[str, str]:
    return {
        f"{field.name}.list.element": "BYTE_STREAM_SPLIT"
        for field in schema
        if pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    }
