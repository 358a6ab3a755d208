"""A checkpoint's files to its networks: brought here, told apart by content, loaded in bounds."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vae_batch.models.formats import limits as memory
from vae_batch.models.formats import registry
from vae_batch.models.formats.format import (
    ArrayVae,
    CheckpointFormat,
    LoadOptions,
    Network,
    Networks,
)
from vae_batch.models.formats.keras.keras_file import require_keras
from vae_batch.models.inputs.files import content_sha256, fetch, read_head, sha256_of_roles
from vae_batch.models.inputs.unreadable import why_unreadable
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.location import Location
from vae_batch.storage.retry import OutageError

# Beside weights, the libraries take memory for threads and graphs; where that is refused, they may
# wait for ever. So the system's limit, which meets only what no check has seen, leaves them some.
_LIBRARIES = 1 << 30


def load_networks(
    files: Mapping[str, str], terms: LoadOptions, sha256: str | None = None
) -> Networks | ArrayVae:
    """A checkpoint's networks, or a plug-in's arrays.

    Halves may be of different formats. Nothing is run: sizes are checked first.

    Args:
      files: Role (``model``, ``encoder`` or ``decoder``) to a local path or URI.
      terms: What was declared, whether code may be run, and the memory cap.
      sha256: Of the content, as `Checkpoint` has it, that the files must have; None for any.

    Raises:
      CheckpointError: Whatever went wrong, and what to do.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        local: dict[str, str] = {}
        try:
            for role, path in files.items():
                local[role] = _brought(path, Path(folder) / role)
            if sha256 is not None:
                _require_content(files, local, sha256)
            names = {local[role]: _shown(path) for role, path in files.items()}
            return _renamed(_load_local(local, names, terms), names)
        except CheckpointError as error:
            names = {local[role]: _shown(files[role]) for role in local}
            raise CheckpointError(_with_names(str(error), names), error.declare) from error


def _shown(path: str) -> str:
    """What messages and stored descriptions call a file: a URI without query and credentials."""
    return Location.parse(path).label


def _brought(path: str, folder: Path) -> str:
    try:
        return str(fetch(path, folder))
    except FileNotFoundError:
        raise _missing(path) from None
    except OutageError:  # no fault of the checkpoint's
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {str(error)[:300]}") from error


def _require_content(files: Mapping[str, str], local: Mapping[str, str], sha256: str) -> None:
    """Refuse files that are not those a plan was made for: saved over, or read wrong."""
    try:
        found = sha256_of_roles((role, content_sha256(local[role])) for role in sorted(local))
    except OSError:
        return  # whoever reads it next says what it is
    if found != sha256:
        raise CheckpointError(
            f"{' and '.join(files.values())} has changed since this run began (its content has "
            "another hash); let it be saved to the end, and run again"
        )


def _missing(path: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is missing on this worker (node {platform.node()}); give a path or URI that every "
        "worker can read"
    )


def _load_local(
    local: Mapping[str, str], names: Mapping[str, str], terms: LoadOptions
) -> Networks | ArrayVae:
    formats = {role: _format_of(path, names[path]) for role, path in local.items()}
    _start_libraries()
    with memory.memory_cap(terms.memory_cap + _LIBRARIES):
        if len({known.name for known in formats.values()}) == 1:
            known = next(iter(formats.values()))
            return _load_checked(known, local, terms)
        loaded = [
            _load_checked(known, {role: local[role]}, terms) for role, known in formats.items()
        ]
    return _joined(loaded)


def _format_of(path: str, name: str) -> CheckpointFormat:
    """The first format that takes a file, by its content."""
    try:
        head = read_head(path)
    except FileNotFoundError:
        raise _missing(name) from None
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error}") from error
    for known in registry.formats():
        if known.recognises(path, head):
            return known
    raise CheckpointError(why_unreadable(path, head, name))


def _start_libraries() -> None:
    """Check Keras, and start what takes memory once a process before memory is measured."""
    import tensorflow as tf

    require_keras()
    tf.constant(0)


def _load_checked(
    known: CheckpointFormat, local: Mapping[str, str], terms: LoadOptions
) -> Networks | ArrayVae:
    who, cap = " and ".join(local.values()), memory.over_cap(terms.memory_cap)
    try:
        with memory.weight_budget(terms.memory_cap, who, cap):
            loaded = known.load(local, terms)
    except CheckpointError:
        raise
    except Exception as error:  # a library's or a user's; each means: cannot be loaded
        if memory.ran_out_of_memory(error):
            declare = memory.cap_for(terms.memory_cap)
            raise CheckpointError(f"{who} takes more memory to load{cap}", declare) from error
        raise CheckpointError(
            f"{who} cannot be loaded as {known.name}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    if isinstance(loaded, Networks):
        for network in (loaded.encoder, loaded.decoder, loaded.whole):
            if network is not None:
                memory.require_small_activations(network, terms.memory_cap)
    return loaded


def _joined(loaded: list[Networks | ArrayVae]) -> Networks:
    """Halves of different formats as one checkpoint."""
    parts = [part for part in loaded if isinstance(part, Networks)]
    if len(parts) < len(loaded):
        raise CheckpointError(
            "a half in a plug-in's format goes with a half of the same plug-in only; save both "
            "halves in one format"
        )
    return Networks(
        format="+".join(dict.fromkeys(part.format for part in parts)),
        encoder=next((part.encoder for part in parts if part.encoder is not None), None),
        decoder=next((part.decoder for part in parts if part.decoder is not None), None),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _renamed(loaded: Networks | ArrayVae, names: Mapping[str, str]) -> Networks | ArrayVae:
    """Networks that name the files as the user does."""
    if not isinstance(loaded, Networks):
        return loaded

    def named(network: Network | None) -> Network | None:
        if network is None:
            return None
        return replace(network, source=_with_names(network.source, names))

    return replace(
        loaded,
        encoder=named(loaded.encoder),
        decoder=named(loaded.decoder),
        whole=named(loaded.whole),
        notes=tuple(_with_names(note, names) for note in loaded.notes),
    )


def _with_names(message: str, names: Mapping[str, str]) -> str:
    for path, name in names.items():
        message = message.replace(path, name)
    return message
