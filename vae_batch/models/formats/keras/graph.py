"""A Keras 3 or tf_keras model as a flat graph of steps, read without running it.

Nested models are inlined, and the ``call`` of a user's own class is traced symbolically where that
works.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Layer = Any  # a layer, operation or model of either library
Tensor = Any  # a symbolic or real tensor of either library
Node = Any  # one call of a layer, in the library's own graph
Key = tuple[int, int, int]

_log = logging.getLogger(__name__)

_OWN_MODULES = ("keras", "tf_keras", "tensorflow")


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph: output ``index`` of ``step``; an input of the model has no step."""

    shape: tuple[int | None, ...]
    dtype: str
    step: Step | None = None
    index: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer or operation that is no nested model."""

    operation: Layer
    inputs: tuple[Value, ...]


@dataclass(frozen=True)
class Graph:
    """All steps of a model, in the order of execution."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    values: tuple[Value, ...]

    @property
    def layer_names(self) -> set[str]:
        """Names of its layers and operations."""
        return {step.operation.name for step in self.steps}


def library_of(layer: object) -> Any:  # noqa: ANN401  a module
    """The module ``keras`` or ``tf_keras`` that a layer or model belongs to.

    Raises:
        TypeError: It belongs to neither.
    """
    for parent in type(layer).__mro__:
        root = parent.__module__.split(".", 1)[0]
        if root in ("keras", "tf_keras"):
            return importlib.import_module(root)
    raise TypeError(f"expected a Keras layer or model, found a {type(layer).__name__}")


def is_own_class(operation: Layer) -> bool:
    """Whether the library wrote its ``call``, so that its attributes are what they seem."""
    written_by = getattr(type(operation).call, "__module__", None) or ""
    return written_by.split(".", 1)[0] in _OWN_MODULES


def is_graph(layer: Layer) -> bool:
    """Whether it is a functional or built sequential model that runs its own graph."""
    return is_own_class(layer) and bool(getattr(layer, "outputs", None)) and _nodes(layer) != {}


def leaves(structure: Any, name: str | None = None) -> Iterator[tuple[str | None, Any]]:  # noqa: ANN401
    """Leaves of nested dictionaries, lists and tuples, each with its nearest key; None is omitted.

    Dictionaries are read in the order of their keys, so that equal structures agree.
    """
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from leaves(structure[key], str(key))
    elif isinstance(structure, list | tuple):
        for inner in structure:
            yield from leaves(inner, name)
    elif structure is not None:
        yield name, structure


def refilled(structure: Any, replacements: Iterator[Any]) -> Any:  # noqa: ANN401
    """The same structure with its leaves replaced, in the order of :func:`leaves`."""
    if isinstance(structure, Mapping):
        filled = {key: refilled(structure[key], replacements) for key in sorted(structure)}
        return {key: filled[key] for key in structure}
    if isinstance(structure, list | tuple):
        inner = [refilled(part, replacements) for part in structure]
        return inner if isinstance(structure, list) else tuple(inner)
    return None if structure is None else next(replacements)


def read_graph(model: Layer) -> Graph:
    """The flat graph of a model for which :func:`is_graph` holds."""
    return _Reader().read(model)


@dataclass(frozen=True)
class Followed:
    """What a user's ``call`` does, as a functional model, and the keys of its outputs."""

    model: Layer
    keys: tuple[str | None, ...]


def follow_call(layer: Layer, args: Any, kwargs: Mapping[str, Any]) -> Followed | None:  # noqa: ANN401
    """A functional model of what a user's ``call`` does, or None where tracing it fails."""
    library = library_of(layer)
    arguments = [list(args), dict(kwargs)]
    try:
        symbols = [
            library.Input(batch_shape=leaf.shape, dtype=dtype_name(leaf))
            if is_symbol(leaf)
            else leaf
            for _, leaf in leaves(arguments)
        ]
        args, kwargs = refilled(arguments, iter(symbols))
        keys, outputs = zip(*leaves(layer.call(*args, **kwargs)), strict=True)
        inputs = [symbol for symbol in symbols if is_symbol(symbol)]
        return Followed(library.Model(inputs, list(outputs)), keys)
    except Exception:  # a user's code may raise anything on symbols; then it stays one step
        _log.debug("cannot trace %s symbolically", type(layer).__name__, exc_info=True)
        return None


