"""Content of files and folders, local or behind a URI: read, hashed, listed, or copied here."""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pyarrow import fs as arrow_fs

from vae_batch.models.inputs.onnx_content import files_beside, is_onnx
from vae_batch.plan.location import Location, require_regular
from vae_batch.storage.filesystems import open_filesystem, read_pieces, read_start
from vae_batch.storage.retry import looks, retrying

HEAD_BYTES = 4096
_PIECE_BYTES = 4 << 20  # an object store answers one request per piece
_READERS = 16  # files copied at the same time: object stores answer slowly

_Result = TypeVar("_Result")
_Question = Callable[[arrow_fs.FileSystem, str], _Result]


def ask(location: Location, question: _Question[_Result]) -> _Result:
    """Ask a location's file system, on object stores again after transient errors.

    Args:
        location: Local path or URI.
        question: Takes the pyarrow file system and the path in it. Safe to repeat.

    Returns:
        What ``question`` returns.

    Raises:
        InputError: The file system cannot be opened.
        OutageError: An object store failed every time.
        OSError: As ``question`` raises it.
    """
    filesystem, path = open_filesystem(location)
    if location.local_path is not None:
        return question(filesystem, path)
    return retrying(lambda: question(filesystem, path), f"asking for {location.label}")


def _ask_of_file(location: Location, question: _Question[_Result]) -> _Result:
    """As ``ask``, of a file that should exist: an object store must say twice that it does not."""
    for _ in looks(again=location.local_path is None):
        try:
            return ask(location, question)
        except OSError as error:
            if not (isinstance(error, FileNotFoundError) or "NO_SUCH_KEY" in str(error)):
                raise
    raise FileNotFoundError(f"{location.label} does not exist")


def read_head(path: str) -> bytes:
    """Read the first 4096 bytes of a local file or URI; ``b""`` of a folder."""
    if is_folder(path):
        return b""
    location = Location.parse(path)
    if location.local_path is None:
        return _ask_of_file(location, functools.partial(read_start, size=HEAD_BYTES))
    require_regular(location.local_path)
    with location.local_path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def file_type(location: Location) -> arrow_fs.FileType:
    """Whether a location is a file, a folder, something else, or missing."""
    return ask(location, lambda filesystem, path: filesystem.get_file_info(path).type)


def is_folder(path: str) -> bool:
    """Whether a local path or URI is a folder."""
    location = Location.parse(path)
    if location.local_path is not None:
        return location.local_path.is_dir()
    return bool(file_type(location) == arrow_fs.FileType.Directory)


def names_below(folder: Location, *, recursive: bool = True) -> list[str]:
    """Relative paths of all files below a folder; none where the folder is missing."""

    def listed(filesystem: arrow_fs.FileSystem, root: str) -> list[str]:
        selector = arrow_fs.FileSelector(root, recursive=recursive, allow_not_found=True)
        found = filesystem.get_file_info(selector)
        return [entry.path[len(root) :].strip("/") for entry in found if entry.is_file]

    return ask(folder, listed)


def folder_files(path: str) -> list[str]:
    """Relative paths of all files in a folder, sorted, without hidden ones."""
    location = Location.parse(path)
    if (folder := location.local_path) is None:
        names = names_below(location)
    else:
        names = [
            (Path(inner) / file).relative_to(folder).as_posix()
            for inner, _, files in os.walk(folder)
            for file in files
        ]
    return sorted(name for name in names if not is_hidden(name))


@dataclass
class Walk:
    """The files below a local folder; links are followed, and nothing comes twice.

    Attributes:
        files: Relative paths, without hidden ones; those behind links come last.
        broken: Links that lead nowhere.
        irregular: Pipes, sockets and devices, and links to them.
        repeated: Files and folders that a link leads to again.
    """

    files: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    irregular: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def walk(root: str | Path, whole: str | None = None) -> Walk:
    """Walk a local folder; links to its own parents make no circles.

    Args:
        root: The folder.
        whole: A file's name; a folder that holds it is not entered, and gives that file alone.
    """
    found, seen = Walk(), set[tuple[int, int]]()
    folders, links, linked_files = [""], list[str](), list[str]()
    while folders or links:
        relative = (folders or links).pop()
        inside = Path(root, relative)
        try:
            entries = sorted(os.scandir(inside), key=lambda entry: entry.name)
            is_new = _is_new(inside.stat(), seen)
        except OSError:  # no permission, or removed meanwhile
            continue
        if not is_new:
            found.repeated.append(relative.rstrip("/"))
            continue
        if any(entry.name == whole for entry in entries):
            found.files.append(f"{relative}{whole}")
            continue
        for entry in entries:
            path = f"{relative}{entry.name}"
            if is_hidden(entry.name):
                continue
            if _is_dir(entry):
                (links if entry.is_symlink() else folders).append(f"{path}/")
            elif entry.is_symlink():
                linked_files.append(path)
            elif entry.is_file():
                found.files.append(path)
                _is_new(entry.stat(), seen)
            else:
                found.irregular.append(path)
    for path in linked_files:
        try:
            status = Path(root, path).stat()
        except OSError:
            found.broken.append(path)
            continue
        if not stat.S_ISREG(status.st_mode):
            found.irregular.append(path)
        else:
            (found.files if _is_new(status, seen) else found.repeated).append(path)
    return found


