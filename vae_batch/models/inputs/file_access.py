"""Bytes of checkpoint files, local or behind a URI: whole, hashed, or brought here."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyarrow import fs as arrow_fs

from vae_batch.models.inputs.uri import Uri, is_uri
from vae_batch.storage.whole_reads import read_pieces, read_start, read_whole

HEAD_BYTES = 4096
_CHUNK = 4 << 20  # an object store answers a request a piece


def read_file(path: str) -> bytes:
    """Content of a local file or URI, whole.

    Raises:
      FileNotFoundError: There is none.
      OSError: It cannot be read, of object stores also after retries.
    """
    if is_uri(path):
        return Uri.parse(path).ask_of_file(read_whole)
    return Path(path).expanduser().read_bytes()


def read_head(path: str) -> bytes:
    """The first 4096 bytes of a local file or URI; none of a folder's."""
    if is_folder(path):
        return b""
    if is_uri(path):
        return Uri.parse(path).ask_of_file(functools.partial(read_start, size=HEAD_BYTES))
    with Path(path).expanduser().open("rb") as stream:
        return stream.read(HEAD_BYTES)


def is_folder(path: str) -> bool:
    """Whether a local path or URI is a folder."""
    if not is_uri(path):
        return Path(path).expanduser().is_dir()
    info = Uri.parse(path).ask(lambda filesystem, inner: filesystem.get_file_info(inner))
    return bool(info.type == arrow_fs.FileType.Directory)


def folder_files(path: str) -> list[str]:
    """Relative paths of all files in a folder, sorted; hidden ones are left out."""
    if is_uri(path):
        names = Uri.parse(path).names_below()
    else:
        folder = Path(path).expanduser()
        names = [
            (Path(inner) / file).relative_to(folder).as_posix()
            for inner, _, files in os.walk(folder)
            for file in files
        ]
    return sorted(name for name in names if not is_hidden(name))


def is_hidden(relative: str) -> bool:
    """Whether a file, or a folder on its way, is hidden."""
    return relative.startswith(".") or "/." in relative


def file_in(folder: str, relative: str) -> str:
    """A file below a folder that is a local path or URI."""
    if is_uri(folder):
        uri = Uri.parse(folder)
        return uri.at(f"{uri.path}/{relative}").address
    return f"{folder}/{relative}"


def content_sha256(path: str, *, folder: bool | None = None) -> str:
    """Hash of a file's content, or of a folder's relative paths and contents.

    Files are read in pieces of 4 MiB, whatever their size.

    Args:
      path: Local path or URI.
      folder: Whether it is a folder; looked up when None, which asks an object store once more.

    Raises:
      OSError: It cannot be read.
    """
    if not (is_folder(path) if folder is None else folder):
        return _stream_sha256(path)
    digest = hashlib.sha256()
    for name in folder_files(path):
        digest.update(f"{name}:{_stream_sha256(file_in(path, name))};".encode())
    return digest.hexdigest()


def sha256_of_roles(digests: Iterable[tuple[str | None, str]]) -> str:
    """Hash of a checkpoint's content: of its roles, in order, and the hashes of their files."""
    text = "".join(f"{role}:{digest};" for role, digest in digests)
    return hashlib.sha256(text.encode()).hexdigest()


def _stream_sha256(path: str) -> str:
    if is_uri(path):
        return Uri.parse(path).ask_of_file(_pieces_sha256)
    with Path(path).expanduser().open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pieces_sha256(filesystem: Any, inner: str) -> str:  # noqa: ANN401 - pyarrow has no types
    digest = hashlib.sha256()
    for piece in read_pieces(filesystem, inner, _CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def fetch(path: str, folder: Path) -> Path:
    """A local path with the content of a checkpoint's file or SavedModel folder.

    Args:
      path: Local path (given back as it stands) or URI (copied in pieces of 4 MiB).
      folder: Where copies go; the caller removes it.

    Raises:
      FileNotFoundError: There is none.
    """
    if not is_uri(path):
        return Path(path).expanduser()
    uri = Uri.parse(path)
    if uri.local_path is not None:
        return Path(uri.local_path)
    target = folder / Path(uri.path).name
    if not is_folder(path):
        _copy(path, target)
    else:
        for name in folder_files(path):
            _copy(file_in(path, name), target / name)
    return target


def _copy(path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)

    def copy(filesystem: Any, inner: str) -> None:  # noqa: ANN401
        with target.open("wb") as file:
            for piece in read_pieces(filesystem, inner, _CHUNK):
                file.write(piece)

    Uri.parse(path).ask_of_file(copy)
