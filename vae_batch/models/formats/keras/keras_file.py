"""``.keras`` files of Keras 3 and tf.keras 2: untrusted zips of a configuration and weights."""

from __future__ import annotations

import functools
import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vae_batch.models.formats import limits
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras import custom_objects
from vae_batch.models.formats.keras.config_nodes import Json
from vae_batch.models.formats.keras.hdf5_file import logical_bytes, open_hdf5
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

_CONFIG = "config.json"
_METADATA = "metadata.json"
_LARGEST_METADATA = 1 << 16
_WEIGHTS = "model.weights.h5"

# What zipfile raises for an archive that is damaged, encrypted or packed in an unknown way.
_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, KeyError, ValueError, OSError, RuntimeError)

# Keras' message about a class or function that it does not know.
_MISSING = re.compile(r"(?:locate|nknown)[^']*(?:class|function|object)[^']*'([^']+)'")


class KerasFile:
    """Keras 3 files under any name; implements :class:`~..format.CheckpointFormat`."""

    name = "keras"
    suffixes: tuple[str, ...] = (".keras",)

    def recognises(self, path: str, head: bytes) -> bool:
        """A zip archive with a config.json."""
        return bool(head) and kind_of(path, head) == "keras"

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        return as_networks({role: load_keras_zip(path, options) for role, path in files.items()})


class TfKerasFile:
    """``.keras`` zips of tf.keras 2.12 to 2.15, or tf_keras; implements ``CheckpointFormat``.

    HDF5 files are loaded by :class:`~..keras.hdf5_file.Hdf5File`, which calls
    :func:`load_with_tf_keras` for those that Keras 3 cannot load.
    """

    name = "tf_keras"
    suffixes: tuple[str, ...] = (".keras",)

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        if not head or kind_of(path, head) != "keras":
            return False
        try:
            with zipfile.ZipFile(path) as archive, archive.open(_METADATA) as member:
                metadata = json.loads(member.read(_LARGEST_METADATA))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, RuntimeError):
            return False  # Keras 3's format says what is wrong with it
        return isinstance(metadata, dict) and is_old(metadata.get("keras_version"))

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        reason, cap = "it is a zip of tf.keras 2", options.memory_cap
        models = {
            role: load_with_tf_keras(zip_file(path, cap), reason, options)
            for role, path in files.items()
        }
        return as_networks(models)


def load_keras_zip(path: str, options: LoadOptions) -> LoadedModel:
    """The uncompiled model of a Keras 3 file.

    Raises:
        CheckpointError: The file is damaged, too large, or needs code or classes that are not
            given.
    """
    require_keras()
    try:
        return load_model(zip_file(path, options.memory_cap), options, KerasFile.name)
    except LibraryError as error:
        advice, declare = _advice(str(error), options)
        raise CheckpointError(f"{path} cannot be loaded: {advice}", declare) from error


def zip_file(path: str, cap: int) -> ModelFile:
    """A ``.keras`` archive, whose declared sizes are checked before anything is read."""
    read = functools.partial(_read_config, path, cap)
    read()  # complains about a damaged archive before its weights are unpacked
    return ModelFile(path, ".keras", read, _weight_bytes(path), functools.partial(_rewrite, path))


def _read_config(path: str, cap: int) -> Json:
    try:
        limits.check_zip(path, cap, path)
        with zipfile.ZipFile(path) as archive, archive.open(_CONFIG) as member:
            content = member.read(limits.LARGEST_CONFIG + 1)
        if len(content) > limits.LARGEST_CONFIG:
            raise ValueError(f"its {_CONFIG} is larger than any network's")
        config = json.loads(content)  # RecursionError, a RuntimeError, where nested without end
        if not isinstance(config, dict):
            raise ValueError(f"its {_CONFIG} is no JSON object")
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    return config


def _weight_bytes(path: str) -> int:
    """Bytes of a file's weights in memory, however it packs them.

    They are unpacked to disk, as HDF5 needs random access, which a zip archive does not give.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                if _WEIGHTS not in archive.namelist():
                    return sum(member.file_size for member in archive.infolist())
                weights = archive.extract(_WEIGHTS, folder)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
        with open_hdf5(weights, f"{_WEIGHTS} of {path}") as file:
            return logical_bytes(file)


def _rewrite(path: str, config: Json, target: Path) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            if member.filename == _CONFIG:
                copy.writestr(_CONFIG, json.dumps(config))
            elif not member.is_dir():
                with source.open(member) as old, copy.open(member.filename, "w") as new:
                    while chunk := old.read(1 << 20):
                        new.write(chunk)


def _damaged(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a readable Keras file ({Path(path).stat().st_size:,} bytes: "
        f"{str(error)[:200]}); it may be truncated or damaged: copy it again, or save the model "
        "again with model.save(...)"
    )


def _advice(message: str, options: LoadOptions) -> tuple[str, dict[str, object]]:
    """The end of a sentence about Keras' error, and the spec keys that would solve it."""
    first = message.splitlines()[0][:300]
    missing = _MISSING.search(message)
    if missing:
        declare = custom_objects.keys_for_missing(options)
        return custom_objects.advice_for_missing(missing[1], options), declare
    if "safe_mode" in message or "unsafe" in message:
        advice = f"it holds code that is not run from a file ({first}); {custom_objects.TRUST}"
        return advice, {"trust": True}
    return f"{first}; the file may be damaged, or saved by an incompatible version of Keras", {}