def _is_new(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    place = status.st_dev, status.st_ino
    is_new = place not in seen
    seen.add(place)
    return is_new


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_hidden(relative: str) -> bool:
    """Whether a file, or a folder on its path, is hidden."""
    return relative.startswith(".") or "/." in relative


def content_sha256(path: str, *, folder: bool | None = None) -> str:
    """SHA-256 of a file's content, or of a folder's relative paths and contents.

    Files are read in pieces of 4 MiB. Of an ONNX model whose weights lie in files beside it, those
    count too, by name and content.

    Args:
        path: Local path or URI.
        folder: Whether it is a folder; None looks it up, at the price of one request.

    Raises:
        OSError: It cannot be read.
    """
    location = Location.parse(path)
    if not (is_folder(path) if folder is None else folder):
        return _file_sha256(location)
    digest = hashlib.sha256()
    for name in folder_files(path):
        digest.update(f"{name}:{_file_sha256(location / name)};".encode())
    return digest.hexdigest()


def sha256_of_roles(digests: Iterable[tuple[str | None, str]]) -> str:
    """SHA-256 of a checkpoint: of its roles, in order, and the hashes of their files."""
    text = "".join(f"{role}:{digest};" for role, digest in digests)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_sha256(location: Location) -> str:
    if location.local_path is None:
        digest, beside = _ask_of_file(location, _pieces_sha256)
    else:
        digest, beside = _local_sha256(location.local_path), _local_beside(location.local_path)
    if not beside:
        return digest
    parts = [f"{name}:{_own_sha256(_sibling(location, name))};" for name in beside]
    return hashlib.sha256("".join([digest, ";", *parts]).encode()).hexdigest()


def _own_sha256(location: Location) -> str:
    if location.local_path is None:
        return _ask_of_file(location, _pieces_sha256)[0]
    return _local_sha256(location.local_path)


def _local_sha256(path: Path) -> str:
    require_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _local_beside(path: Path) -> tuple[str, ...]:
    """Names of the files beside a local ONNX model that hold its weights; none of other files."""
    with path.open("rb") as stream:
        if not is_onnx(stream.read(HEAD_BYTES)):
            return ()
        return files_beside(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def _sibling(location: Location, name: str) -> Location:
    if location.local_path is not None:
        return Location.parse(str(location.local_path.with_name(name)))
    return location.at(f"{location.path.rpartition('/')[0]}/{name}")


def _pieces_sha256(filesystem: arrow_fs.FileSystem, path: str) -> tuple[str, tuple[str, ...]]:
    """Hash of a remote file, and the names of the files beside it that belong to it."""
    digest, kept = hashlib.sha256(), list[bytes]()
    for number, piece in enumerate(read_pieces(filesystem, path, _PIECE_BYTES)):
        if kept or (number == 0 and is_onnx(piece[:HEAD_BYTES])):
            kept.append(piece)
        digest.update(piece)
    return digest.hexdigest(), files_beside(b"".join(kept))


def fetch(path: str, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> Path:
    """Local path with the content of a file or folder, copied here if it is remote.

    Args:
        path: Local path or ``file:`` URI, returned as a path; or another URI, which is copied.
        folder: Where the copy goes; the caller removes it.
        wanted: Takes a relative path in a remote folder and tells whether to copy that file.

    Raises:
        FileNotFoundError: It does not exist.
        OSError: It cannot be read, or is or holds what is no file, such as a device.
    """
    location = Location.parse(path)
    if (local := location.local_path) is not None:
        for name in folder_files(path) if local.is_dir() else ("",):
            require_regular(local / name)
        return local
    target = folder / (Path(location.path).name or "bucket")
    if not is_folder(path):
        _copy(location, target)
        for name in _local_beside(target):
            _copy(_sibling(location, name), target.with_name(name))
        return target
    target.mkdir(parents=True, exist_ok=True)
    names = [name for name in folder_files(path) if wanted(name)]
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda name: _copy(location / name, target / name), names))
    return target


def _copy(location: Location, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)

    def copy(filesystem: arrow_fs.FileSystem, path: str) -> None:
        with target.open("wb") as file:
            for piece in read_pieces(filesystem, path, _PIECE_BYTES):
                file.write(piece)

    _ask_of_file(location, copy)


class LocalCopy:
    """A temporary local copy, as ``fetch`` makes it; removed with this object or the process.

    Attributes:
        path: The copy; the original where it is local.
    """

    def __init__(self, path: str, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Copy a file or folder; arguments and errors are those of ``fetch``."""
        folder = Path(tempfile.mkdtemp(prefix="vae-batch-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = fetch(path, folder, wanted)
