"""An ONNX graph as a network: its ports, its last activation, its first operations, its sizes."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.models.batching import map_batches
from vae_batch.models.formats.format import Array, Network, Port
from vae_batch.models.image_range import range_before
from vae_batch.plan.errors import CheckpointError

Message = Any  # protobuf's classes have no types; here a ModelProto, GraphProto or NodeProto
Run = Callable[..., tuple[Array, ...]]

# Rows per call where the graph leaves the batch size free. Calls run at the same time, each on one
# thread, so that a row's bits do not depend on the number of cores.
_ROWS = 8
_BATCH = 32  # of a CPU run

# Operations that move values, or change their type alone.
_SHAPE_ONLY = frozenset(
    {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Cast"}
    | {"CastLike", "Dropout"}
)
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Elu": "elu",
    "LeakyRelu": "leaky_relu",
    "Gelu": "gelu",
    "HardSigmoid": "hard_sigmoid",
    "Clip": "clip",
    "BatchNormalization": "linear",
} | dict.fromkeys(_PRODUCTS, "linear")
_DENSE = ("Gemm", "MatMul")
_NONLINEAR = frozenset({"tanh", "relu", "softplus", "elu", "leaky_relu", "gelu", "clip"})
_NORMALISED = frozenset(
    {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "LpNormalization"}
)
_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_CHANNELS = 4  # values of a constant by which pixels are shifted or scaled, at most
_LARGEST_CONSTANT = 4096  # values of tensors that shape inference may need


def tensors_inside(graph: Message) -> Iterator[Message]:
    """Every tensor that a graph holds, inside attributes and inner graphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_inside(inner)


