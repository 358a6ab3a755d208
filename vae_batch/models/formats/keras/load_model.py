"""Loads a model file of Keras 3 or tf_keras: checks it first, then loads it under limits."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vae_batch.installation import pip_install
from vae_batch.models.child_process import ProcessEndedError, in_child
from vae_batch.models.formats import limits
from vae_batch.models.formats.format import LoadOptions
from vae_batch.models.formats.keras.config_nodes import Json
from vae_batch.models.formats.keras.custom_objects import (
    objects_for,
    runs_bytecode,
    runs_code,
    without_its_code,
)
from vae_batch.models.formats.keras.network import LoadedModel, network_of
from vae_batch.models.formats.keras.tf_keras_safety import require_harmless
from vae_batch.plan.errors import CheckpointError

_OLDEST_KERAS = (3, 13, 2)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FREE_SIZE = 32
_UNDEFINED = re.compile(r"name '(\w+)' is not defined")


_log = logging.getLogger(__name__)

# Digests of files whose bytecode has been run in a process of its own, and whether this is one.
_survived: set[str] = set()
_in_child = False


@dataclass(frozen=True)
class ModelFile:
    """A model file of which only the configuration was read.

    Attributes:
        path: The file.
        suffix: Of the name by which both libraries recognise its kind: ``.keras`` or ``.h5``.
        read_config: Reads the model's configuration.
        weight_bytes: Bytes of its weights in memory.
        write_with_config: Writes a copy with another configuration to a path, in which HDF5 names
            have slashes.
        has_backslashes: Whether names in it have backslashes, as Keras on Windows wrote them.
    """

    path: str
    suffix: str
    read_config: Callable[[], Json]
    weight_bytes: int
    write_with_config: Callable[[Json, Path], None]
    has_backslashes: bool = False


class LibraryError(Exception):
    """Keras or tf_keras could not load a file; its own error is the cause."""


def plain_message(error: BaseException) -> str:
    """A library's message without the colours that Keras gives it."""
    return _ANSI.sub("", str(error)).strip() or type(error).__name__


def undefined_name(error: BaseException | None) -> str | None:
    """A sentence where a Lambda needs a name of the script that saved it, or None.

    Args:
        error: Of a library; its causes are searched, since Keras says something else.
    """
    found = None
    while error is not None and found is None:
        found = _UNDEFINED.search(str(error))
        error = error.__cause__ or error.__context__
    if found is None:
        return None
    return (
        f"one of its Lambda layers uses {found[1]!r} of the script that saved it, which no file "
        "holds"
    )


def load_model(
    file: ModelFile,
    options: LoadOptions,
    format_name: str,
    library: Literal["keras", "tf_keras"] = "keras",
) -> LoadedModel:
    """A model without its training settings; sampling layers of unknown classes return their mean.

    Raises:
        CheckpointError: The file would run code without trust, needs classes that are not given,
            or takes too much memory.
        LibraryError: The library could not load it.
    """
    config, path, cap = file.read_config(), file.path, options.memory_cap
    limits.check_keras_config(config, file.weight_bytes, cap, path)
    objects, replaced = objects_for(config, options, path, library)
    if library == "tf_keras" and not options.trust:
        require_harmless(config, objects.keys(), path)
    safe = not (options.trust and runs_code(config))
    if not safe and runs_bytecode(config) and not _in_child:
        _require_survival(file, options, format_name, library)
    models = importlib.import_module(library).models
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        local = Path(folder) / f"model{file.suffix}"
        if config == file.read_config() and not file.has_backslashes:
            local.symlink_to(Path(path).absolute())
        else:  # a sampling layer was replaced in it, or no library finds its names
            file.write_with_config(config, local)
        try:
            with _safe_mode(library, safe), limits.weights_of_file(file.weight_bytes, cap, path):
                model = models.load_model(
                    str(local), custom_objects=objects, compile=False, safe_mode=safe
                )
        except CheckpointError:
            raise
        except Exception as error:  # both libraries raise many types
            if limits.ran_out_of_memory(error):
                raise
            if undefined := undefined_name(error):
                said = f"{path} cannot be loaded: {undefined}"
                raise without_its_code(said, options.whole) from error
            raise LibraryError(plain_message(error)) from error
    return LoadedModel(model, path, format_name, replaced, options.whole)


def _require_survival(
    file: ModelFile, options: LoadOptions, format_name: str, library: str
) -> None:
    """Load a file in a process of its own first, since its bytecode may end the process.

    Raises:
        CheckpointError: It did.
    """
    with open(file.path, "rb") as stream:
        key = hashlib.file_digest(stream, "sha256").hexdigest()
    if key in _survived:
        return
    try:
        in_child(_load_in_child, file, options, format_name, library)
    except ProcessEndedError as error:
        raise without_its_code(
            f"{file.path}: the bytecode of its Lambda layers crashes Python here ({error}), so "
            "another Python has written it, or it is damaged",
            options.whole,
        ) from error
    except Exception:  # loading it here raises it again, with better words
        _log.debug("%s cannot be loaded in a process of its own", file.path, exc_info=True)
    _survived.add(key)


def _load_in_child(
    file: ModelFile, options: LoadOptions, format_name: str, library: Literal["keras", "tf_keras"]
) -> None:
    """Load a model and run it on zeros: its bytecode may run only then."""
    global _in_child
    _in_child = True
    loaded = load_model(file, options, format_name, library)
    network = network_of(loaded.model, loaded.source)
    shapes = ([size or _FREE_SIZE for size in port.shape] for port in network.inputs)
    network.run(*(np.zeros((1, *shape), np.float32) for shape in shapes))


def is_old(version: object) -> bool:
    """Whether a file's ``keras_version`` is older than Keras 3."""
    return isinstance(version, str) and version.startswith(("1.", "2."))


def load_with_tf_keras(file: ModelFile, reason: str, options: LoadOptions) -> LoadedModel:
    """A model by ``tf_keras``; ``reason`` says why Keras 3 does not load it."""
    try:
        version = importlib.import_module("tf_keras").__version__
    except ImportError as error:
        raise CheckpointError(
            f"{file.path} was saved by tf.keras 2, and Keras 3 does not read it ({reason}); "
            f"install the optional package for such files: {pip_install('tf-keras')} ({error})"
        ) from error
    try:
        return load_model(file, options, "tf_keras", library="tf_keras")
    except LibraryError as error:
        raise CheckpointError(
            f"{file.path} cannot be loaded by tf_keras {version}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def require_keras() -> None:
    """Check the installed Keras, which also reads HDF5 files and built models.

    Raises:
        CheckpointError: It is older than 3.13.2, the first version whose safe mode cannot be
            bypassed in a known way, or runs on another backend than TensorFlow.
    """
    import keras

    version = tuple(int(part) for part in re.findall(r"\d+", keras.__version__)[:3])
    if version < _OLDEST_KERAS:
        raise CheckpointError(
            f"Keras {keras.__version__} is installed, which lets a file run code in safe mode "
            "(CVE-2025-1550, CVE-2026-1462); install keras>=3.13.2"
        )
    if keras.backend.backend() != "tensorflow":
        raise CheckpointError(
            f"Keras runs on {keras.backend.backend()} here, but checkpoints are run on TensorFlow; "
            "set KERAS_BACKEND=tensorflow before the job is started"
        )


@contextlib.contextmanager
def _safe_mode(library: str, safe: bool) -> Iterator[None]:
    """tf_keras ignores the argument ``safe_mode`` for HDF5 files."""
    if library == "keras":
        yield
        return
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    with SafeModeScope(safe):
        yield
