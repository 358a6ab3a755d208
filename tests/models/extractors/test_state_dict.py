"""The PyTorch state dict reader: both formats, views, and files that are not weights."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.models.published_layouts import (
    LEGACY_MAGIC,
    write_legacy_state_dict,
    write_zip_state_dict,
)

from vae_batch.models.extractors.weights.readers import _Storage, _Tensor, read_state_dict
from vae_batch.models.extractors.weights.weight_file import sniff_format
from vae_batch.plan.errors import InputError

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn.num_batches_tracked": np.array(7, dtype=np.int64),
    "bn.bias": np.array([-1.5, 2.25], dtype=np.float32),
}

WRITERS = [write_zip_state_dict, write_legacy_state_dict]


@pytest.mark.parametrize("write", WRITERS)
def test_arrays_come_back(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(tmp_path / "weights.anything", ARRAYS)
    assert sniff_format(path) == "torch-state-dict"
    found = read_state_dict(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_truncated_files_are_refused(
    write: Callable[..., Path], kept: float, tmp_path: Path
) -> None:
    path = write(tmp_path / "weights.pth", ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="truncated"):
        read_state_dict(path)


def test_a_flipped_bit_of_a_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip_state_dict(tmp_path / "weights.pth", ARRAYS)
    content = bytearray(path.read_bytes())
    place = content.index(ARRAYS["conv.weight"].tobytes())
    content[place + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged.*Download it again"):
        read_state_dict(path)


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo attacked",)


def _zip_with_pickle(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = _zip_with_pickle(tmp_path / "attack.pth", pickle.dumps(_Attack(), protocol=2))
    with pytest.raises(InputError, match=r"asks for (posix|nt)\.system"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["builtins eval", "torch nn", "torch._utils _rebuild_qtensor"])
def test_only_plain_tensor_names_are_known(name: str, tmp_path: Path) -> None:
    module, attribute = name.split()
    content = b"\x80\x02c" + module.encode() + b"\n" + attribute.encode() + b"\n."
    path = _zip_with_pickle(tmp_path / "names.pth", content)
    with pytest.raises(InputError, match=f"asks for {module}.{attribute}"):
        read_state_dict(path)


def test_something_else_than_a_dictionary_is_refused(tmp_path: Path) -> None:
    path = _zip_with_pickle(tmp_path / "list.pth", pickle.dumps([1, 2], protocol=2))
    with pytest.raises(InputError, match="holds a list"):
        read_state_dict(path)


def test_an_unknown_protocol_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "future.pth"
    path.write_bytes(LEGACY_MAGIC + b"\x80\x02J" + struct.pack("<i", 1002) + b".")
    with pytest.raises(InputError, match="protocol version is unknown"):
        read_state_dict(path)


def _storage() -> _Storage:
    storage = _Storage(np.dtype("<f4"), 6)
    storage.values = np.arange(6, dtype=np.float32)
    return storage


def test_strides_and_offsets_are_honoured() -> None:
    # Row-major 2 x 3 of 0..5, read as its transpose, and as its last column.
    transposed = _Tensor(_storage(), 0, (3, 2), (1, 3)).array()
    np.testing.assert_array_equal(transposed, [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(_Tensor(_storage(), 2, (2,), (3,)).array(), [2, 5])


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (7,), (1,)), (5, (2,), (1,)), (0, (2, 3), (4, 1)), (-1, (2,), (1,)), (0, (2,), (-1,))],
)
def test_tensors_outside_their_storage_are_refused(
    offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"beyond its storage|negative"):
        _Tensor(_storage(), offset, shape, stride).array()
