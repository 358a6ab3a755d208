"""Keras' HDF5 weight files, loaded into a model with a check that each weight is in its place.

There are two layouts. Keras 3 and tf.keras from 2.12 write ``.weights.h5``: groups follow the
model's attributes and each layer's weights are numbered in a group ``vars``. Older versions, and
``save_weights("x.h5")`` of tf.keras, write one group per layer, listed in ``layer_names``.
"""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_batch.models.formats import limits
from vae_batch.models.formats.format import Array, Shape
from vae_batch.models.formats.keras.graph import Layer
from vae_batch.models.formats.keras.hdf5_file import (
    H5,
    copy_with_slashes,
    datasets,
    has_backslashes,
    name_attribute,
    open_hdf5,
    text_attribute,
    under_suffix,
)
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


_SUFFIX = ".weights.h5"
_IN_ZIP = "model.weights.h5"
_OF_MODEL = "model_weights"  # group of a whole model's HDF5 file
_KERAS_SHAPES = re.compile(
    r"variable\.shape=(?P<model>\([^)]*\)), Received: value\.shape=(?P<file>\([^)]*\))\. "
    r"Target variable: <Variable path=(?P<name>[^,]+),"
)
_TF_KERAS_SHAPES = re.compile(
    r"variable '\s*(?P<name>[^']+)': Shape mismatch\.\s*The variable shape (?P<model>\([^)]*\)), "
    r"and the assigned value shape (?P<file>\([^)]*\))"
)


@contextlib.contextmanager
def weights_of_model(path: str, cap: int) -> Iterator[str]:
    """The weights of a whole model's file as a weight file; a weight file itself.

    Args:
        path: The file.
        cap: Bytes that a zip archive may unpack to.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        part = str(Path(folder) / f"weights{_SUFFIX}")
        if zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    limits.check_zip(path, cap, path)
                    part = archive.extract(_IN_ZIP, folder)
            except (KeyError, OSError, zipfile.BadZipFile) as error:
                raise CheckpointError(
                    f"{path} holds no readable {_IN_ZIP} ({error}); save the model again"
                ) from error
            yield part
            return
        with open_hdf5(path) as file:
            is_model = _OF_MODEL in file
        if is_model:
            copy_with_slashes(path, part, _OF_MODEL)
        yield part if is_model else path


def holds_weights(file: H5) -> bool:
    """Whether an open HDF5 file has one of the two layouts."""
    return _is_legacy(file) or any(_is_numbered(name) for name, _ in datasets(file))


def layer_names(file: H5) -> list[str]:
    """Names, or else groups, of the layers with weights."""
    names = (weight.layer or weight.group for weight in _stored(file))
    return list(dict.fromkeys(names))


def assign(path: str, target: Layer | Mapping[str, Layer], builder: str) -> None:
    """Load a file's weights into a built model.

    Raises:
        CheckpointError: Shapes differ, a weight of the model is not in the file, a weight of the
            file has no place in the model, or one went into another layer of the same shape.
    """
    with open_hdf5(path) as file:
        if _is_legacy(file):
            assign_by_order(_stored_legacy(file), _parts(target), path, builder)
            return
        slashes = not has_backslashes(file)
    if not slashes:  # written on Windows
        with tempfile.TemporaryDirectory() as folder:
            part = str(Path(folder) / f"slashed{_SUFFIX}")
            copy_with_slashes(path, part)
            _assign_numbered(part, path, target, builder)
    else:
        _assign_numbered(path, path, target, builder)


def _assign_numbered(
    file: str, path: str, target: Layer | Mapping[str, Layer], builder: str
) -> None:
    """Load a file of the numbered layout, which messages call ``path``."""
    with open_hdf5(file) as opened:
        sections = _sections(opened, path) if isinstance(target, Mapping) else {}
    if not isinstance(target, Mapping):
        _load(file, path, target, builder, list(_stored_of(file)))
        return
    for role, model in target.items():
        with _section(file, sections[role]) as part:
            _load(part, path, model, builder, list(_stored_of(part)))


def _load(file: str, path: str, model: Layer, builder: str, stored: list[StoredWeight]) -> None:
    """Let the model's own library load the numbered layout, then check the result."""
    try:
        with under_suffix(file, _SUFFIX) as readable, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it skips; checked below
            model.load_weights(readable)
    except Exception as error:  # both libraries raise many types
        raise CheckpointError(
            f"{path} does not fit the model that builder {builder!r} returns: "
            f"{_why_unfit(str(error))}"
        ) from error
    require_assigned(stored, model, path, builder)


