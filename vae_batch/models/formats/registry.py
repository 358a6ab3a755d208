"""Which checkpoint formats there are: the shipped ones, then those of plug-ins."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vae_batch.models.formats.format import ArrayVae, CheckpointFormat, LoadOptions, Networks
from vae_batch.models.formats.keras.hdf5_file import Hdf5File
from vae_batch.models.formats.keras.keras_file import KerasFile, TfKerasFile
from vae_batch.models.formats.onnx.onnx_file import OnnxFile
from vae_batch.models.formats.saved_model.saved_model import SavedModelFolder
from vae_batch.models.formats.weights_only.built_weights import BuiltWeights
from vae_batch.plan.errors import CheckpointError

ENTRY_POINTS = "vae_batch.checkpoints"

_log = logging.getLogger(__name__)

# A file belongs to the first format that recognises it. Metadata distinguishes a zip of tf.keras 2
# from one of Keras 3, an attribute distinguishes HDF5 with an architecture from HDF5 without.
_SHIPPED: tuple[CheckpointFormat, ...] = (
    SavedModelFolder(),
    TfKerasFile(),
    KerasFile(),
    Hdf5File(),
    BuiltWeights(),
    OnnxFile(),
)


def formats() -> tuple[CheckpointFormat, ...]:
    """The shipped formats, then those of the entry points ``vae_batch.checkpoints``, by name.

    An entry point is an object with the members of
    :class:`~vae_batch.models.formats.format.CheckpointFormat`, or a class whose instances have
    them. One that cannot be used is listed as a format that takes the files whose names end in its
    own (``.toy`` for the entry point ``toy``) and refuses them with the reason.
    """
    return _SHIPPED + _plug_ins(tuple(sys.path))


def format_of(path: str, head: bytes) -> CheckpointFormat | None:
    """The format that a file is of, by its content; None where it is none.

    Args:
        path: Of a local file or folder.
        head: Its first bytes, as ``read_head`` gives them.
    """
    return next((known for known in formats() if known.recognises(path, head)), None)


def suffixes() -> tuple[str, ...]:
    """File name endings that a scan of a folder includes; does not import TensorFlow or Keras."""
    return tuple({ending: None for known in formats() for ending in known.suffixes})


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
        self._broken: Exception | None = None
        try:
            self._format = _usable(entry.load())
            self.name, self.suffixes = self._format.name, tuple(self._format.suffixes)
        except Exception as error:  # another package's code; reported when it is used
            _log.debug("%s cannot be used", self._title, exc_info=True)
            self._broken = error

    def recognises(self, path: str, head: bytes) -> bool:
        """As the plug-in says; where it raises, by the end of the name."""
        if self._broken is None:
            try:
                return bool(self._format.recognises(path, head))
            except Exception:  # another package's code
                _log.debug("%s cannot recognise %s", self._title, path, exc_info=True)
        return path.endswith(self.suffixes)

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks | ArrayVae:
        """See the protocol."""
        if self._broken is not None:
            why = f"{type(self._broken).__name__}: {self._broken}"
            raise CheckpointError(
                f"{self._title} cannot be used ({why[:300]}); fix or uninstall it"
            ) from self._broken
        try:
            loaded: Networks | ArrayVae = self._format.load(files, options)
        except CheckpointError:
            raise
        except Exception as error:  # another package's code
            raise CheckpointError(
                f"{self._title} failed: {type(error).__name__}: {str(error)[:300]}"
            ) from error
        if not isinstance(loaded, Networks) and not hasattr(loaded, "format"):
            with contextlib.suppress(AttributeError):  # an object without free attributes
                loaded.format = self.name  # type: ignore[attr-defined]
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
