"""Files that only tf.keras 2 understands, read through the optional package ``tf_keras``."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_batch.models.formats import limits as memory
from vae_batch.models.formats.custom_objects import objects_for, runs_code
from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras import zip_archive as keras_zip
from vae_batch.models.formats.loaded_model import LoadedModel, as_networks
from vae_batch.models.formats.tf_keras.safety import require_harmless
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.plan.errors import CheckpointError

FORMAT = "tf_keras"
_METADATA = "metadata.json"
_LARGEST_METADATA = 1 << 16
_OLD = ("1.", "2.")


class TfKerasFile:
    """The format ``tf_keras``: ``.keras`` zips that tf.keras 2.12 to 2.15, or tf_keras, saved.

    HDF5 files are read by :class:`~vae_batch.models.formats.keras.hdf5_file.Hdf5File`, which calls
    this format for those that Keras 3 cannot read. Implements
    :class:`vae_batch.models.formats.format.CheckpointFormat`.
    """

    name = FORMAT
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

    def load(self, files: Mapping[str, str], terms: LoadOptions) -> Networks:
        """See the protocol.

        Raises:
          CheckpointError: ``tf_keras`` is not installed; the file is damaged, needs code or
            classes that are not at hand, or takes too much memory.
        """
        return as_networks({role: load_zip(path, terms) for role, path in files.items()})


def is_old(version: object) -> bool:
    """Whether a file's ``keras_version`` is of the time before Keras 3."""
    return isinstance(version, str) and version.startswith(_OLD)


def load_zip(path: str, terms: LoadOptions) -> LoadedModel:
    """A ``.keras`` zip of tf.keras 2; see :meth:`TfKerasFile.load` for errors."""
    config = keras_zip.read_config(path, terms.memory_cap)
    weight_bytes = keras_zip.weight_bytes(path)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "model.keras"

        def write(changed: dict[str, Any]) -> str:
            keras_zip.write_with_config(path, changed, local)
            return str(local)

        reason = "it is a zip of tf.keras 2"
        return load_with_tf_keras(path, reason, config, weight_bytes, terms, write)


def load_with_tf_keras(
    source: str,
    reason: str,
    config: dict[str, Any],
    weight_bytes: int,
    terms: LoadOptions,
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
    cap = terms.memory_cap
    memory.check_keras_config(config, weight_bytes, cap, source)
    safe = not (terms.trust and runs_code(config))
    try:
        with _safe_mode(safe), memory.weights_of_file(weight_bytes, cap, source):
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
