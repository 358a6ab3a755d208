"""Reads the tensors of a PyTorch state dict without PyTorch, in both formats of torch.save.

The zip format (since PyTorch 1.6) holds one pickle and one entry per storage. The older format, in
which the published Inception file is written, holds several pickles followed by the storages. The
unpickler knows only tensor rebuilding and ordered dictionaries, so a file cannot run code.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae_batch.models.extractors.weights.weight_file import TORCH_LEGACY_MAGIC
from vae_batch.plan.errors import InputError

Array = NDArray[np.generic]

_LEGACY_PROTOCOL = 1001

_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}


class _Storage:
    """A one-dimensional array, filled at once (zip) or after the pickle (older format)."""

    def __init__(self, dtype: np.dtype[Any], count: int) -> None:
        self.dtype = dtype
        self.count = count
        self.values: Array | None = None


class _Tensor:
    """A view into a storage; becomes an array once the storage is filled."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.storage, self.offset = storage, offset
        self.shape, self.stride = shape, stride

    def array(self) -> Array:
        """Copy the tensor into a contiguous array.

        Raises:
            ValueError: It reaches beyond its storage.
        """
        values = self.storage.values
        if values is None or len(self.shape) != len(self.stride):
            raise ValueError("a tensor has no storage or mismatched strides")
        if min((self.offset, *self.shape, *self.stride), default=0) < 0:
            raise ValueError("a tensor has a negative offset, size or stride")
        reach = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if 0 not in self.shape and self.offset + reach >= len(values):
            raise ValueError("a tensor reaches beyond its storage")
        steps = tuple(step * values.itemsize for step in self.stride)
        tail = values[self.offset :]
        return np.lib.stride_tricks.as_strided(tail, self.shape, steps, writeable=False).copy()


def _rebuild_tensor(
    storage: object, offset: int, shape: Sequence[int], stride: Sequence[int], *_: object
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor is not made from a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
}


class _StateDictUnpickler(pickle.Unpickler):
    """Allows the names above and nothing else."""

    def __init__(self, stream: BinaryIO, load: Callable[[str, _Storage], None]) -> None:
        # Python 2 wrote the strings of some files as bytes.
        super().__init__(stream, encoding="utf-8")
        self._load = load
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        """Look up an allowed name."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which a state dict of weights does not need"
            )
        return _ALLOWED[(module, name)]

    def persistent_load(self, pid: tuple[Any, ...]) -> _Storage:
        """Return the storage that a persistent id names."""
        kind, dtype, key, _location, count, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError("it holds something other than plain storages")
        key = str(key)
        if key not in self.storages:
            storage = _Storage(dtype, int(count))
            self._load(key, storage)
            self.storages[key] = storage
        return self.storages[key]


def _read_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}byteorder" in archive.namelist():
            order = archive.read(f"{prefix}byteorder")
            if order != b"little":
                raise ValueError("it was written on a big-endian machine")

        def load(key: str, storage: _Storage) -> None:
            content = archive.read(f"{prefix}data/{key}")
            storage.values = np.frombuffer(content, storage.dtype, storage.count)

        return _StateDictUnpickler(io.BytesIO(archive.read(pickles[0])), load).load()


def _read_legacy(stream: BinaryIO) -> object:
    def later(key: str, storage: _Storage) -> None:
        """Do nothing: the storages follow the pickles."""

    def plain() -> Any:  # noqa: ANN401 - whatever the allowed names can build
        return _StateDictUnpickler(stream, later).load()

    stream.seek(len(TORCH_LEGACY_MAGIC))
    if plain() != _LEGACY_PROTOCOL:
        raise ValueError("its protocol version is unknown")
    machine = plain()
    if not machine.get("little_endian", True):
        raise ValueError("it was written on a big-endian machine")
    unpickler = _StateDictUnpickler(stream, later)
    state = unpickler.load()
    for key in plain():
        storage = unpickler.storages[str(key)]
        (count,) = struct.unpack("<q", stream.read(8))
        if count != storage.count:
            raise ValueError("a storage has another size than announced")
        content = stream.read(count * storage.dtype.itemsize)
        storage.values = np.frombuffer(content, storage.dtype, count)
    return state


def read_state_dict(path: Path) -> Mapping[str, Array]:
    """Read every tensor of a state dict.

    Args:
        path: A file of ``torch.save``, zip or older format.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        InputError: The file is truncated, damaged, or not a state dict of plain tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            state = _read_zip(path)
        else:
            with path.open("rb") as stream:
                state = _read_legacy(stream)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, not a dictionary of tensors")
        tensors = {str(k): v.array() for k, v in state.items() if isinstance(v, _Tensor)}
    except InputError:
        raise
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise InputError(
            f"{path}: the PyTorch state dict cannot be read ({error}); it is truncated, damaged or "
            "not a file of Inception weights. Download it again."
        ) from error
    return tensors
