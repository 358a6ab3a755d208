"""What follows from a model's graph: final activation, pixel range of its input, sizes."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vae_batch.models.formats.format import PortShape
from vae_batch.models.formats.keras.graph import (
    Graph,
    Layer,
    Step,
    Tensor,
    Value,
    is_graph,
    is_own_class,
    leaves,
    read_graph,
)
from vae_batch.models.image_range import range_before
from vae_batch.plan.errors import CheckpointError

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
_NORMALISED = _UNBOUNDED | {"UnitNormalization"}
_POOLS = re.compile(r"(Global)?(Average|Max)Pooling[123]D")
_MERGES = frozenset({"Concatenate", "Add", "Average", "Maximum", "Multiply"})
# A head of class scores, or an embedding: the last activation alone does not say which.
_SCORES = (None, "linear", "softmax", "log_softmax", "sigmoid", "hard_sigmoid", "log_sigmoid")
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D"})
_ATTENTION = frozenset(
    {"MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention"}
    | {"Attention", "AdditiveAttention"}
)


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


@dataclass(frozen=True)
class Tap:
    """A tensor inside a network.

    Attributes:
        operation: The layer that takes or returns it.
        side: Which of the two.
        name: In words.
        shape: Without the batch axis.
    """

    operation: Layer
    side: Literal["input", "output"]
    name: str
    shape: PortShape


def find_tap(graph: Graph | None, model: Layer, name: str | None, source: str) -> Tap:
    """The output of the layer of that name, or for None the input of the last dense layer.

    Raises:
        CheckpointError: There is no such layer, or more than one.
    """
    if name is None:
        step = None if graph is None else _last_weights(graph.outputs[0])
        flat = step is not None and len(step.inputs[0].shape) == 2
        if step is None or type(step.operation).__name__ != "Dense" or not flat:
            raise CheckpointError(
                f"{source} does not end in a dense layer over flat features, so its embedding is "
                'not known; declare it: --embedding "layer name", such as '
                f"{_some_layers(graph, model)}",
                {"embedding": _layer_choices(graph, model)},
            )
        found = name_of(step.inputs[0])
        return Tap(step.operation, "input", found, tuple(step.inputs[0].shape[1:]))
    layers = {id(layer): layer for layer in _layers(graph, model) if layer.name == name}
    if len(layers) != 1:
        many = f"{len(layers)} layers" if layers else "no layer"
        raise CheckpointError(
            f"{source} has {many} named {name!r}, which embedding names; it has "
            f"{_some_layers(graph, model)}",
            {"embedding": _layer_choices(graph, model)},
        )
    (layer,) = layers.values()
    made = [v for v in graph.values if v.step and v.step.operation is layer] if graph else []
    shape = made[0].shape if made else getattr(getattr(layer, "output", None), "shape", ())
    return Tap(layer, "output", name, tuple(shape[1:]))


@contextlib.contextmanager
def tapped(tap: Tap | None) -> Iterator[list[Tensor]]:
    """Within the context, calls of a layer (if any) put the tapped tensor into the list."""
    found: list[Tensor] = []
    if tap is None:
        yield found
        return
    operation, call = tap.operation, tap.operation.call
    own = "call" in vars(operation)

    def recording(*args: Tensor, **kwargs: Tensor) -> Tensor:
        made = call(*args, **kwargs)
        found.append(next(leaf for _, leaf in leaves(made if tap.side == "output" else args)))
        return made

    operation.call = recording
    try:
        yield found
    finally:
        if own:
            operation.call = call
        else:
            del operation.call
    if len(found) != 1:
        raise CheckpointError(
            f"layer {operation.name!r}, the embedding, is called {len(found)} times; declare a "
            "layer that is called once with --embedding"
        )


def gives_features(graph: Graph) -> bool:
    """Whether the first output ends in a nonlinearity or a normalisation, so is no class score."""
    return _is_features(graph.outputs[0])


def _is_features(value: Value) -> bool:
    step = _last_change(value)
    while step is not None and _POOLS.fullmatch(type(step.operation).__name__):
        step = _last_change(step.inputs[0])
    if step is None:
        return False
    kind = type(step.operation).__name__
    if kind in _MERGES and is_own_class(step.operation):
        return all(_is_features(value) for value in step.inputs)
    normalised = kind in _NORMALISED and is_own_class(step.operation)
    return normalised or _activation(step.operation) not in _SCORES


def _last_weights(value: Value) -> Step | None:
    """The last layer with weights, before activations that are layers of their own."""
    step = _last_change(value)
    while step is not None and not getattr(step.operation, "weights", None):
        if _activation(step.operation) is None:
            return None
        step = _last_change(step.inputs[0])
    return step


def _layers(graph: Graph | None, model: Layer) -> list[Layer]:
    own = list(getattr(model, "_flatten_layers", lambda **_: [])(include_self=False))
    return own + [step.operation for step in graph.steps] if graph else own


def _layer_choices(graph: Graph | None, model: Layer) -> tuple[str, ...]:
    """Names of layers that return flat features or feature maps, the last first."""
    made = graph.values if graph else ()
    names = [v.step.operation.name for v in made if v.step and len(v.shape) in (2, 4)]
    names = names or [layer.name for layer in _layers(graph, model)]
    last = set(map(name_of, graph.outputs)) if graph else set()
    return tuple(name for name in dict.fromkeys(reversed(names)) if name not in last)[:6]


def _some_layers(graph: Graph | None, model: Layer) -> str:
    return ", ".join(_layer_choices(graph, model)) or "no layers"


def input_statistics(graph: Graph) -> tuple[float, float] | None:
    """Mean and standard deviation, over all channels, that a first layer maps to 0 and 1."""
    for step in graph.steps:
        operation, kind = step.operation, type(step.operation).__name__
        if kind not in ("Normalization", "Rescaling") or _last_change(step.inputs[0]) is not None:
            continue
        if kind == "Rescaling":
            scale, offset = np.asarray(operation.scale), np.asarray(operation.offset)
            if np.all(scale == 1) and np.all(offset == 0):
                continue
            return float(np.mean(-offset / scale)), float(np.mean(1 / scale))
        if getattr(operation, "invert", False) or operation.mean is None:
            continue
        return float(np.mean(operation.mean)), float(np.sqrt(np.mean(operation.variance)))
    return None


def input_range(graph: Graph) -> str | None:
    """Pixel range that a Rescaling right behind an input maps to [0, 1] or [-1, 1]."""
    for step in graph.steps:
        operation = step.operation
        if type(operation).__name__ == "Rescaling" and _last_change(step.inputs[0]) is None:
            found = range_before(np.asarray(operation.scale), np.asarray(operation.offset))
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


def _unchanged(inputs: Tensor, *_: object, **__: object) -> Tensor:
    return inputs
