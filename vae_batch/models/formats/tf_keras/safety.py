"""What a tf.keras configuration may name: tf_keras imports whatever module a file tells it to.

Keras 3 has closed that; tf_keras, kept for old files, has not (CVE-2025-1550 is of this kind), and
its safe mode looks at Python lambdas only. So every object of a configuration is checked against
lists of what is known to be harmless, before tf_keras sees it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Collection, Iterator
from typing import Any

from vae_batch.models.formats.tf_keras.allowed_functions import is_harmless
from vae_batch.plan.errors import CheckpointError

_ROOMS = ("layers", "models", "initializers", "regularizers", "constraints", "mixed_precision")
_TRAINING_ROOMS = ("optimizers", "optimizers.legacy", "losses", "metrics", "optimizers.schedules")
_FUNCTION_ROOMS = ("activations", "losses", "metrics")
_UNEXPORTED = frozenset({"Functional", "AddLoss", "AddMetric", "Policy", "LossScaleOptimizer"})
# They open the file that a setting names, run code that the file holds or refers to, or take
# attributes of Python objects by name.
_HARMFUL = frozenset(
    {"Lambda", "TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing"}
    | {"DenseFeatures", "SequenceFeatures", "ClassMethod", "InstanceMethod", "InstanceProperty"}
)
_VALUES = frozenset({"__tuple__", "__numpy__", "__tensor__", "__bytes__", "__ellipsis__"})
_VALUES |= frozenset({"TensorShape", "__keras_tensor__"})
_OWN_MODULE = re.compile(r"(tf_keras|keras)(\.\w+)*|builtins")
_META = frozenset({"get", "serialize", "deserialize"})


def require_harmless(config: Any, own: Collection[str], source: str) -> None:  # noqa: ANN401
    """Check that a configuration names nothing but tf_keras' own harmless objects.

    Args:
      config: Of the model, as JSON.
      own: Names that are taken from ``custom_objects`` and not from where the file says.
      source: The file, for messages.

    Raises:
      CheckpointError: It names something else; trust would be needed.
    """
    for node, layer in _objects(config, "model"):
        problem = _problem(node, own)
        if problem:
            raise CheckpointError(
                f"{source}: layer {layer!r} {problem}; it is refused from a file that is not "
                "trusted. If you trust this file, add --trust-checkpoints (trust = true in the "
                "TOML file)",
                {"trust": True},
            )


def _problem(node: dict[str, Any], own: Collection[str]) -> str | None:
    """Why an object needs trust; None where it needs none."""
    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if (node["class_name"] if registered is None else registered) in own:
        return None
    if name in _VALUES:
        return None
    if module is not None and not _OWN_MODULE.fullmatch(str(module)):
        return f"names {name!r} of the Python module {module!r}, which would be imported"
    if name == "function":
        function = node.get("config")
        if function in own:
            return None
        known = {None, function} >= {registered} and function in _functions()
        return None if known else f"names the function {function!r} of {module!r}"
    if name in ("TFOpLambda", "SlicingOpLambda"):
        function = (node.get("config") or {}).get("function")
        return None if is_harmless(function) else f"calls tf.{function}"
    if name in _HARMFUL:
        return f"is a {name}, which may open files or run code"
    if not _is_class(name) or not (registered is None or _is_class(registered)):
        return f"names the class {registered or name!r}, which is none of tf.keras' own"
    return None


def _objects(value: Any, layer: str) -> Iterator[tuple[dict[str, Any], str]]:  # noqa: ANN401
    """Serialised objects anywhere in a configuration, each with the layer it belongs to."""
    if isinstance(value, list):
        for inner in value:
            yield from _objects(inner, layer)
    elif isinstance(value, dict):
        config = value.get("config")
        if isinstance(config, dict) and isinstance(config.get("name"), str):
            layer = config["name"]
        if "class_name" in value:
            yield {**value, "class_name": str(value["class_name"])}, layer
        for inner in value.values():
            yield from _objects(inner, layer)


def _is_class(name: str) -> bool:
    """Older files carry a version in the names of some classes."""
    return name in _classes() or re.sub(r"V[12]$", "", name) in _classes()


@functools.cache
def _classes() -> frozenset[str]:
    found = {
        name
        for room in (*_ROOMS, *_TRAINING_ROOMS)
        for name, value in _members(room)
        if inspect.isclass(value)
    }
    return frozenset(found | _UNEXPORTED) - _HARMFUL


@functools.cache
def _functions() -> frozenset[str]:
    found = {
        name
        for room in _FUNCTION_ROOMS
        for name, value in _members(room)
        if inspect.isfunction(value)
    }
    return frozenset(found) - _META


def _members(room: str) -> Iterator[tuple[str, Any]]:
    import tf_keras

    place: Any = tf_keras
    for piece in room.split("."):
        place = getattr(place, piece)
    return iter(vars(place).items())
