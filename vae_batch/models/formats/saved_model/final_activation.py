"""The activation that a TensorFlow graph ends in, and the same graph without its sigmoid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_batch.models.formats.format import Array

# Operations that move values without changing them.
_SHAPE_ONLY = frozenset(
    {"Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StopGradient", "EnsureShape"}
    | {"PreventGradient", "StridedSlice", "Slice"}
)
_LINEAR = ("BiasAdd", "Add", "AddV2", "MatMul", "BatchMatMulV2", "Conv2D", "Conv2DBackpropInput")
_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softmax": "softmax",
} | dict.fromkeys(_LINEAR, "linear")

_STORED = frozenset(("Const", "Placeholder", "NoOp"))
_ROWS = 32  # of the smallest batch that is run


@dataclass(frozen=True)
class FrozenGraph:
    """A traced function with its variables as constants and its calls inlined.

    Attributes:
      function: The frozen function.
      last: Name of the last node that changes values.
      activation: What that node computes (``sigmoid``, ``tanh``, ``linear``); None where it is no
        plain activation.
    """

    function: Any
    last: str
    activation: str | None

    def largest(self) -> tuple[int, str]:
        """Bytes of the largest tensor made of one sample, and the node that makes it.

        A tensor without a batch axis is made once a batch and counts as a part of it.
        """
        found = (0, "")
        for operation in self.function.graph.get_operations():
            for tensor in operation.outputs if operation.type not in _STORED else ():
                sizes = tensor.shape.as_list() if tensor.shape.rank is not None else []
                count = math.prod(size for size in sizes if size is not None)
                once = 1 if sizes and sizes[0] is None else _ROWS
                found = max(found, (count * tensor.dtype.size // once, operation.name))
        return found

    def without_sigmoid(self) -> Callable[..., tuple[Array, ...]]:
        """Arrays to arrays through the same graph, in which the last node passes its input on."""
        import tensorflow as tf

        definition = self.function.graph.as_graph_def()
        for node in definition.node:
            if node.name == self.last:
                node.op = "Identity"  # has the sigmoid's one input and its type attribute
        inputs = [tensor.name for tensor in self.function.inputs]
        outputs = [tensor.name for tensor in self.function.outputs]
        imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        graph = imported.graph
        logits = imported.prune(
            [graph.get_tensor_by_name(name) for name in inputs],
            [graph.get_tensor_by_name(name) for name in outputs],
        )
        types = [tensor.dtype.as_numpy_dtype for tensor in self.function.inputs]

        def run(*arrays: Array) -> tuple[Array, ...]:
            tensors = [
                tf.constant(np.asarray(array, kind))
                for array, kind in zip(arrays, types, strict=True)
            ]
            return tuple(tensor.numpy() for tensor in logits(*tensors))

        return run


def freeze(concrete: Any) -> FrozenGraph | None:  # noqa: ANN401
    """A traced function's frozen graph; None where TensorFlow cannot freeze it.

    Takes the memory of the weights once more.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        frozen = convert_variables_to_constants_v2(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
    except Exception:  # tables, custom calls, graphs above 2 GiB: run as it is, tell nothing
        return None
    nodes = {node.name: node for node in frozen.graph.as_graph_def().node}
    name = frozen.outputs[0].name.split(":")[0]
    while nodes[name].op in _SHAPE_ONLY:
        name = nodes[name].input[0].split(":")[0].removeprefix("^")
    return FrozenGraph(frozen, name, _ACTIVATIONS.get(nodes[name].op))
