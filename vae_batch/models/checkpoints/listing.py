"""The files that a path, folder, glob or URI names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints.suffixes import has_known_suffix, known_suffixes
from vae_batch.models.checkpoints.wildcards import NO_MATCH, Match, Wildcards, compile_pattern
from vae_batch.models.inputs.file_kind import SAVED_MODEL
from vae_batch.models.inputs.files import file_type, is_hidden, names_below
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri


@dataclass(frozen=True)
class FoundFile:
    """A checkpoint's file, or the folder of a SavedModel.

    Attributes:
      label: Its path as the user knows it; of a URI without query.
      path: What opens it: a local path, or a URI with its query.
      folder: Whether it is a SavedModel's folder.
      match: What the pattern's wildcards stand for in it.
    """

    label: str
    path: str
    folder: bool = False
    match: Match = NO_MATCH


def find_files(pattern: str) -> list[FoundFile]:
    """Files named by a path, folder, glob or URI; none where nothing matches.

    A file that is named in full, or by a glob that ends in plain text, is taken whatever its
    name; of a folder, or by a glob such as ``runs/*``, those with a known suffix.

    Raises:
      InputError: The pattern cannot be understood, or the store cannot be reached.
    """
    if is_uri(pattern):
        uri = Location.parse(pattern)
        try:
            return _uri_files(uri)
        except OSError as error:
            raise InputError(f"{uri.label} cannot be listed: {error}") from error
    pattern = Path(pattern).expanduser().as_posix()
    if os.path.lexists(pattern):  # wildcards in a name that exists stand for themselves
        return list(_local_files(pattern, any_name=True))
    wildcards = compile_pattern(pattern)
    if wildcards.is_literal:
        return []
    found: list[FoundFile] = []
    for name in sorted(glob.iglob(wildcards.glob, recursive=True)):
        match = wildcards.match(name)
        if match is not None or not wildcards.has_step:
            files = _local_files(Path(name).as_posix(), any_name=wildcards.names_a_suffix)
            found += [replace(file, match=match or NO_MATCH) for file in files]
    return _without_inner_files(found)


def files_beside(path: str) -> list[FoundFile]:
    """Files with a known suffix in the folder of a path or URI, not below it.

    Local SavedModel folders are found too; in a store, each would cost a request.
    """
    if is_uri(path):
        uri = Location.parse(path)
        folder = uri.path.rpartition("/")[0]
        names = [name for name in names_below(uri.at(folder), recursive=False)]
        return [
            _in_uri(uri, f"{folder}/{name}".strip("/"), inner)
            for name, inner in checkpoint_names(names)
        ]
    parent = Path(path).expanduser().parent
    names = sorted(os.listdir(parent)) if parent.is_dir() else []
    beside = [(parent / name).as_posix() for name in names if not is_hidden(name)]
    return [
        file
        for path in beside
        if not Path(path).is_dir() or Path(path, SAVED_MODEL).exists()
        for file in _local_files(path, any_name=False)
    ]


def _local_files(path: str, *, any_name: bool) -> Iterator[FoundFile]:
    """The checkpoint files that a path stands for: itself, or those below it."""
    if Path(path).is_dir():
        for name, folder in checkpoint_names(_walk(path)):
            inner = Path(path, name).as_posix()
            yield FoundFile(inner, inner, folder)
    elif Path(path).name == SAVED_MODEL:
        folder_path = Path(path).parent.as_posix()
        yield FoundFile(folder_path, folder_path, folder=True)
    elif _is_file(path) and (any_name or has_known_suffix(path)):
        yield FoundFile(path, path)


def _is_file(path: str) -> bool:
    """Whether it is a file, or a broken link: one that costs its row and is not passed over."""
    return Path(path).is_file() or (Path(path).is_symlink() and not Path(path).exists())


def _walk(root: str) -> Iterator[str]:
    """Relative paths of all files below a folder; of a SavedModel's folder, one file only.

    Linked folders come last and no folder comes twice, so that links make no circles.
    """
    folders, links, seen = [""], list[str](), set[tuple[int, int]]()
    while folders or links:
        relative = (folders or links).pop()
        inside = Path(root, relative)
        try:
            status = inside.stat()
            entries = sorted(os.scandir(inside), key=lambda entry: entry.name)
        except OSError:  # not ours to read
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if any(entry.name == SAVED_MODEL for entry in entries):
            yield f"{relative}{SAVED_MODEL}"
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_dir(entry):
                (links if entry.is_symlink() else folders).append(f"{relative}{entry.name}/")
            elif entry.is_symlink() or entry.is_file():
                yield f"{relative}{entry.name}"


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def checkpoint_names(names: Iterable[str]) -> list[tuple[str, bool]]:
    """Of the relative paths in a folder, those that a scan takes.

    Returns:
      Path and whether it is a SavedModel's folder (``""`` for the scanned folder itself).
    """
    visible = [name for name in names if not is_hidden(name)]
    folders = {
        name.rpartition("/")[0] for name in visible if name.rpartition("/")[2] == SAVED_MODEL
    }
    taken = {(folder, True) for folder in folders if not _is_below(folder, folders)}
    suffixes = known_suffixes()
    taken |= {
        (name, False)
        for name in visible
        if name.lower().endswith(suffixes) and not (folders and _is_below(name, folders))
    }
    return sorted(taken)


def _is_below(path: str, folders: set[str]) -> bool:
    """Whether a path lies in one of some folders; a folder does not lie in itself."""
    if path == "":
        return False
    pieces = path.split("/")
    return any("/".join(pieces[:count]) in folders for count in range(len(pieces)))


def _without_inner_files(files: list[FoundFile]) -> list[FoundFile]:
    """Drops what a glob matched within a SavedModel's folder, such as its assets."""
    folders = {file.label for file in files if file.folder}
    return [file for file in files if not (folders and _is_below(file.label, folders))]


def _uri_files(uri: Location) -> list[FoundFile]:
    wildcards = compile_pattern(uri.path)
    status = file_type(uri)
    if status == arrow_fs.FileType.File:
        if uri.path.rpartition("/")[2] == SAVED_MODEL:
            return [_in_uri(uri, uri.path.rpartition("/")[0], folder=True)]
        return [_in_uri(uri, uri.path, folder=False)]
    if status == arrow_fs.FileType.Directory or wildcards.is_literal:
        return [
            _in_uri(uri, f"{uri.path}/{name}".strip("/"), folder)
            for name, folder in checkpoint_names(names_below(uri))
        ]
    return _matching_in_uri(uri, wildcards)


def _matching_in_uri(uri: Location, wildcards: Wildcards) -> list[FoundFile]:
    """Files that a pattern matches, and those below the folders that it matches."""
    root = wildcards.fixed_folder
    names = [name for name in names_below(uri.at(root)) if not is_hidden(name)]
    scanned = set(checkpoint_names(names))
    any_name = {(name, False) for name in names if wildcards.names_a_suffix}
    found: list[FoundFile] = []
    for name, folder in sorted(scanned | any_name):
        path = f"{root}/{name}".strip("/")
        match = wildcards.match(f"{path}/{SAVED_MODEL}") if folder else None
        match = match or wildcards.match(path)
        if match is None and (name, folder) in scanned:
            match = _match_of_folder(path, wildcards)
        if match is not None:
            found.append(replace(_in_uri(uri, path, folder), match=match))
    return _without_inner_files(found)


def _match_of_folder(name: str, wildcards: Wildcards) -> Match | None:
    """The match of the lowest folder above a file that matches."""
    while "/" in name:
        name = name.rpartition("/")[0]
        match = wildcards.match(name)
        if match is not None:
            return match
    return None


def _in_uri(uri: Location, path: str, folder: bool) -> FoundFile:
    inner = uri.at(path)
    return FoundFile(inner.label, inner.address, folder)
