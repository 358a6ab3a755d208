"""HDF5 model files under any name, opened as untrusted data.

Keras 3 loads them, or tf_keras where Keras 3 cannot.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.config_nodes import Json, nodes
from vae_batch.models.formats.keras.load_model import (
    LibraryError,
    ModelFile,
    is_old,
    load_model,
    load_with_tf_keras,
    require_keras,
)
from vae_batch.models.formats.keras.network import LoadedModel, as_networks
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.plan.errors import CheckpointError

_CONFIG = "model_config"
# Layers that tf.keras 2 writes for functions that were called between layers.
_OF_TF_KERAS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "AddLoss", "AddMetric"}
    | {"ClassMethod", "InstanceMethod", "InstanceProperty"}
)

#: A file, group or dataset of h5py.
H5 = Any


class Hdf5File:
    """An architecture and weights in HDF5; implements :class:`~..format.CheckpointFormat`.

    A file that Keras 3 cannot load, or would load as another function, is loaded by ``tf_keras``
    and named so.
    """

    name = "hdf5"
    suffixes: tuple[str, ...] = (".h5", ".hdf5", ".keras")

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        return has_attribute(path, head, _CONFIG)

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        return as_networks({role: _load(path, options) for role, path in files.items()})


def _load(path: str, options: LoadOptions) -> LoadedModel:
    with open_hdf5(path) as opened:
        version = text_attribute(opened, "keras_version")
        read, rewrite = functools.partial(_read_config, path), functools.partial(_rewrite, path)
        file = ModelFile(path, ".h5", read, logical_bytes(opened), rewrite)
    reason = _why_tf_keras(file.read_config(), version)
    if reason is None:
        require_keras()
        try:
            return load_model(file, options, Hdf5File.name)
        except LibraryError as error:
            reason = " ".join(str(error).split())[:300]
            if version is not None and not is_old(version):
                raise CheckpointError(
                    f"{path} cannot be loaded by Keras: {reason}; it may be damaged, or need the "
                    f"Keras that saved it ({version})"
                ) from error
    return load_with_tf_keras(file, reason, options)


def _why_tf_keras(config: Json, version: str | None) -> str | None:
    """Why Keras 3 lacks such a layer or computes another function; None where it may load it.

    ``hard_sigmoid`` was clip(0.2 x + 0.5, 0, 1) and is clip(x / 6 + 0.5, 0, 1).
    """
    for node in nodes(config):
        if node.class_name in _OF_TF_KERAS:
            return f"layer {node.layer!r} is a {node.class_name}"
    if (version is None or is_old(version)) and '"hard_sigmoid"' in json.dumps(config):
        return "its hard_sigmoid is another function in Keras 3"
    return None


def _read_config(path: str) -> Json:
    with open_hdf5(path) as file:
        return json_attribute(file, _CONFIG, path)


def _rewrite(path: str, config: Json, target: Path) -> None:
    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as copy:
        copy.attrs[_CONFIG] = json.dumps(config)


def is_hdf5(path: str, head: bytes) -> bool:
    """Whether a file is HDF5 of the size that it states, by its first bytes."""
    return bool(head) and kind_of(path, head) == "hdf5"


def has_attribute(path: str, head: bytes, name: str) -> bool:
    """Whether a file is sound HDF5 with an attribute of that name."""
    if not is_hdf5(path, head):
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return name in file.attrs
    except OSError:  # damaged
        return False


@contextlib.contextmanager
def open_hdf5(path: str, name: str | None = None) -> Iterator[H5]:
    """The file, opened for reading; ``name`` is what messages call it, if not its path."""
    import h5py

    name = name or path
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CheckpointError(
            f"{name} is a damaged HDF5 file ({os.path.getsize(path)} bytes: {error}); it may be "
            "truncated: copy or save it again"
        ) from error
    with file:
        _refuse_other_files(file, name)
        yield file


def datasets(group: H5) -> Iterator[tuple[str, H5]]:
    """Datasets below a group, with their paths, in the order of the names."""
    import h5py

    found: list[tuple[str, H5]] = []
    group.visititems(lambda name, item: found.append((name, item)))  # None continues the visit
    return ((name, item) for name, item in found if isinstance(item, h5py.Dataset))


def logical_bytes(file: H5) -> int:
    """Bytes of all datasets once they are in memory; the file may store far fewer."""
    return sum(math.prod(item.shape or (1,)) * item.dtype.itemsize for _, item in datasets(file))


def text_attribute(group: H5, name: str) -> str | None:
    """An attribute that Keras wrote as bytes or text; None where there is none."""
    value = group.attrs.get(name)
    return value.decode("utf-8") if isinstance(value, bytes) else value


def name_attribute(group: H5, name: str) -> list[str] | None:
    """A list of names, which Keras splits into ``name0``, ``name1``, ... where it is long."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        pieces = []
        while f"{name}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{name}{len(pieces)}"])
        if not pieces:
            return None
    values = (value for piece in pieces for value in np.atleast_1d(piece))
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def json_attribute(file: H5, name: str, path: str) -> dict[str, Any]:
    """A JSON object in an attribute."""
    try:
        value = json.loads(text_attribute(file, name) or "")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its {name} is no readable JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: its {name} is no JSON object; save the model again")
    return value


