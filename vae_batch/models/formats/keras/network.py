"""A Keras 3 or tf_keras model as a network: arrays in, arrays out, compiled, in inference mode."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vae_batch.models.formats.format import Array, Network, Networks, Port
from vae_batch.models.formats.keras import graph as keras_graph
from vae_batch.models.formats.keras import graph_facts
from vae_batch.models.formats.keras.graph import Graph, Layer, Tensor, Value, leaves, refilled
from vae_batch.models.formats.keras.halves import find_halves, with_heads
from vae_batch.plan.errors import CheckpointError

# A final sigmoid is absent only while a network without it is traced, one trace at a time.
_TRACING = threading.RLock()


@dataclass(frozen=True)
class LoadedModel:
    """A Keras 3 or tf_keras model from one file.

    Attributes:
        model: The model.
        source: The file.
        format: As the score table names it.
        replaced: Names of sampling layers that return their mean.
        whole: Whether it stays one network, without looking for halves in it.
    """

    model: Layer
    source: str
    format: str
    replaced: tuple[str, ...] = ()
    whole: bool = False


def as_networks(loaded: Mapping[str, LoadedModel]) -> Networks:
    """The networks of models by role: one ``model``, or ``encoder`` and ``decoder``."""
    if "model" in loaded:
        whole = loaded["model"]
        if whole.whole:
            network = network_of(whole.model, whole.source, whole.replaced)
            return Networks(whole.format, whole=network)
        return networks_of(whole.model, whole.source, whole.format, whole.replaced)
    halves = {role: half_of(m.model, role, m.source, m.replaced) for role, m in loaded.items()}
    formats = dict.fromkeys(half.format for half in loaded.values())
    return Networks("+".join(formats), halves.get("encoder"), halves.get("decoder"))


def networks_of(
    model: Layer, source: str, format_name: str, replaced: tuple[str, ...] = ()
) -> Networks:
    """The halves of a model, or the model as one network where no half is found."""
    halves = find_halves(model)
    if not halves:
        note = f"{source} has no layer or attribute named encoder or decoder"
        whole = network_of(with_heads(model), source, replaced)
        return Networks(format_name, whole=whole, notes=(note,))
    networks = {
        role: half_of(half.model, role, f"{source} ({role})", replaced)
        for role, half in halves.items()
    }
    notes = tuple(f"{role}: {half.place} of {source}" for role, half in halves.items())
    return Networks(format_name, networks.get("encoder"), networks.get("decoder"), notes=notes)


def half_of(model: Layer, role: str, source: str, replaced: tuple[str, ...] = ()) -> Network:
    """A half of a VAE as a network; of an encoder that returns z alone, with mean and spread."""
    return network_of(with_heads(model) if role == "encoder" else model, source, replaced)


def network_of(model: Layer, source: str, replaced: tuple[str, ...] = ()) -> Network:
    """A model, or a built layer of a user's class, as a network."""
    call = _call_of(model, source)
    graph, outputs = _read(model, call, source)
    network = Network(
        source=source,
        inputs=tuple(map(_port, call.names, call.values)),
        outputs=outputs,
        run=_compiled(model, call),
        replaced=replaced,
        weights=functools.partial(_weights, model),
    )
    network = replace(network, inner=functools.partial(_with_inner, network, model, call, graph))
    if graph is None:
        return network
    network = replace(
        network,
        activation=graph_facts.final_activation(graph),
        input_hint=graph_facts.input_range(graph),
        input_statistics=graph_facts.input_statistics(graph),
        gives_features=graph_facts.gives_features(graph),
        largest=graph_facts.largest_activation(graph),
        replaced=tuple(name for name in replaced if name in graph.layer_names),
    )
    sigmoid = graph_facts.final_sigmoid(graph)
    if sigmoid is None:
        return network

    def before() -> Network:
        return replace(network, activation="linear", run=_compiled(model, call, sigmoid))

    return replace(network, before_sigmoid=before)


def _with_inner(
    network: Network, model: Layer, call: _Call, graph: Graph | None, name: str | None
) -> Network:
    """See ``Network.inner``."""
    tap = graph_facts.find_tap(graph, model, name, network.source)
    outputs = (Port(tap.name, tap.shape), *network.outputs)
    return replace(network, outputs=outputs, run=_compiled(model, call, tap=tap), inner=None)


@dataclass(frozen=True)
class _Call:
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

    def apply(self, model: Layer, tensors: Iterable[Tensor]) -> Any:  # noqa: ANN401
        """The model's outputs for flat tensors, in inference mode."""
        args, kwargs = refilled([self.args, self.kwargs], iter(tensors))
        own = keras_graph.is_own_class(model)
        if own or "training" in inspect.signature(model.call).parameters:
            kwargs["training"] = False
        return model(*args, **kwargs)


