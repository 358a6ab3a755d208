"""Layers that sample z from (mean, log-variance): recognised by their use, replaced by the mean."""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

from vae_batch.models.formats.keras.config_nodes import (
    Json,
    Node,
    TensorRef,
    calls_of,
    layers_of,
    outputs_of,
)
from vae_batch.models.formats.keras.graph import leaves

# Down-, up- and oversampling resize; they sample nothing.
_DRAWS = re.compile(r"sampl|reparam", re.IGNORECASE)
_RESIZES = re.compile(r"(down|up|over|sub)[-_]?sampl", re.IGNORECASE)
_LATENT = re.compile(r"z|latents?|(z|latent)_(sample|draw|vector)|(sample|code)_z", re.IGNORECASE)
_MEAN = re.compile(r"mean|(^|_)mu(_|$|\d)|loc(_|$)", re.IGNORECASE)
_SPREAD = re.compile(r"var|std|sigma|scale|dev", re.IGNORECASE)
_HEADS = ("Dense", "Conv1D", "Conv2D", "Conv3D", "Flatten", "GlobalAveragePooling2D")

SHIM = "MeanOfPosterior"
REGISTERED_SHIM = f"vae_batch>{SHIM}"


def draws_from_posterior(node: Node) -> bool:
    """Whether a layer of a functional model takes the posterior's heads and returns z.

    Every call takes at least two tensors, the first two of one shape, and one output is used.
    Besides, one of these holds: its class or name says that it samples or is z; the first two
    tensors are named like a mean and a spread; both are outputs of the model too; or they are
    equal layers on one tensor, and the result is an output of the model.
    """
    if node.model is None:
        return False
    calls = calls_of(node.content)
    if not calls or not all(_takes_heads(call, node.model) for call in calls):
        return False
    if _uses_second_output(node):
        return False
    return named_as_draw(node.class_name, node.layer) or all(
        _are_heads(call, node) for call in calls
    )


def named_as_draw(*names: str) -> bool:
    """Whether one of a layer's names says that it samples or is z."""
    if any(_RESIZES.search(name) for name in names):
        return False
    return any(_DRAWS.search(name) or _LATENT.fullmatch(name) for name in names)


@functools.cache
def mean_of_posterior(library: str) -> type:
    """The layer class, of ``keras`` or ``tf_keras``, that returns its first input, the mean."""
    keras = importlib.import_module(library)

    class MeanOfPosterior(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """Replaces a sampling layer: returns its first input, the posterior's mean."""

        def __init__(self, **settings: Any) -> None:  # noqa: ANN401
            kept = {key: settings[key] for key in ("name", "dtype") if key in settings}
            super().__init__(**kept)

        def call(self, inputs: Any = None, *others: Any, **named: Any) -> Any:  # noqa: ANN401
            return next(leaf for _, leaf in leaves([inputs, *others, list(named.values())]))

    return MeanOfPosterior


@functools.cache
def lambda_or_mean(library: str, replaced: tuple[str, ...]) -> type:
    """A ``Lambda`` class that becomes the mean for layers of these names.

    For the old spelling without modules, in which a class can be replaced only by its name.
    """
    keras = importlib.import_module(library)

    class Lambda(keras.layers.Lambda):  # type: ignore[misc, name-defined]
        @classmethod
        def from_config(cls, config: Json, **scopes: Any) -> Any:  # noqa: ANN401
            if config.get("name") in replaced:
                return mean_of_posterior(library)(**config)
            return keras.layers.Lambda.from_config(config, **scopes)

    return Lambda


def replace_by_mean(node: Node) -> None:
    """Replace a layer in its configuration by the layer that returns the mean."""
    kept = {key: node.config[key] for key in ("name", "dtype") if key in node.config}
    node.content["class_name"] = SHIM
    node.content["config"] = kept
    if node.has_module:
        node.content.update({"module": None, "registered_name": REGISTERED_SHIM})


def _takes_heads(call: list[TensorRef], model: Json) -> bool:
    if len(call) < 2:
        return False
    first, second = call[:2]
    if first.shape is not None and second.shape is not None:
        return first.shape == second.shape
    layers = layers_of(model)
    sizes = [_size(layers.get(ref.layer, {})) for ref in (first, second)]
    return None in sizes or sizes[0] == sizes[1]


def _size(layer: Json) -> Any | None:  # noqa: ANN401
    """Channels that a layer's settings name."""
    config = layer.get("config") or {}
    return config.get("units", config.get("filters"))


def _uses_second_output(node: Node) -> bool:
    model = node.model or {}
    refs = [ref for layer in model["layers"] for call in calls_of(layer) for ref in call]
    return any(ref.layer == node.layer and ref.index > 0 for ref in refs + outputs_of(model))


def _are_heads(call: list[TensorRef], node: Node) -> bool:
    mean, spread = call[:2]
    if _MEAN.search(mean.layer) and _SPREAD.search(spread.layer):
        return True
    assert node.model is not None
    outputs = {(ref.layer, ref.index) for ref in outputs_of(node.model)}
    if {(mean.layer, mean.index), (spread.layer, spread.index)} <= outputs:
        return True
    layers = layers_of(node.model)
    twins = [layers.get(ref.layer, {}) for ref in (mean, spread)]
    parents = [[ref.layer for call in calls_of(twin) for ref in call] for twin in twins]
    same = parents[0] == parents[1] and twins[0].get("class_name") == twins[1].get("class_name")
    return same and twins[0].get("class_name") in _HEADS and (node.layer, 0) in outputs