def _why_unfit(message: str) -> str:
    match = _KERAS_SHAPES.search(message) or _TF_KERAS_SHAPES.search(message)
    if match is None:
        return " ".join(message.split())[:300]
    return (
        f"weight {match['name'].removesuffix(':0')} has shape {match['file']} in the file and "
        f"{match['model']} in the model; build it with the sizes it was trained with"
    )


def _parts(target: Layer | Mapping[str, Layer]) -> list[tuple[str, Layer]]:
    """Layers with weights, by name, in the order of the older layout."""
    if isinstance(target, Mapping):
        return list(target.items())
    return [(layer.name, layer) for layer in target.layers if layer.weights]


def _is_legacy(file: H5) -> bool:
    return name_attribute(file, "layer_names") is not None


def _is_numbered(name: str) -> bool:
    return re.search(r"(^|/)vars/\d+$", name) is not None


def _stored(file: H5) -> Iterator[StoredWeight]:
    return _stored_legacy(file) if _is_legacy(file) else _stored_numbered(file)


def _stored_of(path: str) -> Iterator[StoredWeight]:
    with open_hdf5(path) as file:
        yield from _stored_numbered(file, values=True)


def _stored_numbered(file: H5, *, values: bool = False) -> Iterator[StoredWeight]:
    for name, item in datasets(file):
        if _is_numbered(name) and not name.startswith(("optimizer/", "_optimizer/")):
            layer = text_attribute(item.parent, "name")
            yield StoredWeight(
                name.rpartition("/vars/")[0], layer, name, item.shape, item[()] if values else None
            )


def _stored_legacy(file: H5) -> Iterator[StoredWeight]:
    for part in [*(name_attribute(file, "layer_names") or ()), "top_level_model_weights"]:
        group = file.get(part)
        names = (name_attribute(group, "weight_names") or []) if group is not None else []
        for name in names:
            item = group[name]
            pieces = name.split("/")
            layer = pieces[-2] if len(pieces) > 1 else part
            yield StoredWeight(part, layer, name, item.shape, item[()])


def group_of_half(file: H5, role: str) -> str | None:
    """Group of a half in a file of the numbered layout; None where there is none."""
    halves = ("encoder", "decoder")
    if role in file:
        return role
    layers = file.get("layers") or {}
    nested = [name for name in layers if "layers" in layers[name]]
    named = {text_attribute(layers[name]["vars"], "name"): f"layers/{name}" for name in nested}
    if all(half in named for half in halves):
        return named[role]
    if len(nested) == 2:  # tf.keras writes no names; the encoder comes first
        return f"layers/{sorted(nested)[halves.index(role)]}"
    return None


def _sections(file: H5, path: str) -> dict[str, str]:
    """Group of each half."""
    found = {half: group_of_half(file, half) for half in ("encoder", "decoder")}
    sections = {half: group for half, group in found.items() if group is not None}
    if len(sections) == len(found):
        return sections
    raise CheckpointError(
        f"{path} holds no parts named encoder and decoder (it has {', '.join(sorted(file))}); "
        "return the model whose save_weights wrote the file, in place of (encoder, decoder)"
    )


@contextlib.contextmanager
def _section(path: str, group: str) -> Iterator[str]:
    """A group as a weight file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        part = str(Path(folder) / f"part{_SUFFIX}")
        copy_with_slashes(path, part, group)
        yield part
