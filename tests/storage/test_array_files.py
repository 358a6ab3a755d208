from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import BufferReader

from vae_batch.storage import decode_columns, encode_columns


def example() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "index": np.arange(3, 13),
        "features": draw.normal(size=(10, 48)).astype(np.float32),
        "nll": draw.normal(size=10),
        "image": draw.integers(0, 256, (10, 4, 5, 1)).astype(np.uint8),
        "none": np.zeros((10, 0), np.float32),
    }


def test_round_trip_is_exact() -> None:
    columns = example()
    back = decode_columns(encode_columns(columns))
    assert list(back) == list(columns)
    for name, array in columns.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_bytes_repeat() -> None:
    assert encode_columns(example()) == encode_columns(example())


def test_only_named_columns_are_read() -> None:
    assert list(decode_columns(encode_columns(example()), ["nll"])) == ["nll"]


def test_no_rows() -> None:
    back = decode_columns(encode_columns({"features": np.zeros((0, 3), np.float32)}))
    assert back["features"].shape == (0, 3)


def test_other_tools_read_lists_of_floats() -> None:
    table = pq.read_table(BufferReader(encode_columns(example())))
    field = table.schema.field("features")
    assert str(field.type) == "fixed_size_list<element: float not null>[48]" or (
        field.type.list_size == 48
    )
    metadata = pq.ParquetFile(BufferReader(encode_columns(example()))).metadata
    column = next(
        metadata.row_group(0).column(i)
        for i in range(metadata.num_columns)
        if metadata.row_group(0).column(i).path_in_schema.startswith("features")
    )
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings


def test_a_flipped_bit_anywhere_in_the_pages_is_found() -> None:
    content = encode_columns({"features": example()["features"]})
    footer = int.from_bytes(content[-8:-4], "little") + 8
    for position in range(4, len(content) - footer, 97):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(OSError, match=r"[Cc]hecksum|CRC|intact|page|Parquet"):
            decode_columns(bytes(damaged))


def test_truncation_is_found() -> None:
    content = encode_columns(example())
    with pytest.raises(OSError, match="not an intact"):
        decode_columns(content[: len(content) // 2])


def test_first_axes_must_agree() -> None:
    with pytest.raises(ValueError, match="one common first axis"):
        encode_columns({"a": np.zeros(3), "b": np.zeros(4)})
