"""HDF5 model files under any name: by Keras 3, and those of tf.keras 2 that it cannot read."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_batch.models.formats import limits as memory
from vae_batch.models.formats.custom_objects import objects_for, runs_code
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.config_nodes import nodes
from vae_batch.models.formats.keras.hdf5_contents import (
    has_attribute,
    json_attribute,
    logical_bytes,
    open_hdf5,
    text_attribute,
)
from vae_batch.models.formats.keras.keras_file import require_keras
from vae_batch.models.formats.loaded_model import LoadedModel, as_networks
from vae_batch.models.formats.tf_keras.tf_keras_file import is_old, load_with_tf_keras
from vae_batch.plan.errors import CheckpointError

FORMAT = "hdf5"
_CONFIG = "model_config"
# Layers that tf.keras 2 writes for functions that were called between layers.
_OF_TF_KERAS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "AddLoss", "AddMetric"}
    | {"ClassMethod", "InstanceMethod", "InstanceProperty"}
)


class Hdf5File:
    """The format ``hdf5``: an architecture and weights in HDF5, known by its content.

    Implements :class:`vae_batch.models.formats.format.CheckpointFormat`. A file that Keras 3
    cannot read, or would read as another function, is read by ``tf_keras`` and named so.
    """

    name = FORMAT
    suffixes: tuple[str, ...] = (".h5", ".hdf5", ".keras")

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        return has_attribute(path, head, _CONFIG)

    def load(self, files: Mapping[str, str], terms: LoadOptions) -> Networks:
        """See the protocol.

        Raises:
          CheckpointError: The file is damaged, needs code or classes that are not at hand, takes
            too much memory, or needs ``tf_keras``, which is not installed.
        """
        return as_networks({role: _load(path, terms) for role, path in files.items()})


def _load(path: str, terms: LoadOptions) -> LoadedModel:
    with open_hdf5(path) as file:
        config = json_attribute(file, _CONFIG, path)
        version = text_attribute(file, "keras_version")
        weight_bytes = logical_bytes(file)
    reason = _only_of_tf_keras(config, version)
    if reason is None:
        try:
            return _load_with_keras(path, weight_bytes, terms)
        except _KerasReadingError as error:
            reason = str(error)
            if version is not None and not is_old(version):
                raise CheckpointError(
                    f"{path} cannot be loaded by Keras: {error}; it may be damaged, or need the "
                    f"Keras that saved it ({version})"
                ) from error
    with tempfile.TemporaryDirectory() as folder:

        def write(checked: dict[str, Any]) -> str:
            return _file_for(path, checked, folder)

        return load_with_tf_keras(path, reason, config, weight_bytes, terms, write)


class _KerasReadingError(Exception):
    """Why Keras 3 could not load a file; tf_keras may."""


def _load_with_keras(path: str, weight_bytes: int, terms: LoadOptions) -> LoadedModel:
    import keras

    require_keras()
    with open_hdf5(path) as file:
        config = json_attribute(file, _CONFIG, path)
    objects, replaced = objects_for(config, terms, path)
    memory.check_keras_config(config, weight_bytes, terms.memory_cap, path)
    safe = not (terms.trust and runs_code(config))
    with tempfile.TemporaryDirectory() as folder:
        local = _file_for(path, config, folder)
        try:
            with memory.weights_of_file(weight_bytes, terms.memory_cap, path):
                model = keras.saving.load_model(
                    local, custom_objects=objects, compile=False, safe_mode=safe
                )
        except CheckpointError:
            raise
        except Exception as error:  # Keras raises many types; each means: cannot be loaded
            if memory.ran_out_of_memory(error):
                raise
            raise _KerasReadingError(" ".join(str(error).split())[:300]) from error
    return LoadedModel(model, path, FORMAT, replaced)


def _only_of_tf_keras(config: dict[str, Any], version: str | None) -> str | None:
    """Why Keras 3 has no such layer or computes another function of it; None where it may read it.

    ``hard_sigmoid`` was clip(0.2 x + 0.5, 0, 1) and is clip(x / 6 + 0.5, 0, 1).
    """
    for node in nodes(config):
        if node.class_name in _OF_TF_KERAS:
            return f"layer {node.layer!r} is a {node.class_name}"
    if (version is None or is_old(version)) and '"hard_sigmoid"' in json.dumps(config):
        return "its hard_sigmoid is another function in Keras 3"
    return None


def _file_for(path: str, config: dict[str, Any], folder: str) -> str:
    """The file under a name that Keras takes for HDF5, with its configuration as it is now."""
    local = Path(folder) / "model.h5"
    with open_hdf5(path) as file:
        unchanged = json_attribute(file, _CONFIG, path) == config
    if unchanged:
        local.symlink_to(Path(path).absolute())
    else:
        import h5py

        shutil.copyfile(path, local)
        with h5py.File(local, "r+") as copy:
            copy.attrs[_CONFIG] = json.dumps(config)
    return str(local)
