"""Which checkpoint formats there are: the shipped ones, then the plug-ins'."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vae_batch.models.formats.format import ArrayVae, CheckpointFormat, LoadOptions, Networks
from vae_batch.models.formats.keras.hdf5_file import Hdf5File
from vae_batch.models.formats.keras.keras_file import KerasFile
from vae_batch.models.formats.saved_model.saved_model import SavedModelFolder
from vae_batch.models.formats.tf_keras.tf_keras_file import TfKerasFile
from vae_batch.models.formats.weights_only.built_weights import BuiltWeights
from vae_batch.plan.errors import CheckpointError

ENTRY_POINTS = "vae_batch.checkpoints"

# A file belongs to the first format that recognises it. A zip saved by tf.keras 2 is told from one
# of Keras 3 by its metadata, HDF5 with an architecture from HDF5 without by an attribute.
_SHIPPED: tuple[CheckpointFormat, ...] = (
    SavedModelFolder(),
    TfKerasFile(),
    KerasFile(),
    Hdf5File(),
    BuiltWeights(),
)


def formats() -> tuple[CheckpointFormat, ...]:
    """The shipped formats, then those of the entry points ``vae_batch.checkpoints``, by name.

    An entry point is an object with the members of
    :class:`~vae_batch.models.formats.format.CheckpointFormat`, or a class whose instances have
    them. One that cannot be used stands in the list as a format that takes the files which end
    in its name (``.onnx`` for the entry point ``onnx``) and fails them with the reason.
    """
    return _SHIPPED + _plug_ins(tuple(sys.path))


def suffixes() -> tuple[str, ...]:
    """Endings of file names that a folder scan takes; found without TensorFlow or Keras."""
    endings = {ending: None for known in formats() for ending in known.suffixes}
    return tuple(endings)


@lru_cache(maxsize=4)  # reading the metadata of every installed package takes tens of ms
def _plug_ins(_path: tuple[str, ...]) -> tuple[CheckpointFormat, ...]:
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    return tuple(PlugIn(entry) for entry in found)


class PlugIn:
    """A format of an entry point; whatever goes wrong in it is reported under its name."""

    def __init__(self, entry: EntryPoint) -> None:
        origin = f" of package {entry.dist.name}" if entry.dist else ""
        self._title = f"the checkpoint plug-in {entry.name!r}{origin} ({entry.value})"
        self.name = entry.name
        self.suffixes: tuple[str, ...] = (f".{entry.name}",)
        self._format: Any = None
        self._broken: str | None = None
        try:
            self._format = _usable(entry.load())
            self.name, self.suffixes = self._format.name, tuple(self._format.suffixes)
        except Exception as error:  # another package's code
            self._broken = f"{type(error).__name__}: {error}"

    def recognises(self, path: str, head: bytes) -> bool:
        """As the plug-in says; where it cannot say, by the end of the name."""
        try:
            return bool(self._format.recognises(path, head))
        except Exception:  # broken, or it stumbles over this file
            return path.endswith(self.suffixes)

    def load(self, files: Mapping[str, str], terms: LoadOptions) -> Networks | ArrayVae:
        """See the protocol.

        Raises:
          CheckpointError: The plug-in's own, or one that names it.
        """
        if self._broken is not None:
            raise CheckpointError(
                f"{self._title} cannot be used ({self._broken[:300]}); mend or uninstall it"
            )
        try:
            return self._named(self._format.load(files, terms))
        except CheckpointError:
            raise
        except Exception as error:  # another package's code
            raise CheckpointError(
                f"{self._title} failed: {type(error).__name__}: {str(error)[:300]}"
            ) from error

    def _named(self, loaded: Any) -> Any:  # noqa: ANN401
        """Arrays that say of which format they are, as networks do."""
        if not isinstance(loaded, Networks) and not hasattr(loaded, "format"):
            with contextlib.suppress(AttributeError):  # it takes no attributes
                loaded.format = self.name
        return loaded


def _usable(found: Any) -> Any:  # noqa: ANN401
    """An entry point's object, checked.

    Raises:
      TypeError: It lacks a member of the protocol.
      ValueError: Its name is a shipped format's.
    """
    candidate = found() if isinstance(found, type) else found
    missing = [
        member
        for member, kind in (("name", str), ("suffixes", (tuple, list)))
        if not isinstance(getattr(candidate, member, None), kind)
    ] + [
        member
        for member in ("recognises", "load")
        if not callable(getattr(candidate, member, None))
    ]
    if missing:
        raise TypeError(f"it has no {', '.join(missing)}; see vae_batch's CheckpointFormat")
    if candidate.name in {shipped.name for shipped in _SHIPPED}:
        raise ValueError(f"its name {candidate.name!r} is a shipped format's; choose another")
    return candidate
