"""Loads a checkpoint's files as networks: fetched, recognised by content, loaded under limits."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vae_batch.models.formats import limits, registry
from vae_batch.models.formats.format import (
    ArrayVae,
    CheckpointFormat,
    LoadOptions,
    Network,
    Networks,
)
from vae_batch.models.formats.keras.load_model import require_keras
from vae_batch.models.formats.user_modules import states_of, watching_imports
from vae_batch.models.formats.weights_only.built_weights import BuiltWeights, holds_built_weights
from vae_batch.models.inputs.files import content_sha256, fetch, read_head, sha256_of_roles
from vae_batch.models.inputs.unreadable import why_unreadable
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.location import IrregularFileError, Location
from vae_batch.plan.printable import as_name
from vae_batch.storage.retry import OutageError

_log = logging.getLogger(__name__)

# Beside weights, the libraries allocate memory for threads and graphs, and may hang where that
# fails. So the system's limit, which applies only to what no check has seen, adds 1 GiB for them.
_LIBRARIES = 1 << 30


def load_networks(
    files: Mapping[str, str], options: LoadOptions, sha256: str | None = None
) -> Networks | ArrayVae:
    """A checkpoint's networks, or a plug-in's functions.

    The halves may have different formats. Nothing runs: sizes are checked first.

    Args:
        files: Role (``model``, ``encoder`` or ``decoder``) to a local path or URI.
        options: What was declared, whether code may run, and the memory cap.
        sha256: Of the content that the files must have, as in ``Checkpoint``; None for any.

    Raises:
        CheckpointError: Whatever went wrong, and what to do.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        local: dict[str, str] = {}
        try:
            for role, path in files.items():
                _require_text(path)
                local[role] = _fetched(path, Path(folder) / role)
            if sha256 is not None:
                _require_content(files, local, sha256)
            names = _names(files, local)
            before = states_of(local.values())
            with watching_imports(local.values()) as notes:
                loaded = _renamed(_load_local(local, names, options), names)
            if states_of(local.values()) != before:
                raise CheckpointError(
                    f"{' and '.join(names.values())} was overwritten while it was loaded"
                    f"{''.join(f' ({note})' for note in notes)}; run again when nothing writes it"
                )
            if isinstance(loaded, Networks):
                return replace(loaded, warnings=tuple(notes))
            return loaded
        except CheckpointError as error:
            message = _with_names(str(error), _names(files, local))
            raise CheckpointError(message, error.declare) from error


def _names(files: Mapping[str, str], local: Mapping[str, str]) -> dict[str, str]:
    """Local path to what messages call the file: a URI without query and credentials."""
    return {path: Location.parse(files[role]).label for role, path in local.items()}


def _with_names(message: str, names: Mapping[str, str]) -> str:
    for path, name in names.items():
        message = message.replace(path, name)
    return message


def _require_text(path: str) -> None:
    """Refuse a name that is no text: libraries and tables cannot take it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"the name {as_name(path)!r} is not UTF-8 text; rename the file or folder"
        ) from None


def _fetched(path: str, folder: Path) -> str:
    try:
        return str(fetch(path, folder))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OutageError:  # not the checkpoint's fault
        raise
    except IrregularFileError as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {str(error)[:300]}") from error


def _missing(path: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is missing on this worker (node {platform.node()}); give a path or URI that every "
        "worker can read"
    )


def _require_content(files: Mapping[str, str], local: Mapping[str, str], sha256: str) -> None:
    """Refuse files other than those of the plan: overwritten since, or read incorrectly."""
    try:
        found = sha256_of_roles((role, content_sha256(local[role])) for role in sorted(local))
    except OSError:  # loading it will fail, too, and say why
        _log.debug("cannot hash %s", list(local.values()), exc_info=True)
        return
    if found != sha256:
        raise CheckpointError(
            f"{' and '.join(files.values())} has changed since this run began (its content has "
            "another hash); wait until it is saved completely, and run again"
        )


def _load_local(
    local: Mapping[str, str], names: Mapping[str, str], options: LoadOptions
) -> Networks | ArrayVae:
    builder = options.reading.builder is not None
    formats = {role: _format_of(path, names[path], builder) for role, path in local.items()}
    _start_libraries()
    with limits.memory_cap(options.memory_cap + _LIBRARIES):
        if len({known.name for known in formats.values()}) == 1:
            known = next(iter(formats.values()))
            return _load_checked(known, local, options)
        return _joined(
            [_load_checked(known, {role: local[role]}, options) for role, known in formats.items()]
        )


def _format_of(path: str, name: str, builder: bool) -> CheckpointFormat:
    """The first format that recognises a file by its content; with a builder, the one of weights.

    A builder wins over the configuration of a Keras file, which may not be readable.
    """
    try:
        head = read_head(path)
    except FileNotFoundError as error:
        raise _missing(name) from error
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error}") from error
    if builder and holds_built_weights(path, head):
        return BuiltWeights()
    found = registry.format_of(path, head)
    if found is None:
        raise CheckpointError(why_unreadable(path, head, name))
    return found


def _start_libraries() -> None:
    """Check Keras, and allocate what TensorFlow needs once per process before memory is capped."""
    import tensorflow as tf

    require_keras()
    tf.constant(0)


def _load_checked(
    known: CheckpointFormat, local: Mapping[str, str], options: LoadOptions
) -> Networks | ArrayVae:
    who, cap = " and ".join(local.values()), limits.over_cap(options.memory_cap)
    try:
        with limits.weight_budget(options.memory_cap, who, cap):
            loaded = known.load(local, options)
    except CheckpointError:
        raise
    except Exception as error:  # a library or the user's code may raise anything
        if limits.ran_out_of_memory(error):
            declare = limits.cap_for(options.memory_cap)
            raise CheckpointError(f"{who} takes more memory to load{cap}", declare) from error
        raise CheckpointError(
            f"{who} cannot be loaded as {known.name}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    if isinstance(loaded, Networks):
        for network in (loaded.encoder, loaded.decoder, loaded.whole):
            if network is not None:
                limits.require_small_activations(network, options.memory_cap)
    return loaded


def _joined(loaded: list[Networks | ArrayVae]) -> Networks:
    """Halves of different formats as one checkpoint."""
    parts = [part for part in loaded if isinstance(part, Networks)]
    if len(parts) < len(loaded):
        raise CheckpointError(
            "a half in a plug-in's format can only be joined with a half of the same plug-in; save "
            "both halves in one format"
        )
    return Networks(
        format="+".join(dict.fromkeys(part.format for part in parts)),
        encoder=next((part.encoder for part in parts if part.encoder is not None), None),
        decoder=next((part.decoder for part in parts if part.decoder is not None), None),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _renamed(loaded: Networks | ArrayVae, names: Mapping[str, str]) -> Networks | ArrayVae:
    """Networks that call the files as the user does."""
    if not isinstance(loaded, Networks):
        return loaded

    def renamed(network: Network | None) -> Network | None:
        return network and replace(network, source=_with_names(network.source, names))

    return replace(
        loaded,
        encoder=renamed(loaded.encoder),
        decoder=renamed(loaded.decoder),
        whole=renamed(loaded.whole),
        notes=tuple(_with_names(note, names) for note in loaded.notes),
    )