def has_backslashes(file: H5) -> bool:
    """Whether names of groups have backslashes, as Keras on Windows wrote them."""
    return any("\\" in name for name, _ in datasets(file))


def copy_with_slashes(source: str, target: str | Path, group: str = "/") -> None:
    """Copy a file, or a group as a file of its own; backslashes in names become slashes."""
    import h5py

    with open_hdf5(source) as old, h5py.File(target, "w") as new:

        def copy(name: str, item: H5) -> None:
            place = name.replace("\\", "/")
            if isinstance(item, h5py.Group):
                made = new.require_group(place)
            else:
                new.require_group(f"/{place}".rpartition("/")[0] or "/")
                old.copy(item, new, place)
                made = new[place]
            for key, value in item.attrs.items():
                made.attrs[key] = value

        for key, value in old[group].attrs.items():
            new.attrs[key] = value
        old[group].visititems(copy)


@contextlib.contextmanager
def under_suffix(path: str, suffix: str) -> Iterator[str]:
    """The file under a name with the suffix by which Keras recognises how to read it."""
    if path.endswith(suffix):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"checkpoint{suffix}"
        link.symlink_to(Path(path).absolute())
        yield str(link)


def _refuse_other_files(file: H5, path: str) -> None:
    """HDF5 can borrow groups and values from any file that its reader may open."""
    import h5py

    def visit(name: str, item: H5) -> str | None:  # returning a name ends the visit
        if isinstance(item, h5py.Group):
            links = ((key, item.get(key, getlink=True)) for key in item)
            borrowed = [key for key, link in links if isinstance(link, h5py.ExternalLink)]
            return f"{name}/{borrowed[0]}".lstrip("/") if borrowed else None
        if not isinstance(item, h5py.Dataset):  # a committed datatype, which holds no values
            return None
        _require_numbers(item, name, path)
        return name if item.is_virtual or item.external else None

    found = visit("", file) or file.visititems(visit)
    if found:
        raise CheckpointError(
            f"{path}: {found!r} lies in another file, which is not opened for a checkpoint; save "
            "the model again as one file"
        )


def _require_numbers(item: H5, name: str, path: str) -> None:
    """Refuse what no library reads right: complex numbers, of which it drops a half, and records.

    Of bfloat16, which HDF5 lacks, Keras writes plain bytes.
    """
    if item.dtype.kind == "c":
        raise CheckpointError(
            f"{path}: {name!r} holds complex numbers ({item.dtype}), whose imaginary part would be "
            "lost; expected real weights: save real and imaginary part as two weights"
        )
    if item.dtype.names is not None:
        raise CheckpointError(
            f"{path}: {name!r} holds records of {', '.join(item.dtype.names)} and no numbers, so "
            "it is damaged or no weight that Keras wrote; save the model again"
        )
