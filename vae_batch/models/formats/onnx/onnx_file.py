"""ONNX files: read as data, checked before onnxruntime sees them, and run on the CPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_batch.installation import pip_install
from vae_batch.models.formats.format import Array, LoadOptions, Network, Networks
from vae_batch.models.formats.limits import cap_for, in_words, over_cap
from vae_batch.models.formats.onnx.graph import Message, OnnxGraph, tensors_inside
from vae_batch.models.inputs.onnx_content import is_onnx, is_plain_name
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.location import require_regular

_AGAIN = "copy the file again, or export the model again"
# Operators that onnxruntime has; those of other domains are libraries of code.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


class OnnxFile:
    """Files of one graph, an ONNX ``ModelProto``; implements ``CheckpointFormat``.

    A file is a half or an extractor, known by its role or its shapes. Weights may lie in files
    beside it, as PyTorch's exporter writes them.
    """

    name = "onnx"
    suffixes: tuple[str, ...] = (".onnx",)

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        return is_onnx(head)

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        parts = {role: _network(path, options) for role, path in files.items()}
        return Networks(self.name, parts.get("encoder"), parts.get("decoder"), parts.get("model"))


def _network(path: str, options: LoadOptions) -> Network:
    try:
        import onnx
        import onnxruntime  # noqa: F401  found missing here, not in the middle
        from google.protobuf.message import DecodeError
        from onnx import inliner
    except ImportError as error:
        raise CheckpointError(
            f"{path} is an ONNX model, which needs onnx and onnxruntime ({error}): "
            f"{pip_install('onnx')}"
        ) from error
    size = os.path.getsize(path)
    if size > options.memory_cap:
        raise CheckpointError(
            f"{path} has {in_words(size)}{over_cap(options.memory_cap)}", cap_for(size)
        )
    try:
        model = onnx.load_model_from_string(Path(path).read_bytes())
    except DecodeError as error:
        raise CheckpointError(
            f"{path} is a damaged or truncated ONNX model of {size:,} bytes; {_AGAIN}"
        ) from error
    if not model.graph.node:
        raise CheckpointError(f"{path} is an ONNX model without a graph; {_AGAIN}")
    if model.functions:
        model = inliner.inline_local_functions(model)
    _require_known_operators(model, path)
    _require_small(model, path, options.memory_cap)
    return OnnxGraph(model, _read_beside(model, path), path).network()


def _require_known_operators(model: Message, path: str) -> None:
    foreign = sorted({node.domain for node in _nodes(model.graph)} - _DOMAINS)
    if foreign:
        raise CheckpointError(
            f"{path} has operators of {', '.join(map(repr, foreign))}, which onnxruntime does not "
            "have; export it with the standard operators"
        )


def _nodes(graph: Message) -> Iterator[Message]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _require_small(model: Message, path: str, cap: int) -> None:
    """Check what the tensors declare: a small file can declare a huge one."""
    total = sum(_declared_bytes(tensor) for tensor in tensors_inside(model.graph))
    if total > cap:
        raise CheckpointError(
            f"{path} declares {in_words(total)} of tensors{over_cap(cap)}", cap_for(total)
        )


def _declared_bytes(tensor: Message) -> int:
    return math.prod(max(0, int(size)) for size in tensor.dims) * _dtype(tensor).itemsize


def _dtype(tensor: Message) -> np.dtype[Any]:
    from onnx import helper

    try:
        found: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        return found
    except KeyError:
        raise CheckpointError(
            f"tensor {tensor.name!r} has the data type {tensor.data_type}, which this release of "
            "onnx does not know; export the model again, or upgrade onnx and onnxruntime"
        ) from None


def _read_beside(model: Message, path: str) -> dict[str, Array]:
    """Weights that lie in files beside the model, by name.

    Raises:
        CheckpointError: A file is missing, shorter than the model says, or in another folder.
    """
    from onnx import TensorProto

    found: dict[str, Array] = {}
    own = len(model.graph.initializer)
    for place, tensor in enumerate(tensors_inside(model.graph)):  # the initializers come first
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if place >= own or not is_plain_name(name):
            raise CheckpointError(
                f"{path} takes tensor {tensor.name!r} from {name!r}, expected a file in its own "
                "folder that holds weights of its main graph; export the model again"
            )
        found[tensor.name] = _values_beside(tensor, entries, Path(path).with_name(name), path)
    return found


def _values_beside(tensor: Message, entries: Mapping[str, str], file: Path, path: str) -> Array:
    dtype, size = _dtype(tensor), _declared_bytes(tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        offset, length = -1, -1
    try:
        require_regular(file)
        if offset < 0 or length != size or offset + length > os.path.getsize(file):
            raise CheckpointError(
                f"{file} does not hold tensor {tensor.name!r} of {path} ({in_words(size)} at byte "
                f"{entries.get('offset', 0)}): it is truncated or of another export; {_AGAIN}"
            )
        values = np.fromfile(file, dtype, count=size // dtype.itemsize, offset=offset)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} keeps its weights in {file.name}, which is not in its folder; copy both"
        ) from error
    return values.reshape(tuple(tensor.dims))
