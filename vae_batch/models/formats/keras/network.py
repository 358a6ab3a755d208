"""A Keras 3 or tf_keras model as a network: arrays in, arrays out, compiled, in inference mode."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vae_batch.models.formats import graph_reading
from vae_batch.models.formats.format import Array, Network, Networks, Port
from vae_batch.models.formats.graph_reading import without_sigmoid
from vae_batch.models.formats.keras import graph as keras_graph
from vae_batch.models.formats.keras.call import Call, apply, call_of
from vae_batch.models.formats.keras.graph import Graph, Value, leaves
from vae_batch.models.formats.keras.halves import find_halves
from vae_batch.plan.errors import CheckpointError

# A final sigmoid is away only while a network without it is traced, and one at a time.
_TRACING = threading.RLock()


def networks_of(
    model: Any,  # noqa: ANN401
    source: str,
    format_name: str,
    replaced: tuple[str, ...] = (),
) -> Networks:
    """The halves of a model, or the model as one network where no half is found.

    Args:
      model: Keras 3 or tf_keras.
      source: The file it came from.
      format_name: As the score table names it.
      replaced: Names of sampling layers that return their mean.

    Raises:
      CheckpointError: A half, or the model, was never built.
    """
    halves = find_halves(model)
    if not halves:
        whole = network_of(model, source, replaced)
        note = f"{source} has no layer or attribute named encoder or decoder"
        return Networks(format_name, whole=whole, notes=(note,))
    networks = {
        role: network_of(half.model, f"{source} ({role})", replaced)
        for role, half in halves.items()
    }
    notes = tuple(f"{role}: {half.place} of {source}" for role, half in halves.items())
    return Networks(format_name, **networks, notes=notes)


def network_of(
    model: Any,  # noqa: ANN401
    source: str,
    replaced: tuple[str, ...] = (),
) -> Network:
    """A model, or a built layer of a user's class, as a network.

    Args:
      model: Keras 3 or tf_keras; functional, sequential, or subclassed and built.
      source: The file it came from, for messages.
      replaced: Names of sampling layers that return their mean.

    Raises:
      CheckpointError: The model was never built, so that its inputs' shapes are not known.
    """
    call = call_of(model, source)
    graph, outputs = _read(model, call, source)
    network = Network(
        source=source,
        inputs=tuple(map(_port, call.names, call.values)),
        outputs=outputs,
        run=_compiled(model, call),
        replaced=replaced,
        weights=functools.partial(_weights, model),
    )
    if graph is None:
        return network
    network = replace(
        network,
        activation=graph_reading.final_activation(graph),
        input_hint=graph_reading.input_range(graph),
        largest=graph_reading.largest_activation(graph),
        replaced=tuple(name for name in replaced if name in graph.layer_names),
    )
    sigmoid = graph_reading.final_sigmoid(graph)
    if sigmoid is None:
        return network

    def before() -> Network:
        return replace(network, activation="linear", run=_compiled(model, call, sigmoid))

    return replace(network, before_sigmoid=before)


def _read(
    model: Any,  # noqa: ANN401
    call: Call,
    source: str,
) -> tuple[Graph | None, tuple[Port, ...]]:
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
    names = (key or graph_reading.name_of(value) for key, value in zip(keys, values, strict=True))
    return tuple(map(_port, names, values))


def _probed_ports(model: Any, call: Call, source: str) -> tuple[Port, ...]:  # noqa: ANN401
    """Outputs of a call that cannot be followed: of one row of zeros."""
    import tensorflow as tf

    zeros = [tf.zeros([size or 1 for size in v.shape], v.dtype) for v in call.values]
    try:
        made = list(leaves(apply(model, call, zeros)))
        shapes = [Value((None, *t.shape[1:]), keras_graph.dtype_name(t)) for _, t in made]
    except Exception as error:  # whatever a user's code raises, its checkpoint fails
        raise CheckpointError(
            f"{source}: {type(model).__name__} {model.name!r} cannot be run on one row of zeros: "
            f"{str(error)[:300]}"
        ) from error
    names = [key or f"output_{i}" for i, (key, _) in enumerate(made)]
    return tuple(map(_port, names, shapes))


def _compiled(
    model: Any,  # noqa: ANN401
    call: Call,
    sigmoid: Any | None = None,  # noqa: ANN401
) -> Callable[..., tuple[Array, ...]]:
    """The model as a function of arrays; without the given final sigmoid, if any."""
    import tensorflow as tf

    dtypes = [value.dtype for value in call.values]

    @functools.partial(tf.function, autograph=False)
    def outputs(*tensors: Any) -> list[Any]:  # noqa: ANN401
        away = contextlib.nullcontext() if sigmoid is None else without_sigmoid(sigmoid)
        with _TRACING, away:
            return [tensor for _, tensor in leaves(apply(model, call, tensors))]

    def run(*arrays: Array) -> tuple[Array, ...]:
        tensors = [tf.constant(a, d) for a, d in zip(arrays, dtypes, strict=True)]
        return tuple(_as_array(tensor) for tensor in outputs(*tensors))

    return run


def _as_array(tensor: Any) -> Array:  # noqa: ANN401
    array = tensor.numpy()
    is_half = array.dtype.name in ("float16", "bfloat16")
    return array.astype(np.float32) if is_half else array


def _weights(model: Any) -> Iterator[tuple[str, Array]]:  # noqa: ANN401
    for variable in model.weights:
        yield getattr(variable, "path", variable.name), variable.numpy()
