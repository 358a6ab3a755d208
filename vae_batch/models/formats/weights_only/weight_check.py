"""Checks that the weights of a file belong to a model: by shape, by name, and by value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_batch.models.formats.format import Array, Shape
from vae_batch.models.formats.keras.graph import Layer
from vae_batch.plan.errors import CheckpointError

Variable = Any  # of Keras 3 or tf_keras

# Counters of metrics and states of random generators have at most this many values. A file may hold
# them where the model that is built for scoring does not.
_BOOKKEEPING = 2


@dataclass(frozen=True)
class StoredWeight:
    """One weight of a file.

    Attributes:
        group: The HDF5 group that holds it.
        layer: Name of its layer, where the file says.
        name: Its path in the file.
        shape: Of its values.
        values: None where they have not been read.
    """

    group: str
    layer: str | None
    name: str
    shape: Shape
    values: Array | None = None


def assign_by_order(
    stored: Iterable[StoredWeight], parts: Sequence[tuple[str, Layer]], path: str, builder: str
) -> None:
    """Assign the n-th stored weight to the n-th weight of the model, part by part.

    Raises:
        CheckpointError: Counts, shapes or names show that the model is another one.
    """
    groups: dict[str, list[StoredWeight]] = {}
    for weight in stored:
        groups.setdefault(weight.group, []).append(weight)
    if len(groups) != len(parts):
        raise CheckpointError(
            f"{path} holds weights of {_listed(groups)}, but the model that builder {builder!r} "
            f"returns has them in {_listed([name for name, _ in parts])}; return the model whose "
            "save_weights wrote the file"
        )
    pairs = []
    for weights, (name, part) in zip(groups.values(), parts, strict=True):
        variables = [*part.trainable_weights, *part.non_trainable_weights]
        if len(weights) != len(variables):
            raise CheckpointError(
                f"{path} holds {len(weights)} weights for {weights[0].group!r}, but {name!r} of "
                f"builder {builder!r} has {len(variables)}; build it with the layers it was "
                "trained with"
            )
        pairs += list(zip(weights, variables, strict=True))
    _require_shapes(pairs, path, builder)
    _require_same_layers(
        ((weight.layer, _layer_of(variable)) for weight, variable in pairs), path, builder
    )
    for weight, variable in pairs:
        variable.assign(weight.values)


def require_assigned(
    stored: Sequence[StoredWeight],
    model: Layer,
    path: str,
    builder: str,
) -> None:
    """Check by value that a library loaded every weight of a file into the layer it belongs to.

    The libraries skip what they do not find, and match layers by their order.

    Raises:
        CheckpointError: A weight is in the model and not in the file, the other way round, or in
            another layer.
    """
    left = {weight.name: weight for weight in stored if math.prod(weight.shape) > _BOOKKEEPING}
    found: list[tuple[str | None, str]] = []
    for variable in model.weights:
        value = np.asarray(variable)
        equal = [weight for weight in stored if _same(weight.values, value)]
        if not equal:
            raise CheckpointError(
                f"{path} holds no values for weight {_path_of(variable)} {value.shape} of the "
                f"model that builder {builder!r} returns; return the model whose save_weights "
                "wrote the file"
            )
        for weight in equal:
            left.pop(weight.name, None)
        own = _layer_of(variable)
        best = next((w for w in equal if w.layer and _plain(w.layer) == _plain(own)), equal[0])
        found.append((best.layer, own))
    if left:
        first = next(iter(left.values()))
        raise CheckpointError(
            f"{path} holds {len(left)} weights, such as {first.name} {first.shape}, that have no "
            f"place in the model that builder {builder!r} returns; build it with the layers it "
            "was trained with"
        )
    _require_same_layers(found, path, builder)


def _path_of(variable: Variable) -> str:
    """``encoder/z_mean/kernel`` of a Keras 3 or tf_keras variable."""
    return str(getattr(variable, "path", None) or variable.name).removesuffix(":0")


def _layer_of(variable: Variable) -> str:
    """Name of the layer that holds a variable."""
    pieces = _path_of(variable).split("/")
    return pieces[-2] if len(pieces) > 1 else pieces[0]


def _require_shapes(pairs: list[tuple[StoredWeight, Variable]], path: str, builder: str) -> None:
    for weight, variable in pairs:
        if tuple(weight.shape) != tuple(variable.shape):
            raise CheckpointError(
                f"{path} does not fit the model that builder {builder!r} returns: weight "
                f"{weight.name.removesuffix(':0')} of the file has shape {tuple(weight.shape)}, "
                f"{_path_of(variable)} of the model {tuple(variable.shape)}; build it with the "
                "sizes it was trained with"
            )


def _require_same_layers(found: Iterable[tuple[str | None, str]], path: str, builder: str) -> None:
    """A layer may have another name in the file, but not that of another layer of the model."""
    pairs = [(_plain(stored), _plain(own)) for stored, own in found if stored is not None]
    names = {own for _, own in pairs}
    for stored, own in pairs:
        if stored != own and stored in names:
            raise CheckpointError(
                f"{path}: the weights of layer {stored!r} would go into layer {own!r} of the model "
                f"that builder {builder!r} returns, which has the same shapes; create its layers "
                "in the order in which the trained model created them"
            )


def _plain(name: str) -> str:
    """A layer's name without the number that Keras appends to tell its instances apart."""
    return re.sub(r"_\d+$", "", name)


def _same(stored: Array | None, value: Array) -> bool:
    if stored is None or stored.shape != value.shape:
        return False
    cast = stored if stored.dtype == value.dtype else stored.astype(value.dtype)
    return bool(np.array_equal(cast, value, equal_nan=value.dtype.kind == "f"))


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return f"{len(found)} layers ({', '.join(found[:6])}{', ...' if len(found) > 6 else ''})"
