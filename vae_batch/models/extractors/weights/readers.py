"""Reads a weights file of any known format into folded ``InceptionWeights``."""

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

from vae_batch.models.extractors.inception.folded_weights import (
    BatchNorm,
    Float32,
    FoldedUnit,
    InceptionWeights,
    WeightChecks,
    fold,
)
from vae_batch.models.extractors.inception.layout import FEATURE_DIM, KERAS_ORDER, UNITS, Unit
from vae_batch.models.extractors.weights.keras_h5 import keras_arrays
from vae_batch.models.extractors.weights.weight_file import (
    TORCH_LEGACY_MAGIC,
    WeightFile,
    open_content,
)
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


_CLASSES_2015 = 1008
_CLASSES_KERAS = 1000
_NORM_OP = "BatchNormWithGlobalNormalization"

# A unit's kernel (height, width, in, out) and its batch norm.
_RawUnit = tuple[Float32, BatchNorm]


def read_weights(file: WeightFile) -> InceptionWeights:
    """Read, check and fold all weights of a file.

    Args:
        file: From ``inspect_weight_file``.

    Returns:
        The folded weights.

    Raises:
        InputError: Unknown format, damaged file, missing arrays, other shapes, or values that are
            not finite.
    """
    if file.format not in _READERS:
        raise InputError(f"{file.path} is {file.foreign_words}; it holds no Inception weights.")
    return _READERS[file.format](file)


def _folded(read_unit: Callable[[Unit], _RawUnit]) -> dict[str, FoldedUnit]:
    return {unit.name: fold(*read_unit(unit)) for unit in UNITS.values()}


def _from_state_dict(file: WeightFile) -> InceptionWeights:
    arrays = read_state_dict(file.path)
    top = arrays.get("fc.weight")
    if top is not None and top.shape == (1000, FEATURE_DIM):
        raise InputError(
            f"{file.path}: this Inception v3 has 1000 classes, as torchvision's has; "
            "inception-2015 needs the 1008-class file pt_inception-2015-12-05-6726825d.pth."
        )
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        height, width, channels, out = unit.kernel_shape
        kernel = checks.take(f"{unit.name}.conv.weight", (out, channels, height, width))
        parts = ("weight", "bias", "running_mean", "running_var")
        norm = checks.take_norm([f"{unit.name}.bn.{part}" for part in parts], out)
        return kernel.transpose(2, 3, 1, 0), norm

    units = _folded(unit_of)
    kernel = checks.take("fc.weight", (_CLASSES_2015, FEATURE_DIM)).T
    bias = checks.take("fc.bias", (_CLASSES_2015,))
    return InceptionWeights(units, np.ascontiguousarray(kernel), bias)


def _from_graphdef(file: WeightFile) -> InceptionWeights:
    arrays, epsilons = _read_graphdef(file)
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        scope = unit.graph_scope
        if scope not in epsilons:
            raise InputError(
                f"{file.path}: the graph has no batch norm in {scope!r}; this is another network."
            )
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        names = [f"{scope}/batchnorm/{part}" for part in parts]
        kernel = checks.take(f"{scope}/conv2d_params", unit.kernel_shape)
        return kernel, checks.take_norm(names, unit.kernel_shape[-1], epsilons[scope])

    units = _folded(unit_of)
    kernel = checks.take("softmax/weights", (FEATURE_DIM, _CLASSES_2015))
    return InceptionWeights(units, kernel, checks.take("softmax/biases", (_CLASSES_2015,)))


def _read_graphdef(
    file: WeightFile,
) -> tuple[Mapping[str, NDArray[np.generic]], Mapping[str, float]]:
    """Read every constant and every batch norm's epsilon, with TensorFlow's protocol buffers.

    Returns:
        Arrays by node name, and the epsilon of each batch norm by scope. If a norm does not scale
        after normalisation, its gamma is replaced by ones, since TensorFlow ignores it.

    Raises:
        InputError: The bytes are not a GraphDef, or are damaged.
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    try:
        with open_content(file.path, file.format) as stream:
            graph.ParseFromString(stream.read())
        arrays = {
            node.name: tf.make_ndarray(node.attr["value"].tensor)
            for node in graph.node
            if node.op == "Const"
        }
    except InputError:
        raise
    # The parser's DecodeError and make_ndarray's errors share no class.
    except Exception as error:
        raise InputError(
            f"{file.path}: the GraphDef cannot be parsed ({error}); it is truncated or damaged. "
            "Download it again."
        ) from error
    epsilons: dict[str, float] = {}
    for node in (node for node in graph.node if node.op == _NORM_OP):
        scope = node.name.rpartition("/batchnorm")[0] or node.name.rpartition("/")[0]
        epsilons[scope] = float(node.attr["variance_epsilon"].f)
        gamma = f"{scope}/batchnorm/gamma"
        if gamma in arrays and not node.attr["scale_after_normalization"].b:
            arrays[gamma] = np.ones_like(arrays[gamma])
    return arrays, epsilons


def _from_keras_h5(file: WeightFile) -> InceptionWeights:
    arrays = keras_arrays(file.path, KERAS_ORDER)
    checks = WeightChecks(str(file.path), arrays)

    def unit_of(unit: Unit) -> _RawUnit:
        names = [f"{unit.name}/{part}" for part in ("gamma", "beta", "mean", "variance")]
        kernel = checks.take(f"{unit.name}/kernel", unit.kernel_shape)
        return kernel, checks.take_norm(names, unit.kernel_shape[-1])

    units = _folded(unit_of)
    if "predictions/kernel" not in arrays:
        return InceptionWeights(units, None, None)
    kernel = checks.take("predictions/kernel", (FEATURE_DIM, _CLASSES_KERAS))
    return InceptionWeights(units, kernel, checks.take("predictions/bias", (_CLASSES_KERAS,)))


_READERS = {
    "torch-state-dict": _from_state_dict,
    "graphdef": _from_graphdef,
    "graphdef-tgz": _from_graphdef,
    "keras-h5": _from_keras_h5,
}
