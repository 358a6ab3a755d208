from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import BufferReader

from vae_batch.models.references.reference import open_reference
from vae_batch.plan import InputError
from vae_batch.storage import array_files, decode_columns, encode_columns
from vae_batch.storage.array_files import (
    decode_arrays,
    decode_reduction,
    encode_arrays,
    encode_reduction,
)


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


def test_words_are_columns_for_other_tools_alone() -> None:
    content = encode_columns(example(), {"images": "generated"})
    assert decode_columns(content).keys() == example().keys()
    table = pq.read_table(BufferReader(content))
    assert table["images"].to_pylist() == ["generated"] * 10
    assert len(content) < len(encode_columns(example())) + 500


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


def npz(member: bytes, declared: int | None = None) -> bytes:
    """An archive of one member ``a.npy``; its entry may declare another size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", member)
    content = bytearray(buffer.getvalue())
    if declared is not None:
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = declared.to_bytes(4, "little")
    return bytes(content)


def npy(shape: str, data: bytes = b"", dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npz(npy("(1099511627776,)")), "its header says shape .* 8,796,093,022,208 bytes, and 0"),
        (npz(npy("(-1,)", bytes(8))), r"shape \(-1,\)"),
        (npz(npy("(2, -3)", bytes(8))), r"shape \(2, -3\)"),
        (npz(npy("(2,)", bytes(8))), "16 bytes, and 8 follow"),
        (npz(npy("(1,)", bytes(8)), 2**32 - 2), "cannot unpack to 4,294,967,294"),
        (npz(npy("(1,)", bytes(8), "|O")), "Python objects"),
        (npz(npy("(" * 3000, bytes(8))), "."),
        (npz(b"no header"), "magic"),
        (b"PK\x03\x04 damaged", "."),
        (b"", "."),
        (npy("(1,)", bytes(8)), "not an archive"),
    ],
)
def test_an_archive_is_refused_before_anything_is_allocated(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_arrays(content)
    with pytest.raises(OSError, match="damaged moments file"):
        decode_reduction(content)


def test_arrays_beyond_this_machines_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_arrays({"a": np.zeros(1000)})
    assert decode_arrays(content)["a"].shape == (1000,)
    monkeypatch.setattr(array_files, "memory_bytes", lambda: 4000)
    with pytest.raises(ValueError, match=r"a\.npy, unpacked, takes 8,128 bytes, and this machine"):
        decode_arrays(content)


def test_moments_of_other_shapes_are_damaged() -> None:
    arrays = decode_arrays(encode_reduction(None, ())) | {"mean": np.zeros(200_000)}
    with pytest.raises(OSError, match="damaged moments file: scatter"):
        decode_reduction(encode_arrays(arrays))


def test_no_mutation_of_columns_raises_anything_but_an_oserror() -> None:
    """Bits flipped in the footer, which has no checksum, and the layout replaced."""
    content = encode_columns(example())
    footer = len(content) - int.from_bytes(content[-8:-4], "little") - 8
    random = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(content)
        changed[random.integers(footer, len(content))] ^= 1 << int(random.integers(8))
        with contextlib.suppress(OSError):
            decode_columns(bytes(changed))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_reference_arrays_of_impossible_shapes_are_refused(suffix: str, tmp_path: Path) -> None:
    for shape in ("(1099511627776, 8, 8)", "(-2, 8, 8)", "(2, 8, 8)"):
        member = npy(shape, bytes(64), "|u1")
        path = tmp_path / f"set.{suffix}"
        path.write_bytes(npz(member) if suffix == "npz" else member)
        with pytest.raises(InputError, match=rf"set.{suffix} cannot be read .* shape .* save it"):
            open_reference(str(path))
