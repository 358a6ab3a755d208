"""``.keras`` files of Keras 3 and tf.keras 2: untrusted zips of a configuration and weights."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vae_batch.models.formats import limits
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras import custom_objects
from vae_batch.models.formats.keras.config_nodes import Json
from vae_batch.models.formats.keras.halves import HALF_NAMES
from vae_batch.models.formats.keras.hdf5_file import (
    copy_with_slashes,
    has_backslashes,
    logical_bytes,
    open_hdf5,
)
from vae_batch.models.formats.keras.load_model import (
    LibraryError,
    ModelFile,
    is_old,
    load_model,
    load_with_tf_keras,
    require_keras,
)
from vae_batch.models.formats.keras.network import LoadedModel, as_networks
from vae_batch.models.formats.weights_only.weight_files import group_of_half
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
        return _networks(files, options, load_keras_zip)


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
        return _networks(files, options, _load_tf_keras_zip)


_Load = Callable[[str, LoadOptions], LoadedModel]


def _networks(files: Mapping[str, str], options: LoadOptions, load: _Load) -> Networks:
    """The networks of files; of a model of an unknown class, those of the halves in it."""
    try:
        return as_networks({role: load(path, options) for role, path in files.items()})
    except CheckpointError as error:
        path = files.get("model")
        if path is None or options.whole or "custom_objects" not in error.declare:
            raise
        config = _read_config(path, options.memory_cap)
        with _halves_as_files(path, config) as halves:
            if len(halves) < len(HALF_NAMES):
                raise
            try:
                found = as_networks({role: load(half, options) for role, half in halves.items()})
            except CheckpointError as of_half:
                message = str(of_half)
                for role, half in halves.items():
                    message = message.replace(half, f"{path} ({role})")
                raise CheckpointError(message, of_half.declare) from of_half
    note = f"{' and '.join(halves)} in the configuration of class {config.get('class_name')!r}"
    encoder, decoder = (
        part and replace(part, source=f"{path} ({role})")
        for role, part in (("encoder", found.encoder), ("decoder", found.decoder))
    )
    return replace(found, encoder=encoder, decoder=decoder, notes=(note,))


@contextlib.contextmanager
def _halves_as_files(path: str, config: Json) -> Iterator[dict[str, str]]:
    """The halves that a class of the user's names in its ``get_config``, each as a Keras file.

    Their configurations stand in the class's, and their weights below the attributes of the same
    names, so its code is not needed.
    """
    found = _configs_of_halves(config)
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder, zipfile.ZipFile(path) as whole:
        halves = {}
        if _WEIGHTS not in whole.namelist():
            found = {}
        weights = str(Path(folder, "slashed.h5"))
        if found:
            copy_with_slashes(whole.extract(_WEIGHTS, folder), weights)
        for role, (group, half) in found.items():
            part, target = Path(folder, f"{role}.weights.h5"), Path(folder, f"{role}.keras")
            with open_hdf5(weights, f"{_WEIGHTS} of {path}") as file:
                place = next((g for g in (group, f"_{group}") if g in file), None)
                place = place or group_of_half(file, role)
            if place is None:
                continue
            copy_with_slashes(weights, part, place)
            with zipfile.ZipFile(target, "w") as archive:
                archive.writestr(_CONFIG, json.dumps(half))
                archive.writestr(_METADATA, whole.read(_METADATA))
                archive.write(part, _WEIGHTS)
            halves[role] = str(target)
        yield halves


def _configs_of_halves(config: Json) -> dict[str, tuple[str, Json]]:
    """Role to attribute and configuration of the models that a class's own settings hold."""
    settings = config.get("config")
    found = {}
    for role, names in HALF_NAMES.items():
        for name in names:
            value = settings.get(name) if isinstance(settings, dict) else None
            if isinstance(value, dict) and "class_name" not in value and "layers" in value:
                kind = "Functional" if "input_layers" in value else "Sequential"  # get_config()
                module = "keras.src.models.functional" if kind == "Functional" else "keras"
                value = {"module": module, "class_name": kind, "config": value}
            if isinstance(value, dict) and isinstance(value.get("config"), dict):
                found[role] = (name, value)
                break
    return found


def _load_tf_keras_zip(path: str, options: LoadOptions) -> LoadedModel:
    file = zip_file(path, options.memory_cap)
    return load_with_tf_keras(file, "it is a zip of tf.keras 2", options)


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
        code = custom_objects.runs_code(_read_config(path, options.memory_cap))
        advice, declare = _advice(str(error), options, code)
        raise CheckpointError(f"{path} cannot be loaded: {advice}", declare) from error


def zip_file(path: str, cap: int) -> ModelFile:
    """A ``.keras`` archive, whose declared sizes are checked before anything is read."""
    read = functools.partial(_read_config, path, cap)
    read()  # complains about a damaged archive before its weights are unpacked
    size, backslashes = _weight_bytes(path)
    return ModelFile(path, ".keras", read, size, functools.partial(_rewrite, path), backslashes)


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


def _weight_bytes(path: str) -> tuple[int, bool]:
    """Bytes of a file's weights in memory, however it packs them; whether names have backslashes.

    They are unpacked to disk, as HDF5 needs random access, which a zip archive does not give.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                if _WEIGHTS not in archive.namelist():
                    return sum(member.file_size for member in archive.infolist()), False
                weights = archive.extract(_WEIGHTS, folder)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
        with open_hdf5(weights, f"{_WEIGHTS} of {path}") as file:
            return logical_bytes(file), has_backslashes(file)


def _rewrite(path: str, config: Json, target: Path) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            if member.filename == _CONFIG:
                copy.writestr(_CONFIG, json.dumps(config))
            elif member.filename == _WEIGHTS:
                with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
                    part = Path(folder, "slashed.h5")
                    copy_with_slashes(source.extract(member, folder), part)
                    copy.write(part, _WEIGHTS)
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


def _advice(message: str, options: LoadOptions, code: bool) -> tuple[str, dict[str, object]]:
    """The end of a sentence about Keras' error, and the spec keys that would solve it.

    ``code`` says whether the file holds any: nobody is told to trust it because of damage.
    """
    first = message.splitlines()[0][:300]
    missing = _MISSING.search(message)
    if missing:
        declare = custom_objects.keys_for_missing(options)
        return custom_objects.advice_for_missing(missing[1], options), declare
    if code and not options.trust:
        advice = f"it holds code that is not run from a file ({first}); {custom_objects.TRUST}"
        return advice, {"trust": True}
    return f"{first}; the file may be damaged, or saved by an incompatible version of Keras", {}
