"""The sentence for a file that no format can read: what it is, and what to do."""

from __future__ import annotations

import os
import re

from vae_batch.models.inputs.file_kind import (
    FileKind,
    hdf5_size,
    kind_of,
    read_zip_contents,
    text_of,
)
from vae_batch.models.inputs.files import is_hidden

_COPY_AGAIN = "its writing, copy or download was interrupted; save or copy it again"
_SAVE = "save the model with model.save('vae.keras')"
_PLUG_IN = (
    "export it as .onnx, or read it with a plug-in of the entry point vae_batch.checkpoints, as "
    "the documentation shows"
)
_SHOWN = 5


def why_unreadable(path: str, head: bytes, name: str | None = None) -> str:
    """Say what a file is that cannot be read as a checkpoint, and what to do about it.

    Args:
        path: Local file or folder.
        head: Its first 4096 bytes, or all of a shorter file; ``b""`` for a folder.
        name: What to call it in the message, if not by its path.

    Returns:
        A sentence without its full stop.
    """
    kind = kind_of(path, head)
    words = _SENTENCES[kind] if kind in _SENTENCES else _DETAILS[kind](path, head)
    return f"{name or path} {words}"


_SENTENCES: dict[FileKind, str] = {
    "empty": (
        f"is an empty file of 0 bytes; {_COPY_AGAIN}; if saving it raised an error, save its "
        "encoder and decoder instead, as encoder.keras and decoder.keras in one folder"
    ),
    "missing": "does not exist on this machine; give a path or URI that every worker can read",
    "html": (
        "is a web page, not a model: probably the error or login page of a download; download the "
        "file again, from the link to the file itself"
    ),
    "tf_checkpoint": (
        "is a part of a TensorFlow checkpoint, which holds weights but no model, and which Keras 3 "
        "does not load; build the same model with tf_keras (pip install tf-keras), load the "
        "checkpoint with model.load_weights('folder/name'), its path without .index, and call "
        "model.save('vae.h5')"
    ),
    "npz": f"is a NumPy archive of arrays, not a model; {_SAVE}, {_PLUG_IN}",
    "npy": f"is a NumPy array, not a model; {_SAVE}, {_PLUG_IN}",
    "safetensors": (
        "is a safetensors file, which holds weights but no model; load it into the model and "
        f"{_SAVE}, {_PLUG_IN}"
    ),
    "keras": f"is a zip archive with a config.json, but not one that Keras wrote; {_SAVE}",
    "hdf5": f"is an HDF5 file, but holds neither a Keras model nor Keras weights; {_SAVE}",
    "saved_model": (
        "is a SavedModel, but cannot be read as one; save it again with model.export(...) or "
        "tf.saved_model.save(...)"
    ),
}


def _pickle(path: str, head: bytes) -> str:
    words = "a PyTorch file (a zip of a pickle)" if head[:2] == b"PK" else "a pickle"
    return (
        f"is {words}; a pickle runs code when it is opened, so it is refused; {_SAVE}, {_PLUG_IN}"
    )


def _pointer(path: str, head: bytes) -> str:
    if b"annex/objects" in head[:200]:
        return "is a git-annex pointer, not the file that it points to; run git annex get on it"
    size = re.search(rb"^size ([0-9]{1,18})$", head, re.MULTILINE)
    real = f" of {int(size[1]):,} bytes" if size else ""
    return (
        f"is a Git LFS pointer, not the file{real} that it points to; run git lfs pull in its "
        "repository, or download the file itself"
    )


def _truncated_zip(path: str, head: bytes) -> str:
    return (
        f"is a zip archive, as .keras files are, but its end is missing after "
        f"{os.path.getsize(path):,} bytes: it is truncated or damaged; {_COPY_AGAIN}"
    )


def _truncated_hdf5(path: str, head: bytes) -> str:
    return (
        f"is an HDF5 file of {hdf5_size(head):,} bytes of which {os.path.getsize(path):,} are "
        f"here: it is truncated; {_COPY_AGAIN}"
    )


def _zip(path: str, head: bytes) -> str:
    contents = read_zip_contents(path)
    if contents.problem is not None:
        return f"is a zip archive with a table of contents too large for any model; {_SAVE}"
    inner = [name for name in contents.names if not name.endswith("/")]
    found = f"it holds {_list(inner)}"
    if any(name.endswith((".keras", ".h5", ".hdf5", "saved_model.pb")) for name in inner):
        return f"is a zip archive around a model, not the model itself ({found}); unzip it"
    return f"is a zip archive without config.json, so it is not a .keras file ({found}); {_SAVE}"


def _folder(path: str, head: bytes) -> str:
    names = sorted(name for name in os.listdir(path) if not is_hidden(name))
    return (
        f"is a folder without saved_model.pb, so it is not a SavedModel (it holds {_list(names)}); "
        "name the file or folder of the model itself"
    )


def _json(path: str, head: bytes) -> str:
    if b'"class_name"' in head:
        return (
            "is the JSON of a model's architecture, without weights; build the model with its "
            f"weights and {_SAVE}"
        )
    return f"is JSON, not a model ({_beginning(head)}); {_SAVE}"


def _text(path: str, head: bytes) -> str:
    return f"is a text file, not a model ({_beginning(head)}); {_SAVE}"


def _unknown(path: str, head: bytes) -> str:
    if not head.strip(b"\0"):
        return f"begins with {len(head):,} zero bytes, so it was never fully written; {_COPY_AGAIN}"
    return (
        f"is of no known format (it begins with the bytes {head[:8].hex(' ')}); {_SAVE}, {_PLUG_IN}"
    )


def _beginning(head: bytes) -> str:
    line = (text_of(head) or "").strip().partition("\n")[0]
    return f"it begins with {line[:40].strip()!r}"


def _list(names: list[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "nothing"


_DETAILS = {
    "pickle": _pickle,
    "lfs_pointer": _pointer,
    "truncated_zip": _truncated_zip,
    "truncated_hdf5": _truncated_hdf5,
    "zip": _zip,
    "folder": _folder,
    "json": _json,
    "text": _text,
    "unknown": _unknown,
}
