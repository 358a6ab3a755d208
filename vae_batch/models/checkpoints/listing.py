"""The files that a path, folder, glob or URI names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints.names import has_known_suffix, known_suffixes
from vae_batch.models.checkpoints.patterns import NO_MATCH, Match, Pattern, compile_pattern
from vae_batch.models.inputs.file_kind import SAVED_MODEL
from vae_batch.models.inputs.files import file_type, is_hidden, names_below, walk
from vae_batch.models.sample_sets import Samples, samples_held
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri


@dataclass(frozen=True)
class FoundFile:
    """A checkpoint's file, the folder of a SavedModel, or a set of generated images.

    Attributes:
        label: Its path as the user knows it; of a URI without query.
        path: What opens it: a local path, or a URI with its query.
        folder: Whether it is a SavedModel's folder, or that of a set of images.
        match: What the pattern's wildcards stand for in it.
        samples: What a set of generated images, or of their features, holds; None of a model.
    """

    label: str
    path: str
    folder: bool = False
    match: Match = NO_MATCH
    samples: Samples | None = None

    @property
    def local_path(self) -> Path | None:
        """Its path on this machine; None in an object store."""
        return Location.parse(self.path).local_path


def find_files(pattern: str) -> list[FoundFile]:
    """Files named by a path, folder, glob or URI; none if nothing matches.

    A file that is named in full, or by a glob that ends in plain text, may have any name. In a
    folder, or by a glob such as ``runs/*``, only files with a known suffix are found; a folder
    without any that holds images is a set of generated images.

    Raises:
        InputError: The pattern is not valid, or the store cannot be reached.
    """
    if is_uri(pattern):
        location = Location.parse(pattern)
        try:
            return _remote_files(location)
        except OSError as error:
            raise InputError(f"{location.label} cannot be listed: {error}") from error
    pattern = Path(pattern).expanduser().as_posix()
    if os.path.lexists(pattern):  # wildcards in a name that exists stand for themselves
        return list(_local_files(pattern, any_name=True))
    compiled = compile_pattern(pattern)
    if compiled.is_literal:
        return []
    found: list[FoundFile] = []
    for name in sorted(glob.iglob(compiled.glob, recursive=True)):
        match = compiled.match(name)
        if match is not None or not compiled.has_step:
            files = _local_files(Path(name).as_posix(), any_name=compiled.names_a_suffix)
            found += [replace(file, match=match or NO_MATCH) for file in files]
    return _without_inner_files(found)


def files_beside(path: str) -> list[FoundFile]:
    """Files with a known suffix in the folder of a path or URI, not below it.

    Local SavedModel folders are found too; in a store, each would need a request.
    """
    if is_uri(path):
        location = Location.parse(path)
        folder = location.path.rpartition("/")[0]
        names = names_below(location.at(folder), recursive=False)
        return [_remote(location, f"{folder}/{name}", inner) for name, inner in _scanned(names)]
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
        scanned = _scanned(_walk(path))
        for name, folder in scanned:
            inner = Path(path, name).as_posix()
            yield FoundFile(inner, inner, folder)
        if not scanned and (samples := samples_held(path, folder=True)):
            yield FoundFile(path, path, folder=True, samples=samples)
    elif Path(path).name == SAVED_MODEL:
        folder_path = Path(path).parent.as_posix()
        yield FoundFile(folder_path, folder_path, folder=True)
    elif _is_file(path) and (any_name or has_known_suffix(path)):
        yield FoundFile(path, path, samples=samples_held(path, folder=False))


def _is_file(path: str) -> bool:
    """Whether it is a file, or what cannot be read as one, which then fails in its row.

    That are broken links, pipes, sockets and devices.
    """
    return os.path.lexists(path) and not os.path.isdir(path)


def _walk(root: str) -> list[str]:
    """Relative paths of all files below a folder; of a SavedModel's folder, one file only.

    Broken links, what is no file, and other names of a file are among them: a row fails, or one
    name is dropped.
    """
    found = walk(root, SAVED_MODEL)
    repeated = [name for name in found.repeated if Path(root, name).is_file()]
    return [*found.files, *repeated, *found.broken, *found.irregular]


def _scanned(names: Iterable[str]) -> list[tuple[str, bool]]:
    """Of the relative paths in a folder, those that a scan includes.

    Returns:
        Path and whether it is a SavedModel's folder (``""`` for the scanned folder itself).
    """
    visible = [name for name in names if not is_hidden(name)]
    folders = {
        name.rpartition("/")[0] for name in visible if name.rpartition("/")[2] == SAVED_MODEL
    }
    suffixes = known_suffixes()
    files = [name for name in visible if name.lower().endswith(suffixes)]
    found = {(folder, True) for folder in folders if not _is_below(folder, folders)}
    found |= {(name, False) for name in files if not _is_below(name, folders)}
    return sorted(found)


def _is_below(path: str, folders: set[str]) -> bool:
    """Whether a path is in one of some folders; a folder is not in itself."""
    if path == "" or not folders:
        return False
    pieces = path.split("/")
    return any("/".join(pieces[:count]) in folders for count in range(len(pieces)))


def _without_inner_files(files: list[FoundFile]) -> list[FoundFile]:
    """Drop what a glob matched within a SavedModel's folder, such as its assets."""
    folders = {file.label for file in files if file.folder}
    return [file for file in files if not _is_below(file.label, folders)]


def _remote_files(location: Location) -> list[FoundFile]:
    pattern = compile_pattern(location.path)
    kind = file_type(location)
    if kind == arrow_fs.FileType.File:
        folder, _, name = location.path.rpartition("/")
        is_saved_model = name == SAVED_MODEL
        return [_remote(location, folder if is_saved_model else location.path, is_saved_model)]
    if kind == arrow_fs.FileType.Directory or pattern.is_literal:
        scanned = _scanned(names_below(location))
        if not scanned and (samples := samples_held(location.address, folder=True)):
            return [FoundFile(location.label, location.address, folder=True, samples=samples)]
        return [_remote(location, f"{location.path}/{name}", folder) for name, folder in scanned]
    return _remote_matches(location, pattern)


def _remote_matches(location: Location, pattern: Pattern) -> list[FoundFile]:
    """Files that a pattern matches, and those below the folders that it matches."""
    root = pattern.fixed_folder
    names = [name for name in names_below(location.at(root)) if not is_hidden(name)]
    scanned = set(_scanned(names))
    any_name = {(name, False) for name in names if pattern.names_a_suffix}
    found: list[FoundFile] = []
    for name, folder in sorted(scanned | any_name):
        path = f"{root}/{name}".strip("/")
        match = pattern.match(f"{path}/{SAVED_MODEL}") if folder else None
        match = match or pattern.match(path)
        if match is None and (name, folder) in scanned:
            match = _match_of_folder(path, pattern)
        if match is not None:
            found.append(replace(_remote(location, path, folder), match=match))
    return _without_inner_files(found)


def _match_of_folder(name: str, pattern: Pattern) -> Match | None:
    """The match of the lowest folder above a file that matches."""
    while "/" in name:
        name = name.rpartition("/")[0]
        match = pattern.match(name)
        if match is not None:
            return match
    return None


def _remote(location: Location, path: str, folder: bool) -> FoundFile:
    inner = location.at(path.strip("/"))
    samples = None if folder else samples_held(inner.address, folder=False)
    return FoundFile(inner.label, inner.address, folder, samples=samples)
