"""Files that only tf.keras 2 understands, read through the optional package ``tf_keras``."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_batch.models.checkpoints.file_kind import kind_of
from vae_batch.models.formats import memory
from vae_batch.models.formats.custom_objects import objects_for, runs_code
from vae_batch.models.formats.format import LoadingTerms
from vae_batch.models.formats.hdf5_contents import logical_bytes, open_hdf5
from vae_batch.models.formats.loaded_model import LoadedModel, as_networks, bounded
from vae_batch.models.formats.network import Networks
from vae_batch.models.formats.tf_keras_safety import require_harmless
from vae_batch.plan.errors import CheckpointError

FORMAT = "tf_keras"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_OLD = ("1.", "2.")


class TfKerasFile:
    """The format ``tf_keras``: ``.keras`` zips that tf.keras 2.12 to 2.15, or tf_keras, saved.

    Its HDF5 files are :class:`~vae_batch.models.formats.hdf5_file.Hdf5File`'s, which comes here
    for those that Keras 3 cannot read. Implements
    :class:`vae_batch.models.formats.format.CheckpointFormat`.
    """

    name = FORMAT
    suffixes: tuple[str, ...] = (".keras",)

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        if not head or kind_of(path, head) != "keras":
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                metadata = _json_member(archive, _METADATA, path)
                return is_old(metadata.get("keras_version"))
        except (zipfile.BadZipFile, OSError, CheckpointError):
            return False

    def load(self, files: Mapping[str, str], terms: LoadingTerms) -> Networks:
        """See the protocol.

        Raises:
          CheckpointError: ``tf_keras`` is not installed; the file is damaged, needs code or
            classes that are not at hand, or takes too much memory.
        """
        return as_networks({role: load_zip(path, terms) for role, path in files.items()})


def is_old(version: object) -> bool:
    """Whether a file's ``keras_version`` is of the time before Keras 3."""
    return isinstance(version, str) and version.startswith(_OLD)


def load_zip(path: str, terms: LoadingTerms) -> LoadedModel:
    """A ``.keras`` zip of tf.keras 2; see :meth:`TfKerasFile.load` for errors."""
    memory.check_zip(path, terms.memory_cap, path)
    with zipfile.ZipFile(path) as archive:
        config = _json_member(archive, _CONFIG, path)
        weight_bytes = _weight_bytes(archive, path)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.keras"

        def write(changed: dict[str, Any]) -> str:
            _with_config(path, local, changed)
            return str(local)

        reason = "it is a zip of tf.keras 2"
        return load_with_tf_keras(path, reason, config, weight_bytes, terms, write)


def load_with_tf_keras(
    source: str,
    reason: str,
    config: dict[str, Any],
    weight_bytes: int,
    terms: LoadingTerms,
    write: Callable[[dict[str, Any]], str],
) -> LoadedModel:
    """A model by ``tf_keras``, after its configuration has been checked.

    Args:
      source: The file.
      reason: Why Keras 3 does not read it.
      config: Its configuration; sampling layers may be replaced in it.
      weight_bytes: What its weights take in memory.
      terms: The user's declarations, trust and memory cap.
      write: Makes the file to be loaded from the checked configuration; gives its path.

    Raises:
      CheckpointError: See :meth:`TfKerasFile.load`.
    """
    tf_keras = _imported(source, reason)
    objects, replaced = objects_for(config, terms, source, library="tf_keras")
    if not terms.trust:
        require_harmless(config, objects.keys(), source)
    memory.check_keras_config(config, weight_bytes, terms.memory_cap, source)
    safe = not (terms.trust and runs_code(config))
    try:
        with _safe_mode(safe), bounded(source, weight_bytes, terms.memory_cap):
            model = tf_keras.models.load_model(
                write(config), custom_objects=objects, compile=False, safe_mode=safe
            )
    except CheckpointError:
        raise
    except Exception as error:  # tf_keras raises many types; each means: cannot be loaded
        if memory.ran_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{source} cannot be loaded by tf_keras {tf_keras.__version__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    return LoadedModel(model, source, FORMAT, replaced)


def _imported(source: str, reason: str) -> Any:  # noqa: ANN401
    try:
        import tf_keras
    except ImportError as error:
        raise CheckpointError(
            f"{source} was saved by tf.keras 2, and Keras 3 does not read it ({reason}); install "
            f"the optional package for such files: pip install 'vae-batch[tf-keras]' ({error})"
        ) from error
    return tf_keras


@contextlib.contextmanager
def _safe_mode(safe: bool) -> Iterator[None]:
    """For HDF5 too, where ``load_model`` does not look at its argument."""
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    with SafeModeScope(safe):
        yield


def _json_member(archive: zipfile.ZipFile, name: str, path: str) -> dict[str, Any]:
    try:
        value = json.loads(archive.read(name))
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(
            f"{path}: {name} of the zip cannot be read ({error}); save the model again"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {name} is no JSON object; save the model again")
    return value


def _weight_bytes(archive: zipfile.ZipFile, path: str) -> int:
    if _WEIGHTS not in archive.namelist():
        return 0
    with archive.open(_WEIGHTS) as content, open_hdf5(path, content) as file:
        return logical_bytes(file)


def _with_config(path: str, target: Path, config: dict[str, Any]) -> None:
    """The same zip with another configuration."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for member in archive.infolist():
            if member.filename == _CONFIG:
                copy.writestr(_CONFIG, json.dumps(config))
            else:
                with archive.open(member) as read, copy.open(member.filename, "w") as written:
                    shutil.copyfileobj(read, written)
