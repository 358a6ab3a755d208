"""HDF5 model files under any name: loaded by Keras 3, or by tf_keras where Keras 3 cannot."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.config_nodes import Json, nodes
from vae_batch.models.formats.keras.hdf5_contents import (
    has_attribute,
    json_attribute,
    logical_bytes,
    open_hdf5,
    text_attribute,
)
from vae_batch.models.formats.keras.keras_file import require_keras
from vae_batch.models.formats.keras.load_model import LibraryError, ModelFile, load_model
from vae_batch.models.formats.keras.network import LoadedModel, as_networks
from vae_batch.models.formats.tf_keras.tf_keras_file import is_old, load_with_tf_keras
from vae_batch.plan.errors import CheckpointError

_CONFIG = "model_config"
# Layers that tf.keras 2 writes for functions that were called between layers.
_OF_TF_KERAS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "AddLoss", "AddMetric"}
    | {"ClassMethod", "InstanceMethod", "InstanceProperty"}
)


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