@dataclass(frozen=True)
class OnnxGraph:
    """A model without functions of its own.

    Attributes:
        model: The ``ModelProto``.
        beside: Values of weights that are not in it, by name.
        source: The file.
    """

    model: Message
    beside: Mapping[str, Array]
    source: str

    def network(self) -> Network:
        """The network.

        Raises:
            CheckpointError: It cannot be run, or an input or output has no batch axis.
        """
        inputs = tuple(self._port(value, "input") for value in self._inputs)
        size = self._batch_size()
        run = self._runner(self.model, inputs, size)
        scale, offset = self._first_map
        changes = scale.size > 1 or offset.size > 1 or scale.item() != 1 or offset.item() != 0
        last = self._activation(self._last)
        network = Network(
            source=self.source,
            inputs=inputs,
            outputs=self._output_ports(run, inputs, size or 1),
            run=run,
            activation=last,
            input_hint=range_before(scale, offset),
            input_statistics=_statistics(scale, offset) if changes else None,
            gives_features=self._gives_features(),
            weights=self._weights,
            largest=self._largest(),
        )

        def inner(name: str | None) -> Network:
            tensor = self._tensor_inside(name)
            tapped = type(self.model)()
            tapped.CopyFrom(self.model)
            tapped.graph.output.insert(0, self._value_of(tensor))
            every = self._runner(tapped, inputs, size)

            def pooled(*arrays: Array) -> tuple[Array, ...]:
                first, *rest = every(*arrays)
                # Inside a graph feature maps are (n, d, h, w), whatever its inputs are.
                return (first.mean(axis=(2, 3)) if first.ndim == 4 else first, *rest)

            port = Port(tensor, pooled(*_zeros(inputs, size or 1))[0].shape[1:])
            return replace(network, outputs=(port, *network.outputs), run=pooled, inner=None)

        network = replace(network, inner=inner)
        if self._last is None or last != "sigmoid":
            return network
        last_outputs = self._last.output

        def before_sigmoid() -> Network:
            changed = type(self.model)()
            changed.CopyFrom(self.model)
            for node in changed.graph.node:
                if node.output == last_outputs:
                    node.op_type = "Identity"
            run = self._runner(changed, inputs, size)
            return replace(network, run=run, activation="linear", before_sigmoid=None)

        return replace(network, before_sigmoid=before_sigmoid)

    @cached_property
    def _inputs(self) -> list[Message]:
        graph = self.model.graph
        stored = {tensor.name for tensor in graph.initializer}
        return [value for value in graph.input if value.name not in stored]

    @cached_property
    def _producers(self) -> dict[str, Message]:
        return {name: node for node in self.model.graph.node for name in node.output}

    @cached_property
    def _constants(self) -> dict[str, Message]:
        """Small tensors of the graph by name."""
        graph = self.model.graph
        found = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                tensors = [a.t for a in node.attribute if a.name == "value"]
                found |= dict.fromkeys(node.output, *tensors) if tensors else {}
        return {name: t for name, t in found.items() if math.prod(t.dims) <= _CHANNELS}

    def _port(self, value: Message, what: str) -> Port:
        from onnx import helper

        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            raise CheckpointError(
                f"{self.source}: {what} {value.name!r} is no tensor; export a model of tensors"
            )
        sizes = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
        if kind.HasField("shape") and not sizes:
            raise CheckpointError(
                f"{self.source}: {what} {value.name!r} is a single number without a batch axis; "
                "export the model without it"
            )
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        return Port(value.name, tuple(sizes[1:]), dtype)

    def _batch_size(self) -> int | None:
        """The number of samples that the graph takes exactly; None where that is free."""
        if not self._inputs:
            raise CheckpointError(f"{self.source} has no input; export the model again")
        fixed = {}
        for value in (*self._inputs, *self.model.graph.output):
            dims = value.type.tensor_type.shape.dim
            if dims and dims[0].dim_value > 0:
                fixed[value.name] = dims[0].dim_value
            elif dims and value in self._inputs:
                fixed[value.name] = None
        given = {fixed[value.name] for value in self._inputs if value.name in fixed}
        if len(set(fixed.values())) > 1 and given != {None}:
            sizes = ", ".join(f"{name}: {size or 'free'}" for name, size in fixed.items())
            raise CheckpointError(
                f"{self.source}: its inputs and outputs do not begin with one batch axis "
                f"({sizes}); export it with a batch axis first"
            )
        return given.pop() if given else None

    def _runner(self, model: Message, inputs: tuple[Port, ...], size: int | None) -> Run:
        session = _session(model, self.beside, self.source)
        names = [port.name for port in inputs]
        dtypes = [np.dtype(port.dtype) for port in inputs]

        def run(*arrays: Array) -> tuple[Array, ...]:
            given = {
                name: np.ascontiguousarray(array, dtype)
                for name, array, dtype in zip(names, arrays, dtypes, strict=True)
            }
            try:
                outputs = session.run(None, given)
            except Exception as error:  # onnxruntime has a class for each kind of failure
                if "allocate memory" in str(error) or "bad_alloc" in str(error):
                    raise MemoryError(str(error)) from error
                raise
            for output, value in zip(outputs, model.graph.output, strict=True):
                if np.shape(output)[:1] != (len(arrays[0]),):
                    raise CheckpointError(
                        f"{self.source}: output {value.name!r} has the shape {np.shape(output)} "
                        f"for {len(arrays[0])} samples; export it with a free batch axis"
                    )
            return tuple(outputs)

        return functools.partial(map_batches, run, size or _ROWS, concurrency=_threads())

    def _output_ports(self, run: Run, inputs: tuple[Port, ...], size: int) -> tuple[Port, ...]:
        """Shapes as the graph states them; where it leaves them open, as one run returns them."""
        ports = tuple(self._port(value, "output") for value in self.model.graph.output)
        known = all(
            value.type.tensor_type.HasField("shape") and None not in port.shape
            for value, port in zip(self.model.graph.output, ports, strict=True)
        )
        if known or any(None in port.shape for port in inputs):
            return ports
        arrays = run(*_zeros(inputs, size))
        return tuple(
            Port(port.name, array.shape[1:], str(array.dtype))
            for port, array in zip(ports, arrays, strict=True)
        )

    def _made(self, name: str) -> Message | None:
        """The node that computes a tensor's values, before nodes that only move them."""
        node = self._producers.get(name)
        while node is not None and node.op_type in _SHAPE_ONLY:
            node = self._producers.get(node.input[0])
        return node

    @cached_property
    def _last(self) -> Message | None:
        return self._made(self.model.graph.output[0].name)

    def _activation(self, node: Message | None) -> str | None:
        if node is None:
            return None
        if node.op_type == "Add":  # a bias, where a product or a stored tensor is added to
            added = [self._made(name) for name in node.input]
            products = [made for made in added if made is not None and made.op_type in _PRODUCTS]
            return "linear" if products else None
        return _ACTIVATIONS.get(node.op_type)

    def _gives_features(self) -> bool:
        node = self._last
        while node is not None and node.op_type in _POOLS:
            node = self._made(node.input[0])
        if node is None:
            return False
        return node.op_type in _NORMALISED or self._activation(node) in _NONLINEAR

    @cached_property
    def _first_map(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Scale and offset by which the first operations on the first input map its values."""
        from onnx import numpy_helper

        name, scale, offset = self._inputs[0].name, np.ones(1), np.zeros(1)
        while True:
            users = [node for node in self.model.graph.node if name in node.input]
            node = users[0] if len(users) == 1 else None
            if node is not None and node.op_type in _SHAPE_ONLY:
                name = node.output[0]
                continue
            if node is None or node.op_type not in _AFFINE or len(set(node.input)) < 2:
                return scale, offset
            place = 1 if node.input[0] == name else 0
            stored = self._constants.get(node.input[place])
            if stored is None or (node.op_type == "Div" and place == 0):
                return scale, offset
            if stored.name in self.beside:
                values = np.asarray(self.beside[stored.name], np.float64).reshape(-1)
            else:
                values = numpy_helper.to_array(stored).astype(np.float64).reshape(-1)
            if node.op_type == "Add":
                offset = offset + values
            elif node.op_type == "Sub":
                sign = 1 if place == 1 else -1
                scale, offset = sign * scale, sign * (offset - values)
            else:
                factor = values if node.op_type == "Mul" else 1 / values
                scale, offset = scale * factor, offset * factor
            name = node.output[0]

    def _weights(self) -> Iterator[tuple[str, Array]]:
        from onnx import numpy_helper

        for tensor in self.model.graph.initializer:
            beside = self.beside.get(tensor.name)
            yield tensor.name, numpy_helper.to_array(tensor) if beside is None else beside

    @cached_property
    def _inferred(self) -> Message:
        """The graph with the shapes of its tensors, as far as onnx infers them."""
        from onnx import helper, shape_inference

        own = self.model.graph
        bare = type(self.model)(ir_version=self.model.ir_version)
        bare.opset_import.extend(self.model.opset_import)
        graph = bare.graph
        graph.name = own.name
        graph.node.extend(own.node)
        graph.input.extend(own.input)
        graph.output.extend(own.output)
        for tensor in own.initializer:
            if tensor.name in self.beside or math.prod(tensor.dims) > _LARGEST_CONSTANT:
                value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                graph.input.append(value)
            else:
                graph.initializer.append(tensor)
        try:
            return shape_inference.infer_shapes(bare, data_prop=True).graph
        except Exception:  # a graph that onnxruntime may still run
            return graph

    def _largest(self) -> tuple[int, str]:
        """Bytes of the largest tensor per sample, and the node that computes it."""
        from onnx import helper

        found = (0, "")
        for value in (*self._inferred.value_info, *self._inferred.output):
            kind = value.type.tensor_type
            sizes = [dim.dim_value for dim in kind.shape.dim]
            count = math.prod(max(size, 1) for size in sizes)
            once = _BATCH if sizes and sizes[0] > 0 else 1
            width = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
            made = self._producers.get(value.name)
            found = max(found, (count * width // once, made.name if made else value.name))
        return found

    def _value_of(self, tensor: str) -> Message:
        from onnx import helper

        values = (*self._inferred.value_info, *self._inferred.output)
        kinds = [v.type.tensor_type.elem_type for v in values if v.name == tensor]
        return helper.make_tensor_value_info(tensor, (kinds or [1])[0], None)

    def _tensor_inside(self, name: str | None) -> str:
        """The tensor of a name, or of a node's name; for None what the last dense layer takes.

        Raises:
            CheckpointError: There is none.
        """
        nodes = self.model.graph.node
        if name is not None:
            found = [node.output[0] for node in nodes if name in (node.name, *node.output)]
            if found:
                return str(name if name in self._producers else found[0])
            problem = f"{self.source} has no node or tensor {name!r}, which embedding names"
        else:
            node = self._last
            while node is not None and (node.op_type == "Add" or _is_head(node)):
                node = next((m for m in map(self._made, node.input) if m is not None), None)
            taken = node.input[0] if node is not None and node.op_type in _DENSE else None
            if taken in self._producers:
                return str(taken)
            problem = f"{self.source} does not end in a dense layer, so its embedding is not known"
        listed = tuple(dict.fromkeys(node.output[0] for node in reversed(nodes)))[1:7]
        raise CheckpointError(
            f'{problem}; declare --embedding "name of a node or tensor", such as '
            f"{', '.join(listed)}",
            {"embedding": listed},
        )


def _is_head(node: Message) -> bool:
    return node.op_type in ("Softmax", "LogSoftmax", "Sigmoid")


def _statistics(scale: Array, offset: Array) -> tuple[float, float]:
    """Mean and standard deviation that ``scale * pixels + offset`` maps to 0 and 1."""
    return float(np.mean(-offset / scale)), float(np.mean(1 / scale))


def _zeros(inputs: tuple[Port, ...], rows: int) -> list[Array]:
    return [np.zeros((rows, *(size or 1 for size in p.shape)), p.dtype) for p in inputs]


def _threads() -> int:
    """Threads of this process: those of its worker's cores, else all cores."""
    given = os.environ.get("TF_NUM_INTRAOP_THREADS", "0")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return int(given) if given.isdecimal() and int(given) else cores


def _session(model: Message, beside: Mapping[str, Array], source: str) -> Any:  # noqa: ANN401
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    if beside:
        kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        values = [
            ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, kinds[name])
            for name, array in beside.items()
        ]
        options.add_external_initializers(list(beside), values)
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class for each kind of failure
        if "allocate memory" in str(error) or "bad_alloc" in str(error):
            raise MemoryError(str(error)) from error
        said = str(error).partition("] : ")[2].partition(" : ")[2] or str(error)
        raise CheckpointError(
            f"{source} is no model that onnxruntime {ort.__version__} runs ({said[:300]}); export "
            "it again, for an opset that this release knows, or upgrade onnxruntime"
        ) from error
