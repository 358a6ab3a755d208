"""The format of Keras 3: a zip of config.json and HDF5 weights, opened as untrusted data."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_batch.models.formats import custom_objects
from vae_batch.models.formats import limits as memory
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras import zip_archive as keras_zip
from vae_batch.models.formats.loaded_model import LoadedModel, as_networks
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.plan.errors import CheckpointError

FORMAT = "keras"
_OLDEST_KERAS = (3, 13, 2)

_MISSING = re.compile(r"(?:locate|nknown)[^']*(?:class|function|object)[^']*'([^']+)'")


class KerasFile:
    """Keras 3 files under any name.

    Implements :class:`vae_batch.models.formats.format.CheckpointFormat`.
    """

    name = FORMAT
    suffixes = (".keras",)

    def recognises(self, path: str, head: bytes) -> bool:
        """A zip archive with a config.json."""
        return bool(head) and kind_of(path, head) == "keras"

    def load(self, files: Mapping[str, str], terms: LoadOptions) -> Networks:
        """See the protocol."""
        return as_networks({role: load_keras_zip(path, terms) for role, path in files.items()})


def load_keras_zip(path: str, terms: LoadOptions) -> LoadedModel:
    """The uncompiled model of a Keras 3 file.

    Raises:
      CheckpointError: The file is damaged, too large, or needs code or classes that are not given.
    """
    require_keras()
    config = keras_zip.read_config(path, terms.memory_cap)
    weight_bytes = keras_zip.weight_bytes(path)
    memory.check_keras_config(config, weight_bytes, terms.memory_cap, path)
    as_saved = json.dumps(config)
    objects, replaced = custom_objects.objects_for(config, terms, path)
    safe_mode = not (terms.trust and custom_objects.runs_code(config))
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        local = Path(folder) / "model.keras"
        if json.dumps(config) == as_saved:
            local.symlink_to(Path(path).absolute())
        else:
            keras_zip.write_with_config(path, config, local)
        with memory.weights_of_file(weight_bytes, terms.memory_cap, path):
            model = _load(local, objects, safe_mode, path, terms)
    return LoadedModel(model, path, FORMAT, replaced)


def require_keras() -> None:
    """Check the installed Keras, by which HDF5 files and built models are read too.

    Raises:
      CheckpointError: It is older than 3.13.2, the first whose safe mode has no known way around,
        or runs on another backend than TensorFlow.
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


def _load(
    local: Path, objects: dict[str, Any], safe_mode: bool, path: str, terms: LoadOptions
) -> Any:  # noqa: ANN401
    import keras

    try:
        return keras.saving.load_model(
            local, custom_objects=objects, compile=False, safe_mode=safe_mode
        )
    except Exception as error:  # Keras raises many types here; each means: cannot be loaded
        if memory.ran_out_of_memory(error):
            raise
        advice, declare = _advice(error, terms)
        raise CheckpointError(f"{path} cannot be loaded: {advice}", declare) from error


def _advice(error: Exception, terms: LoadOptions) -> tuple[str, dict[str, object]]:
    """The end of a sentence, and the spec's keys that would mend it."""
    message = str(error).strip() or type(error).__name__
    first = message.splitlines()[0][:300]
    missing = _MISSING.search(message)
    if missing:
        declare = custom_objects.keys_for_missing(terms)
        return custom_objects.advice_for_missing(missing[1], terms), declare
    if "safe_mode" in message or "unsafe" in message:
        advice = f"it holds code that is not run from a file ({first}); {custom_objects.TRUST}"
        return advice, {"trust": True}
    return f"{first}; the file may be damaged, or saved by an incompatible version of Keras", {}
