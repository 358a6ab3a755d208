"""Keras model files as untrusted data: opened in safe mode, refused with a sentence."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_batch.models.checkpoints import read_file
from vae_batch.plan.errors import CheckpointError

if TYPE_CHECKING:
    import keras

_MISSING_CLASS = re.compile(r"Could not locate class '([^']+)'")
_SAMPLES = re.compile(r"sampl|reparam", re.IGNORECASE)


def load_keras_file(path: str) -> keras.Model:
    """The model in a ``.keras`` file (local path or URI), uncompiled, loaded in safe mode.

    A custom layer that draws z from (mean, log-variance) and whose class is not importable here
    is replaced by one that returns the mean: only the encoder's two heads are read.

    Raises:
      CheckpointError: The file is missing, damaged, no Keras model or needs the user's code.
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing on this worker; give a path or URI that every worker can read"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.keras"
        local.write_bytes(content)
        return _load_local(local, path)


def _load_local(local: Path, name: str) -> keras.Model:
    import keras

    from vae_batch.models import layers  # noqa: F401  registers the project's own layers

    try:
        config = _read_config(local)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{name} is not a readable .keras file ({local.stat().st_size} bytes: {error}); it may "
            "be truncated or of another format: save the model again with model.save(...)"
        ) from error
    try:
        return keras.saving.load_model(
            local, custom_objects=_sampling_shims(config), compile=False, safe_mode=True
        )
    except Exception as error:  # Keras raises many types here; each means: cannot be loaded
        raise CheckpointError(f"{name} cannot be loaded: {_advice(str(error))}") from error


def _read_config(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    if not isinstance(config, dict):
        raise ValueError("config.json is no object")
    return config


def _sampling_shims(config: dict[str, Any]) -> dict[str, type]:
    """A mean-returning layer for each unknown class of the config that samples."""
    import keras

    class MeanOfPosterior(keras.layers.Layer):
        """Stands in for a sampling layer: returns its first input, the posterior mean."""

        def __init__(self, **settings: Any) -> None:  # noqa: ANN401
            super().__init__(name=settings.get("name"))

        def call(self, inputs: Any) -> Any:  # noqa: ANN401
            return inputs[0]

    shims: dict[str, type] = {}
    for node in _objects(config):
        registered, name = node.get("registered_name"), node["class_name"]
        own_class = str(node.get("module") or "").startswith("keras.")
        known = registered and keras.saving.get_registered_object(registered) is not None
        if not own_class and not known and _SAMPLES.search(name):
            shims |= {str(registered or name): MeanOfPosterior, name: MeanOfPosterior}
    return shims


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Serialised objects anywhere in a config."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _advice(message: str) -> str:
    first = message.strip().splitlines()[0][:300] if message.strip() else "no reason given"
    if "lambda" in message.lower():
        return f"it holds a Python lambda, which is not run from a file ({first})"
    missing = _MISSING_CLASS.search(message)
    if missing:
        return f"it uses the custom class {missing[1]!r}, which cannot be imported here"
    return f"{first}; the file may be damaged, or saved by an incompatible Keras"