def is_symbol(leaf: Any) -> bool:  # noqa: ANN401
    """Whether an argument stands for a tensor of the graph rather than for a constant."""
    return isinstance(leaf, Value) or hasattr(leaf, "_keras_history")


def dtype_name(tensor: Tensor) -> str:
    """Such as ``float32``, of a tensor of either library."""
    return str(getattr(tensor.dtype, "name", tensor.dtype))


class _Reader:
    """Collects the steps of a model and of the models nested in it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.values: list[Value] = []

    def read(self, model: Layer) -> Graph:
        inputs = [self._value(tensor) for tensor in model.inputs]
        outputs = self._inline(model, inputs)
        return Graph(tuple(inputs), tuple(outputs), tuple(self.steps), tuple(self.values))

    def _inline(self, model: Layer, arguments: Sequence[Value]) -> list[Value]:
        known = {key_of(t): value for t, value in zip(model.inputs, arguments, strict=True)}
        for node in all_nodes(model):
            if node_inputs(node):
                tensors = node_outputs(node)
                made = self._call(node, known, tensors)
                known |= {key_of(t): v for t, v in zip(tensors, made, strict=True)}
        return [known[key_of(tensor)] for tensor in _function(model).outputs]

    def _call(
        self,
        node: Node,
        known: Mapping[Key, Value],
        tensors: list[Any],
    ) -> list[Value]:
        operation = operation_of(node)
        inputs = [known[key_of(tensor)] for tensor in node_inputs(node)]
        if is_graph(operation):
            return self._inline(operation, inputs)
        if not is_own_class(operation) and not _merges(inputs, tensors):
            args, kwargs = _node_arguments(node)
            followed = follow_call(operation, args, kwargs)
            if followed is not None and len(followed.keys) == len(tensors):
                symbols = (leaf for _, leaf in leaves([args, dict(kwargs)]) if is_symbol(leaf))
                return self._inline(followed.model, [known[key_of(symbol)] for symbol in symbols])
        step = Step(operation, tuple(inputs))
        self.steps.append(step)
        return [self._value(tensor, step, i) for i, tensor in enumerate(tensors)]

    def _value(self, tensor: Tensor, step: Step | None = None, index: int = 0) -> Value:
        value = Value(tuple(tensor.shape), dtype_name(tensor), step, index)
        self.values.append(value)
        return value


def _function(model: Layer) -> Layer:
    """The functional model inside a Keras 3 Sequential; any other model itself."""
    return getattr(model, "_functional", None) or model


def _nodes(model: Layer) -> Mapping[int, list[Any]]:
    return getattr(_function(model), "_nodes_by_depth", None) or {}


def all_nodes(model: Layer) -> list[Any]:
    """The calls of layers in a model itself, nested models being one call."""
    return [node for _, nodes in sorted(_nodes(model).items(), reverse=True) for node in nodes]


def made_from(tensor: Tensor) -> list[Any]:
    """The tensors of the call that made a tensor; none for an input."""
    operation, node_index, _ = tensor._keras_history
    return node_inputs(operation._inbound_nodes[node_index])


def operation_of(node: Node) -> Layer:
    """The layer or operation that a call is of."""
    return node.operation if hasattr(node, "operation") else node.layer


def node_inputs(node: Node) -> list[Any]:
    """The tensors that a call takes."""
    return list(node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors)


def node_outputs(node: Node) -> list[Any]:
    """The tensors that a call makes."""
    made = node.output_tensors if hasattr(node, "output_tensors") else node.outputs
    return [tensor for _, tensor in leaves(made)]


def _node_arguments(node: Node) -> tuple[Any, Mapping[str, Any]]:
    if hasattr(node, "arguments"):
        return list(node.arguments.args), node.arguments.kwargs
    return list(node.call_args), node.call_kwargs


def _merges(inputs: Sequence[Value], tensors: Sequence[Any]) -> bool:
    """Whether a layer makes one tensor of two of its shape, as a sampling layer does."""
    shapes = {value.shape for value in inputs} | {tuple(tensor.shape) for tensor in tensors}
    return len(inputs) == 2 and len(tensors) == 1 and len(shapes) == 1


def key_of(tensor: Tensor) -> Key:
    """What a tensor is known by: its layer, the layer's call, and its place among the outputs."""
    operation, node_index, tensor_index = tensor._keras_history
    return id(operation), node_index, tensor_index
