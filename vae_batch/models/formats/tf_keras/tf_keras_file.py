"""Files that only tf.keras 2 understands, loaded by the optional package ``tf_keras``."""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Mapping

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.keras_file import zip_file
from vae_batch.models.formats.keras.load_model import LibraryError, ModelFile, load_model
from vae_batch.models.formats.keras.network import LoadedModel, as_networks
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.plan.errors import CheckpointError

_METADATA = "metadata.json"
_LARGEST_METADATA = 1 << 16


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
            "install the optional package for such files: pip install 'vae-batch[tf-keras]' "
            f"({error})"
        ) from error
    try:
        return load_model(file, options, TfKerasFile.name, library="tf_keras")
    except LibraryError as error:
        raise CheckpointError(
            f"{file.path} cannot be loaded by tf_keras {version}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
