"""The kind of a file by its content, for errors; which format loads it: ``formats/registry.py``.

Nothing is unpickled or unpacked: only the head of a file is read, and an archive's list of names.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vae_batch.models.inputs.files import HEAD_BYTES

FileKind = Literal[
    "keras",  # zip with config.json
    "zip",
    "truncated_zip",
    "hdf5",
    "truncated_hdf5",
    "saved_model",
    "folder",
    "pickle",  # also PyTorch's zip of a pickle
    "tf_checkpoint",
    "npz",
    "npy",
    "safetensors",
    "lfs_pointer",
    "html",
    "json",
    "text",
    "empty",
    "missing",
    "unknown",
]

SAVED_MODEL = "saved_model.pb"  # a folder that holds it is one model

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_STARTS = (0, 512, 1024, 2048)  # after a user block
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends a TensorFlow checkpoint's .index
_TF_NAME = re.compile(r"\.(?:index|data-[0-9]{5}-of-[0-9]{5})$")
_LFS = b"version https://git-lfs"
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
_ANNEX = re.compile(rb"^/?(?:\.git/)?annex/objects/")

_END = struct.Struct("<4s4H2LH")  # end of central directory, without its comment
_END_64 = struct.Struct("<4sQ2H2L4Q")  # the same of a zip64 archive, before it
_LOCATOR_64 = 20
_LONGEST_COMMENT = 1 << 16
_MOST_ENTRIES = 10_000
_LARGEST_TABLE = 16 << 20


def kind_of(path: str, head: bytes) -> FileKind:
    """Kind of a local file or folder.

    Args:
        path: The file; its name decides only where the content does not, as for raw tensors.
        head: Its first 4096 bytes, or all of a shorter file; ``b""`` for a folder.
    """
    if os.path.isdir(path):
        return "saved_model" if Path(path, SAVED_MODEL).exists() else "folder"
    if not head:
        return "empty" if os.path.exists(path) else "missing"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_kind(path)
    if _hdf5_start(head) is not None:
        return "truncated_hdf5" if hdf5_size(head) > os.path.getsize(path) else "hdf5"
    return _kind_of_bytes(head) or _kind_by_end(path) or _kind_of_text(head)


def _zip_kind(path: str) -> FileKind:
    contents = read_zip_contents(path)
    if contents.problem is not None:
        return "truncated_zip" if contents.problem == "truncated" else "zip"
    names = contents.names
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "pickle"
    if "config.json" in names:
        return "keras"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _hdf5_start(head: bytes) -> int | None:
    return next((start for start in _HDF5_STARTS if head.startswith(_HDF5, start)), None)


def hdf5_size(head: bytes) -> int:
    """Size in bytes that an HDF5 file states in its superblock, or 0 if it states none.

    Source: https://docs.hdfgroup.org/archive/support/HDF5/doc/H5.format.html
    """
    block = head[_hdf5_start(head) or 0 :]
    version = block[8] if len(block) > 8 else 255
    if version > 3:
        return 0
    at, width = (12, block[9]) if version >= 2 else (24 + 4 * version, block[13])
    end = block[at + 2 * width : at + 3 * width]
    undefined = len(end) < width or end == b"\xff" * width
    return 0 if undefined else int.from_bytes(end, "little")


def _kind_of_bytes(head: bytes) -> FileKind | None:
    if head.startswith(_LFS) or _ANNEX.match(head):
        return "lfs_pointer"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 1 << 30:
        return "safetensors"
    if _HTML.match(head):
        return "html"
    return "tf_checkpoint" if head.startswith(b"model_checkpoint_path:") else None


def _kind_by_end(path: str) -> FileKind | None:
    """Kinds that the head does not show: by the last bytes, or by the name."""
    if _TF_NAME.search(path) or _last_bytes(path, len(_TABLE_MAGIC)) == _TABLE_MAGIC:
        return "tf_checkpoint"
    return "pickle" if path.endswith((".pkl", ".pickle")) else None


def _last_bytes(path: str, count: int) -> bytes:
    with open(path, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - count))
        return stream.read()


def _kind_of_text(head: bytes) -> FileKind:
    text = text_of(head)
    if text is None or any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return "unknown"
    return "json" if text.lstrip()[:1] in ("{", "[") else "text"


def text_of(head: bytes) -> str | None:
    """The head as UTF-8 text, or None; a letter cut off at its end is dropped."""
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < HEAD_BYTES or error.start < len(head) - 3:
            return None
        return head[: error.start].decode("utf-8-sig")


@dataclass(frozen=True)
class ZipContents:
    """A zip archive's table of contents.

    Attributes:
        names: Names of its members.
        problem: Why they could not be read: ``truncated`` or ``oversized``, else None.
    """

    names: tuple[str, ...] = ()
    problem: str | None = None


def read_zip_contents(
    path: str, most_entries: int = _MOST_ENTRIES, largest_table: int = _LARGEST_TABLE
) -> ZipContents:
    """Read the members' names in bounded memory, without unpacking anything.

    An archive without its end is truncated, since its table of contents is written last. A table
    of more members or bytes than given is not read; no model needs more than the defaults.
    """
    try:
        entries, table = _table_size(path)
        if entries > most_entries or table > largest_table:
            return ZipContents(problem="oversized")
        with zipfile.ZipFile(path) as archive:
            return ZipContents(tuple(archive.namelist()))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return ZipContents(problem="truncated")


def _table_size(path: str) -> tuple[int, int]:
    """Entries and bytes of the table of contents, as the archive's end states them."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        longest = _LONGEST_COMMENT + _END.size + _LOCATOR_64 + _END_64.size
        stream.seek(max(0, size - longest))
        tail = stream.read()
    start = tail.rfind(b"PK\x05\x06")
    if start < 0 or len(tail) - start < _END.size:
        raise ValueError("no end of central directory")
    fields = _END.unpack_from(tail, start)
    entries, table = fields[4], fields[5]
    start_64 = start - _LOCATOR_64 - _END_64.size
    if start_64 >= 0 and tail.startswith(b"PK\x06\x06", start_64):
        fields = _END_64.unpack_from(tail, start_64)
        entries, table = max(entries, fields[7]), max(table, fields[8])
    return entries, table
