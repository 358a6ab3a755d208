"""Configurations of Keras models as JSON: their objects, and which tensors a layer is called on.

Both spellings are understood: that of Keras 3 and of tf.keras from 2.12 (objects with a
``module``), and the older one of HDF5 files (``class_name`` and ``config`` alone).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# Training's settings are not loaded, so their classes are not needed.
_NOT_LOADED = frozenset({"compile_config", "build_config"})


@dataclass(frozen=True)
class Node:
    """A serialised object.

    Attributes:
        content: Its JSON; what is changed in it is changed in the configuration.
        layer: Name of the layer it belongs to, or of itself.
        model: Configuration of the functional model whose layer it is, or None.
    """

    content: Json
    layer: str
    model: Json | None

    @property
    def class_name(self) -> str:
        """Without the package under which it was registered."""
        return str(self.content["class_name"]).rsplit(">", 1)[-1]

    @property
    def registered_name(self) -> str:
        """``package>Name``, or the bare name."""
        return str(self.content.get("registered_name") or self.content["class_name"])

    @property
    def root_module(self) -> str | None:
        """The package of its class; None where the file does not say."""
        module = self.content.get("module")
        return module.split(".", 1)[0] if isinstance(module, str) else None

    @property
    def has_module(self) -> bool:
        """Whether its spelling is the one with modules."""
        return "module" in self.content

    @property
    def config(self) -> Json:
        """Its settings; empty where they are not an object."""
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}


@dataclass(frozen=True)
class TensorRef:
    """An output of a layer, as a configuration names it; ``shape`` where it is stored."""

    layer: str
    index: int
    shape: tuple[int | None, ...] | None = None


def nodes(value: Any, layer: str = "", model: Json | None = None) -> Iterator[Node]:  # noqa: ANN401
    """Serialised objects of a configuration; an outer one comes before those in it."""
    if isinstance(value, list):
        for inner in value:
            yield from nodes(inner, layer, model)
    elif isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            node = Node(value, _name_of(value) or layer, model)
            yield node
            layer, model = node.layer, None
        if isinstance(value.get("layers"), list):
            model = value
        for key, inner in list(value.items()):
            if key not in _NOT_LOADED:
                yield from nodes(inner, layer, model if key == "layers" else None)


def layers_of(model: Json) -> dict[str, Json]:
    """Name to the JSON of each layer of a functional model."""
    return {_name_of(layer): layer for layer in model["layers"] if isinstance(layer, dict)}


def calls_of(layer: Json) -> list[list[TensorRef]]:
    """The tensors of each call of a layer."""
    inbound = layer.get("inbound_nodes")
    return [list(_refs(call)) for call in inbound] if isinstance(inbound, list) else []


def outputs_of(model: Json) -> list[TensorRef]:
    """The outputs of a functional model."""
    return list(_refs(model.get("output_layers")))


def _refs(value: Any) -> Iterator[TensorRef]:  # noqa: ANN401
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield from _tensor(value.get("config"))
        else:
            for inner in value.values():
                yield from _refs(inner)
    elif isinstance(value, list):
        if len(value) in (3, 4) and isinstance(value[0], str) and isinstance(value[2], int):
            yield TensorRef(value[0], value[2])
            value = value[3:]
        for inner in value:
            yield from _refs(inner)


def _tensor(config: Any) -> Iterator[TensorRef]:  # noqa: ANN401
    history, shape = config.get("keras_history"), config.get("shape")
    if isinstance(history, list) and len(history) == 3:
        yield TensorRef(str(history[0]), history[2], tuple(shape) if shape is not None else None)


def _name_of(value: Json) -> str:
    config = value.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return str(value.get("name") or inner or "")
