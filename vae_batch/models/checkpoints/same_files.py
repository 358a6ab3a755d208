"""Files that several patterns, links or spellings of a path name are one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vae_batch.models.checkpoints.halves import Candidate, shared_length
from vae_batch.models.checkpoints.listing import FoundFile
from vae_batch.plan.location import Location


class RealPaths:
    """Where files really lie; a file and a folder are looked up once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._places: dict[str, tuple[str, str]] = {}

    def place(self, file: FoundFile) -> tuple[str, str]:
        """The real folder of a file, or its store's, and its name there."""
        if file.path not in self._places:
            self._places[file.path] = self._look_up(file)
        return self._places[file.path]

    def _look_up(self, file: FoundFile) -> tuple[str, str]:
        local = _local_path(file)
        folder, _, name = (file.path if local is None else os.path.abspath(local)).rpartition("/")
        if local is None:
            return folder, name
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder or "/")
        return self._folders[folder], name

    def content(self, file: FoundFile) -> str:
        """The file's own path, also where its name is a link to another file."""
        path = "/".join(self.place(file))
        return os.path.realpath(path) if self.is_link(file) else path

    def is_link(self, file: FoundFile) -> bool:
        """Whether the name is a link; of a file in a store, never."""
        local = _local_path(file)
        return local is not None and os.path.islink(local)

    def detour(self, file: FoundFile) -> int:
        """How many folders of the path, as it is written, lead elsewhere: links on the way."""
        local = _local_path(file)
        if local is None:
            return 0
        written = os.path.abspath(local).split("/")[:-1]
        real = self.place(file)[0].split("/")
        return len(written) - shared_length(written[::-1], real[::-1])


def _local_path(file: FoundFile) -> str | None:
    local = Location.parse(file.path).local_path
    return None if local is None else str(local)


def merge_files(files: Sequence[FoundFile], real: RealPaths) -> list[FoundFile]:
    """Each file once, and all files of one folder under one spelling of its path.

    A spelling without links goes before one through links, then the first one found.
    """
    spellings: dict[str, str] = {}
    ordered = sorted(files, key=real.detour)
    for file in ordered:
        spellings.setdefault(real.place(file)[0], file.label.rpartition("/")[0])
    merged: dict[tuple[str, str], FoundFile] = {}
    for file in ordered:
        folder, name = real.place(file)
        spelling = spellings[folder]
        kept = merged.setdefault(
            (folder, name),
            replace(file, label="/".join(p for p in (spelling, _name(file)) if p)),
        )
        if kept.match.step is None and file.match.step is not None:
            merged[folder, name] = replace(kept, match=file.match)
    return list(merged.values())


def _name(file: FoundFile) -> str:
    return file.label.rpartition("/")[2]


def merge_candidates(candidates: Iterable[Candidate], real: RealPaths) -> list[Candidate]:
    """Each checkpoint once; of several names of one, a link is left out."""
    merged: dict[tuple[tuple[str, str], ...], Candidate] = {}
    ordered = sorted(candidates, key=lambda c: any(real.is_link(file) for _, file in c.files))
    for candidate in ordered:
        key = tuple((role, real.content(file)) for role, file in candidate.files)
        merged.setdefault(key, candidate)
    return list(merged.values())
