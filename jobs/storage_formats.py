"""The formats of ``benchmark_storage.py``: activations as this project stores them, and plainly."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vae_batch.plan import Unit
from vae_batch.storage import (
    Store,
    decode_columns,
    encode_columns,
    read_verified,
    write_with_receipt,
)

Arrays = dict[str, npt.NDArray[np.generic]]

_NAMES = ("features", "probabilities")


@dataclass(frozen=True)
class Format:
    """A way to store a shard's arrays.

    Attributes:
      name: In the table.
      encode: Arrays to the bytes of a file.
      decode: The reverse; an index that is not stored is left out.
      with_receipt: Whether a receipt is written after the file, and its digest checked.
    """

    name: str
    encode: Callable[[Arrays], bytes]
    decode: Callable[[bytes], Arrays]
    with_receipt: bool = False

    def write_all(self, store: Store, unit: Unit, arrays: Arrays) -> None:
        """Write the same arrays as every shard of a unit."""
        for shard in unit.shards():
            content = self.encode(arrays)
            if self.with_receipt:
                write_with_receipt(store, unit, shard.name, content, rows=len(shard))
            else:
                store.write(f"{unit.path}/{shard.name}", content)

    def read_all(self, store: Store, unit: Unit) -> Arrays:
        """Read every shard of a unit; the last one's arrays."""
        for shard in unit.shards():
            if self.with_receipt:
                content = read_verified(store, unit, shard.name)
            else:
                content = store.read(f"{unit.path}/{shard.name}")
            arrays = self.decode(content)
        return arrays


def raw_bytes(arrays: Arrays) -> int:
    """Bytes of the activations in memory."""
    return sum(arrays[name].nbytes for name in _NAMES)


def are_equal(found: Arrays, expected: Arrays) -> bool:
    """Whether activations were read back to the bit; wider floats hold them exactly."""
    return all(np.array_equal(found[name], expected[name]) for name in _NAMES)


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _npz_compressed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _npz_float64(arrays: Arrays) -> bytes:
    return _npz({**arrays, **{name: arrays[name].astype(np.float64) for name in _NAMES}})


def _read_npz(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return dict(stored)


def _npy(arrays: Arrays) -> bytes:
    """Two arrays one behind the other; the index is the file's."""
    buffer = io.BytesIO()
    for name in _NAMES:
        np.save(buffer, arrays[name])
    return buffer.getvalue()


def _read_npy(content: bytes) -> Arrays:
    buffer = io.BytesIO(content)
    return {name: np.load(buffer, allow_pickle=False) for name in _NAMES}


def _parquet(arrays: Arrays) -> bytes:
    """A list a row, and pyarrow's own choice of everything else."""
    columns = {"index": pa.array(arrays["index"])}
    for name in _NAMES:
        flat = pa.array(np.ascontiguousarray(arrays[name]).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, arrays[name].shape[1])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def _read_parquet(content: bytes) -> Arrays:
    table = pq.read_table(pa.BufferReader(content)).combine_chunks()
    arrays: Arrays = {"index": table["index"].to_numpy()}
    for name in _NAMES:
        (chunk,) = table[name].chunks
        values = chunk.flatten().to_numpy(zero_copy_only=False)
        arrays[name] = values.reshape(table.num_rows, -1)
    return arrays


FORMATS = (
    Format("as stored, with receipt", encode_columns, decode_columns, with_receipt=True),
    Format("as stored, file alone", encode_columns, decode_columns),
    Format("Parquet, pyarrow's defaults", _parquet, _read_parquet),
    Format("npz", _npz, _read_npz),
    Format("npz, compressed", _npz_compressed, _read_npz),
    Format("npz, float64", _npz_float64, _read_npz),
    Format("npy", _npy, _read_npy),
)
"""Ours first: what the others are compared with."""
