"""Encoder and decoder inside one Keras model: found by name, or cut apart where z is sampled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vae_batch.models.formats.keras import graph as keras_graph
from vae_batch.models.formats.keras.graph import Key, Layer, Node, Tensor
from vae_batch.models.formats.keras.sampling_layers import SHIM, named_as_draw

#: Names that layers or attributes of a half have.
HALF_NAMES = {
    "encoder": ("encoder", "inference_net", "inference_network", "recognition_model"),
    "decoder": ("decoder", "generative_net", "generative_network", "generator"),
}


@dataclass(frozen=True)
class Half:
    """A half of a model.

    Attributes:
        model: The half.
        place: Where it was found, in words.
    """

    model: Layer
    place: str


def find_halves(model: Layer) -> dict[str, Half]:
    """The halves of a model by role; empty where there are none.

    Halves are nested models, or layers of the user's own class, among the layers or attributes
    named encoder or decoder. A functional model that lacks one of them is cut where two tensors of
    one shape become z, if an output is computed from z; else before or after the one that it has.
    """
    named = {role: half for role in HALF_NAMES if (half := _named(model, role)) is not None}
    if len(named) == len(HALF_NAMES) or not keras_graph.is_graph(model):
        return named
    return _cut(model) or (_cut_beside(model, named) if named else {})


def with_heads(encoder: Layer) -> Layer:
    """An encoder that returns z alone, with mean and log-variance before it; else itself.

    They are what its sampling layer takes.
    """
    if not keras_graph.is_graph(encoder) or len(encoder.outputs) != 1:
        return encoder
    draws = [node for node in keras_graph.all_nodes(encoder) if _samples(node)]
    if len(draws) != 1:
        return encoder
    (z,) = keras_graph.node_outputs(draws[0])
    if keras_graph.key_of(z) != keras_graph.key_of(encoder.outputs[0]):
        return encoder
    heads = keras_graph.node_inputs(draws[0])[:2]
    return keras_graph.library_of(encoder).Model(encoder.inputs, [*heads, z])


def _named(model: Layer, role: str) -> Half | None:
    for name in HALF_NAMES[role]:
        pattern = re.compile(rf"(.*_)?{name}(_\d+)?$", re.IGNORECASE)
        layers = [layer for layer in getattr(model, "layers", []) if _is_composite(layer)]
        exact = [layer for layer in layers if layer.name.lower() == name]
        near = exact or [layer for layer in layers if pattern.match(layer.name)]
        if len(near) == 1:
            return Half(near[0], f"layer {near[0].name!r}")
        attribute = getattr(model, name, None)
        if attribute is not None and _is_composite(attribute):
            return Half(attribute, f"attribute {name!r}")
    return None


def _is_composite(layer: Layer) -> bool:
    """A nested model, or a layer that the user wrote; a Dense named ``encoder`` is no half."""
    try:
        library = keras_graph.library_of(layer)
    except TypeError:
        return False
    return isinstance(layer, library.Model) or not keras_graph.is_own_class(layer)


def _cut(model: Layer) -> dict[str, Half]:
    draws = [node for node in keras_graph.all_nodes(model) if _samples(node)]
    if len(draws) != 1:
        return {}
    (z,) = keras_graph.node_outputs(draws[0])
    heads = keras_graph.node_inputs(draws[0])[:2]
    z_key = keras_graph.key_of(z)
    made = [
        tensor
        for tensor in model.outputs
        if keras_graph.key_of(tensor) != z_key and z_key in map(keras_graph.key_of, _before(tensor))
    ]
    if not made:
        return {}
    ends = {keras_graph.key_of(tensor) for tensor in model.inputs} | {z_key}
    needed = {keras_graph.key_of(t) for tensor in made for t in _before(tensor, frozenset(ends))}
    labels = [tensor for tensor in model.inputs if keras_graph.key_of(tensor) in needed]
    layer = keras_graph.operation_of(draws[0]).name
    library = keras_graph.library_of(model)
    if len(labels) == len(model.inputs):
        return {}  # a path around z, such as a skip connection
    return {
        "encoder": Half(library.Model(model.inputs, heads), f"the inputs of layer {layer!r}"),
        "decoder": Half(library.Model([z, *labels], made), f"what follows layer {layer!r}"),
    }


def _cut_beside(model: Layer, named: dict[str, Half]) -> dict[str, Half]:
    """The half that is found by name, and what lies before or behind its one call."""
    ((role, half),) = named.items()
    calls = [n for n in keras_graph.all_nodes(model) if keras_graph.operation_of(n) is half.model]
    if len(calls) != 1:
        return named
    library, given = keras_graph.library_of(model), set(map(keras_graph.key_of, model.inputs))
    if role == "decoder":
        codes = [
            tensor
            for tensor in keras_graph.node_inputs(calls[0])
            if keras_graph.key_of(tensor) not in given
        ]
        if len(codes) != 1:
            return named
        before = Half(library.Model(model.inputs, codes[0]), f"what lies before {half.place}")
        return {"encoder": before, **named}
    made = {keras_graph.key_of(t): t for t in keras_graph.node_outputs(calls[0])}
    behind = [tensor for tensor in model.outputs if keras_graph.key_of(tensor) not in made]
    ends = frozenset(given | set(made))
    needed = {keras_graph.key_of(t) for tensor in behind for t in _before(tensor, ends)}
    codes = [tensor for key, tensor in made.items() if key in needed]
    labels = [tensor for tensor in model.inputs if keras_graph.key_of(tensor) in needed]
    if len(codes) != 1 or not behind or len(labels) == len(model.inputs):
        return named
    after = Half(library.Model([*codes, *labels], behind), f"what follows {half.place}")
    return {**named, "decoder": after}


def _samples(node: Node) -> bool:
    operation, inputs = keras_graph.operation_of(node), keras_graph.node_inputs(node)
    outputs = keras_graph.node_outputs(node)
    if len(inputs) < 2 or len(outputs) != 1:
        return False
    if tuple(inputs[0].shape) != tuple(inputs[1].shape):
        return False
    kind = type(operation).__name__
    return kind == SHIM or named_as_draw(kind, operation.name)


def _before(tensor: Tensor, ends: frozenset[Key] = frozenset()) -> Iterator[Tensor]:
    """A tensor and all those it is computed from, back to the given ends."""
    seen: set[Key] = set()
    todo = [tensor]
    while todo:
        current = todo.pop()
        key = keras_graph.key_of(current)
        if key not in seen:
            seen.add(key)
            yield current
            if key not in ends:
                todo += keras_graph.made_from(current)
