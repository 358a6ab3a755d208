"""The zip archive of a ``.keras`` file, read as untrusted data."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

from vae_batch.models.formats import limits as memory
from vae_batch.models.formats.keras.config_nodes import Json
from vae_batch.models.formats.keras.hdf5_contents import logical_bytes, open_hdf5
from vae_batch.plan.errors import CheckpointError

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"

# What zipfile raises for an archive that is damaged, encrypted or packed in an unknown way.
_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, KeyError, ValueError, OSError, RuntimeError)


def read_config(path: str, cap: int) -> Json:
    """A model's configuration, read after the archive's declared sizes are checked.

    Args:
      path: Of a zip archive.
      cap: Bytes that loading may take.

    Raises:
      CheckpointError: It is no sound ``.keras`` file.
    """
    try:
        memory.check_zip(path, cap, path)
        with zipfile.ZipFile(path) as archive, archive.open(_CONFIG) as member:
            content = member.read(memory.LARGEST_CONFIG + 1)
        if len(content) > memory.LARGEST_CONFIG:
            raise ValueError(f"its {_CONFIG} is larger than any network's")
        config = json.loads(content)  # RecursionError, a RuntimeError, where nested without end
        if not isinstance(config, dict):
            raise ValueError(f"its {_CONFIG} is no JSON object")
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    return config


def weight_bytes(path: str) -> int:
    """Bytes of a file's weights in memory, however it packs them.

    They are unpacked to disk, since HDF5 jumps about and a zip archive does not.

    Raises:
      CheckpointError: They are damaged, or lie in another file.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                if _WEIGHTS not in archive.namelist():
                    return sum(member.file_size for member in archive.infolist())
                weights = archive.extract(_WEIGHTS, folder)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
        try:
            with open_hdf5(weights) as file:
                return logical_bytes(file)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(weights, f"{_WEIGHTS} of {path}")) from error


def write_with_config(path: str, config: Json, target: Path) -> None:
    """A copy of a ``.keras`` file with another configuration."""
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
