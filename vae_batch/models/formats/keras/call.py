"""How a Keras 3 or tf_keras model is called: its arguments, as structures of values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.models.formats.keras import graph as keras_graph
from vae_batch.models.formats.keras.graph import Value, leaves, refilled
from vae_batch.plan.errors import CheckpointError


@dataclass(frozen=True)
class Call:
    """How a model is called.

    Attributes:
      args: Positional arguments: nested dictionaries and lists of values.
      kwargs: Keyword arguments, likewise.
      names: Of the inputs, in the order of their leaves.
    """

    args: list[Any]
    kwargs: dict[str, Any]
    names: tuple[str, ...]

    @property
    def values(self) -> list[Value]:
        """The inputs, flat."""
        return [value for _, value in leaves([self.args, self.kwargs])]


def call_of(model: Any, source: str) -> Call:  # noqa: ANN401
    """How a model is called.

    Raises:
      CheckpointError: It was never built, so that its inputs' shapes are not known.
    """
    if keras_graph.is_graph(model):
        return _graph_call(model)
    shapes = _build_shapes(model)
    if not shapes:
        raise CheckpointError(
            f"{source}: {type(model).__name__} {model.name!r} was never built, so its input "
            "shapes are not known; call it once on a batch before saving, or save its encoder and "
            "decoder as functional models"
        )
    args = [_specs(shape) for shape in shapes.pop("", [])]
    kwargs = {name: _specs(shape) for name, shape in shapes.items()}
    found = [name for name, _ in leaves([args, kwargs])]
    names = [name or ("input" if len(found) == 1 else f"input_{i}") for i, name in enumerate(found)]
    return Call(args, kwargs, tuple(names))


def _graph_call(model: Any) -> Call:  # noqa: ANN401
    structure = getattr(model, "_inputs_struct", None)  # Keras 3; a Sequential has none
    if structure is None:
        structure = getattr(model, "_nested_inputs", None)  # tf_keras
    if structure is None or not keras_graph.is_symbol(next(leaves(structure))[1]):
        structure = model.inputs
    if isinstance(structure, list | tuple) and len(structure) == 1:
        structure = structure[0]
    tensors = list(leaves(structure))
    names = tuple(key or tensor._keras_history[0].name for key, tensor in tensors)
    values = (Value(tuple(t.shape), keras_graph.dtype_name(t)) for _, t in tensors)
    return Call([refilled(structure, values)], {}, names)


def _build_shapes(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """Argument name to the shapes that a subclassed model was built for; "" for the first ones."""
    spec = getattr(model, "_saved_model_inputs_spec", None)  # tf_keras: dtypes too
    if spec is not None:
        return {"": [spec]}
    built_for = getattr(model, "_build_input_shape", None)
    if built_for is not None:
        return {"": [built_for]}
    by_name = dict(getattr(model, "_build_shapes_dict", None) or {})
    if len(by_name) == 1:
        return {"": list(by_name.values())}
    return {name.removesuffix("_shape"): shape for name, shape in by_name.items()}


def _specs(shapes: Any) -> Any:  # noqa: ANN401
    """Nested shapes or TensorSpecs as values."""
    if isinstance(shapes, Mapping):
        return {name: _specs(shape) for name, shape in shapes.items()}
    if hasattr(shapes, "dtype"):
        return Value(tuple(shapes.shape), shapes.dtype.name)
    sizes = list(shapes)
    if all(size is None or isinstance(size, int) for size in sizes):
        return Value((None, *sizes[1:]), "float32")
    return [_specs(shape) for shape in sizes]


def apply(model: Any, call: Call, tensors: Any) -> Any:  # noqa: ANN401
    """The model on flat tensors, in inference mode."""
    args, kwargs = refilled([call.args, call.kwargs], iter(tensors))
    if keras_graph.is_own_class(model) or "training" in inspect.signature(model.call).parameters:
        kwargs["training"] = False
    return model(*args, **kwargs)