def _call_of(model: Layer, source: str) -> _Call:
    if keras_graph.is_graph(model):
        return _graph_call(model)
    shapes = _build_shapes(model)
    if not shapes:
        raise CheckpointError(
            f"{source}: {type(model).__name__} {model.name!r} was never built, so its input "
            "shapes are unknown; call it once on a batch before saving, or save its encoder and "
            "decoder as functional models"
        )
    args = [_values(shape) for shape in shapes.pop("", [])]
    kwargs = {name: _values(shape) for name, shape in shapes.items()}
    found = [name for name, _ in leaves([args, kwargs])]
    names = [name or ("input" if len(found) == 1 else f"input_{i}") for i, name in enumerate(found)]
    return _Call(args, kwargs, tuple(names))


def _graph_call(model: Layer) -> _Call:
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
    return _Call([refilled(structure, values)], {}, names)


def _build_shapes(model: Layer) -> dict[str, Any]:
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


def _values(shapes: Any) -> Any:  # noqa: ANN401
    """Nested shapes or TensorSpecs as values."""
    if isinstance(shapes, Mapping):
        return {name: _values(shape) for name, shape in shapes.items()}
    if hasattr(shapes, "dtype"):
        return Value(tuple(shapes.shape), shapes.dtype.name)
    sizes = list(shapes)
    if all(size is None or isinstance(size, int) for size in sizes):
        return Value((None, *sizes[1:]), "float32")
    return [_values(shape) for shape in sizes]


def _read(model: Layer, call: _Call, source: str) -> tuple[Graph | None, tuple[Port, ...]]:
    """The graph, where there is one; and outputs named by key, layer or number."""
    if keras_graph.is_graph(model):
        structure = getattr(model, "_outputs_struct", getattr(model, "_nested_outputs", None))
        graph = keras_graph.read_graph(model)
        keys = [key for key, _ in leaves(model.outputs if structure is None else structure)]
        return graph, _named_ports(keys, graph.outputs)
    followed = keras_graph.follow_call(model, call.args, call.kwargs)
    if followed is not None:
        graph = keras_graph.read_graph(followed.model)
        return graph, _named_ports(followed.keys, graph.outputs)
    return None, _probed_ports(model, call, source)


def _port(name: str, value: Value) -> Port:
    return Port(name, tuple(value.shape[1:]), value.dtype)


def _named_ports(keys: Sequence[str | None], values: Sequence[Value]) -> tuple[Port, ...]:
    names = (key or graph_facts.name_of(value) for key, value in zip(keys, values, strict=True))
    return tuple(map(_port, names, values))


def _probed_ports(model: Layer, call: _Call, source: str) -> tuple[Port, ...]:
    """Outputs of a call that cannot be followed: those for one row of zeros."""
    import tensorflow as tf

    zeros = [tf.zeros([size or 1 for size in v.shape], v.dtype) for v in call.values]
    try:
        made = list(leaves(call.apply(model, zeros)))
        shapes = [Value((None, *t.shape[1:]), keras_graph.dtype_name(t)) for _, t in made]
    except Exception as error:  # a user's code may raise anything
        raise CheckpointError(
            f"{source}: {type(model).__name__} {model.name!r} cannot be run on one row of zeros: "
            f"{str(error)[:300]}"
        ) from error
    names = [key or f"output_{i}" for i, (key, _) in enumerate(made)]
    return tuple(map(_port, names, shapes))


def _compiled(
    model: Layer, call: _Call, sigmoid: Layer | None = None, tap: graph_facts.Tap | None = None
) -> Callable[..., tuple[Array, ...]]:
    """The model as a function of arrays; without a final sigmoid, or with a tensor inside it."""
    import tensorflow as tf

    dtypes = [value.dtype for value in call.values]

    @functools.partial(tf.function, autograph=False)
    def outputs(*tensors: Tensor) -> list[Tensor]:
        with _TRACING, graph_facts.without_sigmoid(sigmoid), graph_facts.tapped(tap) as inner:
            made = [tensor for _, tensor in leaves(call.apply(model, tensors))]
        return [*inner, *made]

    def run(*arrays: Array) -> tuple[Array, ...]:
        tensors = [tf.constant(a, d) for a, d in zip(arrays, dtypes, strict=True)]
        return tuple(_as_array(tensor) for tensor in outputs(*tensors))

    return run


def _as_array(tensor: Tensor) -> Array:
    array: Array = tensor.numpy()
    is_half = array.dtype.name in ("float16", "bfloat16")
    return array.astype(np.float32) if is_half else array


def _weights(model: Layer) -> Iterator[tuple[str, Array]]:
    for variable in model.weights:
        yield getattr(variable, "path", variable.name), variable.numpy()
