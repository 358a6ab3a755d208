"""Seeded Inception weights, written in the true layouts of the published files.

No published weights are needed: the numbers are random, the names, shapes, orders and file
formats are the real ones. The PyTorch writers spell out the pickle, so they need no PyTorch.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vae_batch.models.extractors.inception.layout import FEATURE_DIM, KERAS_ORDER, UNITS
from vae_batch.models.extractors.weights.published import PublishedWeights

# Declares the content of a file to be what is published under a known name (a fixture).
Publish = Callable[..., PublishedWeights]

GOLDEN_SEED_2015 = 2015
GOLDEN_SEED_KERAS = 1000

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class RawUnit:
    kernel: np.ndarray  # (height, width, in, out)
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class RawInception:
    """Numbers before folding, as a publisher has them."""

    units: Mapping[str, RawUnit]
    kernel: np.ndarray  # (2048, classes)
    bias: np.ndarray


@dataclass
class _Uniform:
    """Uniform float32 numbers from raw 24-bit Philox integers: same bits on every platform."""

    seed: int
    stream: int = field(default=0)

    def __call__(self, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
        self.stream += 1
        philox = np.random.Philox(key=np.array([self.seed, self.stream], np.uint64))
        unit = (philox.random_raw(int(np.prod(shape))) >> np.uint64(40)) / 2.0**24
        return (low + (high - low) * unit).reshape(shape).astype(np.float32)


def raw_inception(seed: int, classes: int) -> RawInception:
    """Random weights with pooled features of order one and probabilities that differ by image."""
    draw = _Uniform(seed)
    units = {}
    for unit in UNITS.values():
        channels = (unit.kernel_shape[-1],)
        variance = draw(channels, 0.5, 1.5)
        edge = np.sqrt(
            3 * 2.6 / math.prod(unit.kernel_shape[:3])
        )  # of a uniform distribution of variance 2.6 / fan_in
        kernel = draw(unit.kernel_shape, -edge, edge)
        # Half of it only: the less common part, the more the network amplifies rounding.
        kernel -= 0.5 * kernel.mean(axis=(0, 1, 2))
        units[unit.name] = RawUnit(
            kernel=kernel * np.sqrt(variance),
            gamma=draw(channels, 0.9, 1.1),
            beta=draw(channels, -0.1, 0.1),
            mean=draw(channels, -0.1, 0.1),
            variance=variance,
        )
    top = draw((FEATURE_DIM, classes), -0.2, 0.2)
    return RawInception(units, top, draw((classes,), -0.1, 0.1))


def state_dict_arrays(raw: RawInception, counters: bool = False) -> dict[str, np.ndarray]:
    """Arrays under the keys of the FID state dict: 472, or 566 with the batch counters."""
    arrays = {}
    for name, unit in raw.units.items():
        arrays[f"{name}.conv.weight"] = unit.kernel.transpose(3, 2, 0, 1)
        arrays[f"{name}.bn.weight"] = unit.gamma
        arrays[f"{name}.bn.bias"] = unit.beta
        arrays[f"{name}.bn.running_mean"] = unit.mean
        arrays[f"{name}.bn.running_var"] = unit.variance
        if counters:
            arrays[f"{name}.bn.num_batches_tracked"] = np.array(0, np.int64)
    return arrays | {"fc.weight": raw.kernel.T, "fc.bias": raw.bias}


_STORAGES = {"float32": b"FloatStorage", "int64": b"LongStorage"}
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def _tensor(array: np.ndarray, key: str, legacy: bool) -> bytes:
    """Opcodes of one contiguous tensor."""
    steps = tuple(step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    storage = b"(" + _text("storage") + b"ctorch\n" + _STORAGES[str(array.dtype)] + b"\n"
    storage += _text(key) + _text("cpu") + _number(array.size) + (b"N" if legacy else b"") + b"tQ"
    arguments = storage + _number(0) + _numbers(array.shape) + _numbers(steps)
    arguments += b"\x89" + _ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _pickled_state_dict(arrays: Mapping[str, np.ndarray], legacy: bool) -> bytes:
    items = (_text(name) + _tensor(a, str(i), legacy) for i, (name, a) in enumerate(arrays.items()))
    # A module's state dict carries _metadata as an attribute of the dictionary.
    metadata = b"}" + _text("_metadata") + _ORDERED_DICT + b"sb"
    return b"\x80\x02" + _ORDERED_DICT + b"(" + b"".join(items) + b"u" + metadata + b"."


def write_zip_state_dict(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """The layout of torch.save since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", _pickled_state_dict(arrays, legacy=False))
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy_state_dict(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """The older layout of torch.save, in which the published file is written."""
    keys = b"\x80\x02]" + b"(" + b"".join(_text(str(i)) for i in range(len(arrays))) + b"e."
    sizes = b"}" + _text("int") + _number(4) + b"s"
    machine = b"\x80\x02}(" + _text("protocol_version") + _number(1001) + _text("little_endian")
    machine += b"\x88" + _text("type_sizes") + sizes + b"u."
    with path.open("wb") as stream:
        stream.write(LEGACY_MAGIC + b"\x80\x02" + _number(1001) + b"." + machine)
        stream.write(_pickled_state_dict(arrays, legacy=True) + keys)
        for array in arrays.values():
            stream.write(struct.pack("<q", array.size) + array.tobytes())
    return path


def write_graphdef(path: Path, raw: RawInception) -> Path:
    """The node names and ops of the 2015 graph, without its wiring."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="DecodeJpeg/contents", op="Placeholder")
    for name, array in _graph_constants(raw):
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    for unit in UNITS.values():
        op = "BatchNormWithGlobalNormalization"
        node = graph.node.add(name=f"{unit.graph_scope}/batchnorm", op=op)
        node.attr["variance_epsilon"].f = 1e-3
        node.attr["scale_after_normalization"].b = True
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return path


def _graph_constants(raw: RawInception) -> Iterator[tuple[str, np.ndarray]]:
    for unit in UNITS.values():
        scope, numbers = unit.graph_scope, raw.units[unit.name]
        yield f"{scope}/conv2d_params", numbers.kernel
        yield f"{scope}/batchnorm/gamma", numbers.gamma
        yield f"{scope}/batchnorm/beta", numbers.beta
        yield f"{scope}/batchnorm/moving_mean", numbers.mean
        yield f"{scope}/batchnorm/moving_variance", numbers.variance
    yield "softmax/weights", raw.kernel
    yield "softmax/biases", raw.bias


def write_keras_h5(path: Path, raw: RawInception, top: bool = True) -> Path:
    """The layout of the files that Keras publishes; gamma does not exist there."""
    import h5py

    layers: dict[str, dict[str, np.ndarray]] = {"input_1": {}}
    for place, name in enumerate(KERAS_ORDER, start=1):
        unit = raw.units[name]
        layers[f"conv2d_{place}"] = {"kernel": unit.kernel}
        layers[f"batch_normalization_{place}"] = {
            "beta": unit.beta,
            "moving_mean": unit.mean,
            "moving_variance": unit.variance,
        }
        layers[f"activation_{place}"] = {}
    if top:
        layers["predictions"] = {"kernel": raw.kernel, "bias": raw.bias}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                group.create_dataset(f"{layer}/{name}:0", data=array)
    return path


def sample_images(count: int, height: int, width: int) -> np.ndarray:
    """Images with structure: stripes of many directions and colours, (count, h, w, 3) uint8."""
    draw = _Uniform(99)
    waves, phases = draw((count, 3, 2), -0.4, 0.4), draw((count, 3), 0.0, 6.0)
    rows, columns = np.mgrid[:height, :width]
    angle = (
        waves[:, :, 0, None, None] * rows
        + waves[:, :, 1, None, None] * columns
        + phases[:, :, None, None]
    )
    return np.rint(127.5 + 127.5 * np.sin(angle)).astype(np.uint8).transpose(0, 2, 3, 1)
