"""What follows from a model's graph: final activation, pixel range of its input, sizes."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator

import numpy as np

from vae_batch.models.formats.format import Array
from vae_batch.models.formats.keras.graph import (
    Graph,
    Layer,
    Step,
    Tensor,
    Value,
    is_graph,
    is_own_class,
    read_graph,
)

# Layers and operations through which every value passes unchanged in inference.
_KEEP_VALUES = frozenset(
    {"Reshape", "Flatten", "Permute", "Transpose", "Squeeze", "ExpandDims", "GetItem"}
    | {"Cropping1D", "Cropping2D", "Cropping3D", "SlicingOpLambda", "Identity", "Cast"}
    | {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"}
    | {"GaussianNoise", "GaussianDropout", "ActivityRegularization"}
)
_KEEPING_FUNCTIONS = frozenset({"reshape", "squeeze", "expand_dims", "transpose", "cast"})
_ACTIVATIONS = frozenset(
    {"sigmoid", "tanh", "softmax", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu"}
    | {"swish", "softplus", "softsign", "hard_sigmoid", "hard_tanh", "log_softmax", "log_sigmoid"}
)
_UNBOUNDED = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization"})
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D"})
_ATTENTION = frozenset(
    {"MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention"}
    | {"Attention", "AdditiveAttention"}
)
_RANGES = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
_TARGETS = ((0.0, 1.0), (-1.0, 1.0))


def final_activation(graph: Graph) -> str | None:
    """Name of the activation that computes the first output, before layers that change shape only.

    None where that layer is not the library's own, or has no known activation.
    """
    step = _last_change(graph.outputs[0])
    return None if step is None else _activation(step.operation)


def final_sigmoid(graph: Graph) -> Layer | None:
    """The layer or operation that ends the first output with a sigmoid and is called once."""
    step = _last_change(graph.outputs[0])
    if step is None or _activation(step.operation) != "sigmoid":
        return None
    calls = sum(other.operation is step.operation for other in graph.steps)
    return step.operation if calls == 1 else None


@contextlib.contextmanager
def without_sigmoid(operation: Layer | None) -> Iterator[None]:
    """Within the context, a layer from :func:`final_sigmoid` (if any) ends without its sigmoid."""
    if operation is None:
        yield
        return
    operation = _inner_layer(operation)
    name = "activation" if getattr(operation, "activation", None) is not None else "call"
    own = name in vars(operation)
    before = getattr(operation, name)
    setattr(operation, name, _unchanged)
    try:
        yield
    finally:
        if own:
            setattr(operation, name, before)
        else:
            delattr(operation, name)


def input_range(graph: Graph) -> str | None:
    """Pixel range that a Rescaling right behind an input maps to [0, 1] or [-1, 1]."""
    for step in graph.steps:
        operation = step.operation
        if type(operation).__name__ == "Rescaling" and _last_change(step.inputs[0]) is None:
            found = _range_before(np.asarray(operation.scale), np.asarray(operation.offset))
            if found is not None:
                return found
    return None


def name_of(value: Value) -> str:
    """Name of the layer that made a value; reshapes with a default name are skipped."""
    step = value.step
    while step is not None and _keeps_values(step.operation) and _has_default_name(step.operation):
        if step.inputs[0].step is None:
            break
        step = step.inputs[0].step
    return "input" if step is None else str(step.operation.name)


def largest_activation(graph: Graph) -> tuple[int, str]:
    """Bytes of the largest tensor per sample, and the layer that computes it.

    Tensors inside attention layers and TimeDistributed models count; scratch memory of kernels
    does not.
    """
    sizes = [(_activation_bytes(value), name_of(value)) for value in graph.values]
    sizes += [(_inner_bytes(step), str(step.operation.name)) for step in graph.steps]
    return max(sizes, key=lambda size: size[0])


def _activation_bytes(value: Value) -> int:
    """Bytes of a value per sample; free sizes count as 1."""
    width = 2 if value.dtype in ("bfloat16", "float16") else np.dtype(value.dtype).itemsize
    return width * _elements(value.shape[1:])


def _inner_bytes(step: Step) -> int:
    """Bytes of the largest tensor per sample that a layer computes and does not return."""
    operation = step.operation
    kind = type(operation).__name__
    if kind in _ATTENTION and is_own_class(operation):
        query, key = step.inputs[0].shape, step.inputs[min(1, len(step.inputs) - 1)].shape
        names = ("num_heads", "_num_heads", "num_query_heads")
        heads = next((vars(operation)[name] for name in names if name in vars(operation)), 1)
        return 4 * heads * _elements(query[1:-1]) * _elements(key[1:-1])
    if kind == "TimeDistributed" and is_graph(operation.layer):
        return (
            _elements(step.inputs[0].shape[1:2])
            * largest_activation(read_graph(operation.layer))[0]
        )
    return 0


def _elements(shape: tuple[int | None, ...]) -> int:
    return math.prod(size or 1 for size in shape)


def _snake_case(name: str) -> str:
    """``LeakyReLU`` to ``leaky_re_lu``, as Keras names its layers."""
    inner = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", inner).lower()


def _last_change(value: Value) -> Step | None:
    step = value.step
    while step is not None and _keeps_values(step.operation):
        step = step.inputs[0].step
    return step


def _keeps_values(operation: Layer) -> bool:
    if not is_own_class(operation):
        return False
    kind = type(operation).__name__
    if kind == "TFOpLambda":
        return _function_of(operation) in _KEEPING_FUNCTIONS
    if kind == "Activation":
        return _activation(operation) == "linear"
    return kind in _KEEP_VALUES


def _activation(operation: Layer) -> str | None:
    if not is_own_class(operation):
        return None
    operation = _inner_layer(operation)
    kind = type(operation).__name__
    function = getattr(operation, "activation", None)
    if kind in _RECURRENT:
        return None  # its output is gated: no activation bounds it
    if function is not None:
        return _name_of_function(function)
    if kind == "TFOpLambda":
        kind = _function_of(operation)
    if kind in _UNBOUNDED:
        return "linear"
    known = _snake_case(kind).replace("re_lu", "relu")
    return known if known in _ACTIVATIONS else None


def _name_of_function(function: Layer) -> str | None:
    """Name of a library's own activation; a user's is given with its module."""
    if not hasattr(function, "__name__"):
        return _activation(function)  # a layer given as the activation
    root = (getattr(function, "__module__", None) or "").split(".", 1)[0]
    own = root in ("keras", "tf_keras", "tensorflow")
    return function.__name__ if own else f"{function.__module__}.{function.__name__}"


def _inner_layer(operation: Layer) -> Layer:
    wraps = type(operation).__name__ == "TimeDistributed"
    return operation.layer if wraps else operation


def _function_of(operation: Layer) -> str:
    """``sigmoid`` of tf_keras' TFOpLambda of ``math.sigmoid``."""
    return str(operation.symbol).rsplit(".", 1)[-1]


def _has_default_name(operation: Layer) -> bool:
    kind = _snake_case(type(operation).__name__)
    return re.fullmatch(rf"(tf\..*|{kind}(_\d+)?)", operation.name) is not None


def _range_before(scale: Array, offset: Array) -> str | None:
    if scale.size != 1 or offset.size != 1:
        return None
    if scale == 1 and offset == 0:
        return None
    for name, ends in _RANGES.items():
        made = [float(scale) * end + float(offset) for end in ends]
        if any(np.allclose(made, target, atol=1e-3) for target in _TARGETS):
            return name
    return None


def _unchanged(inputs: Tensor, *_: object, **__: object) -> Tensor:
    return inputs
