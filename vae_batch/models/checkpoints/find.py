"""Finds the checkpoints that patterns name, and gives each its label, step and hash."""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from vae_batch.models.checkpoints.listing import FoundFile, files_beside, find_files
from vae_batch.models.checkpoints.names import read_named_step, read_steps, shared_length
from vae_batch.models.checkpoints.not_found import nothing_found
from vae_batch.models.checkpoints.pairs import (
    Candidate,
    group_by_name,
    halves_by_pattern,
    without_strays,
)
from vae_batch.models.inputs.files import content_sha256, sha256_of_roles
from vae_batch.models.sample_sets import Samples, set_sha256
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri
from vae_batch.plan.printable import as_name
from vae_batch.storage.retry import OutageError

_HASHING_THREADS = 8  # hashing releases the interpreter, and object stores answer slowly


@dataclass(frozen=True)
class Checkpoint:
    """A VAE's saved state, or a set of generated images.

    Attributes:
        label: Path as the user knows it, without a URI's query; the column ``checkpoint``. Control
            characters and bytes that are not UTF-8 are spelled out.
        step: Training step that its pattern captured or that its name says, or None.
        files: Role to path or URI, sorted by role: ``{"model": ...}`` for one file or SavedModel
            folder, or ``{"encoder": ..., "decoder": ...}`` for a pair (a half may be missing).
        sha256: Of the roles and the files' content; moving or renaming files does not change it.
        beside: Names of files that lie beside a complete pair and are not scored.
        samples: What a set of generated images, or of their features, holds; its one role is
            ``samples``. None of a model.
    """

    label: str
    step: int | None
    files: tuple[tuple[str, str], ...]
    sha256: str
    beside: tuple[str, ...] = ()
    samples: Samples | None = None

    @property
    def identifier(self) -> str:
        """File-safe name in stored paths: the label's end and the content's hash."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.label.rsplit("/", 1)[-1]).strip("-")
        return f"{slug[-40:].strip('-') or 'checkpoint'}-{self.sha256[:12]}"


def find_checkpoints(
    patterns: Sequence[str], encoder: str | None = None, decoder: str | None = None
) -> list[Checkpoint]:
    """Find the checkpoints of paths, folders, globs or URIs.

    A file is one model, unless its name says that it is the encoder or decoder of a pair. A
    SavedModel's folder counts as one file; any other folder stands for the files in it that have
    a known suffix, or, where it has none of those, is one set of the images in it. Files that no
    format can read are found too: only their own row fails.

    Args:
        patterns: What to score; ``{step}`` in a pattern stands for the training step.
        encoder: Pattern of encoders, such as ``runs/*/enc-{step}.keras``; its wildcards pair them
            with the files of ``decoder``.
        decoder: Pattern of decoders; one of the two may be None.

    Returns:
        The checkpoints, ordered by step, then label.

    Raises:
        InputError: A pattern matches nothing (the message lists what is there instead) or is not
            valid, or two checkpoints have one label.
    """
    real = _RealPaths()
    paired = halves_by_pattern(encoder, decoder)
    files = _merge_files([file for pattern in patterns for file in _matches(pattern)], real)
    candidates = _merge_candidates(_combine(paired, files, real), real)
    named = {Location.parse(pattern).label for pattern in patterns}
    candidates = without_strays(candidates, named)
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        labelled = _with_distinct_labels(candidates)
        models = [c.label for c in labelled if c.samples is None]
        steps = dict(zip(models, read_steps(models), strict=True))
        checkpoints = list(threads.map(lambda c: _describe(c, steps.get(c.label)), labelled))
    return sorted(checkpoints, key=lambda c: (c.step is None, c.step or 0, c.label))


def _matches(pattern: str) -> list[FoundFile]:
    by_label = _named_by_label(pattern) if "{" in pattern else []
    found = by_label or find_files(pattern) or _named_by_label(pattern)
    if not found:
        raise InputError(nothing_found(pattern))
    return found


def _named_by_label(pattern: str) -> list[FoundFile]:
    """Files of the pairs in a path's folder that have the path as label, such as ``runs/vae``."""
    label = Location.parse(pattern).label
    label = label if is_uri(pattern) else Path(label).expanduser().as_posix()
    candidates = group_by_name(files_beside(pattern))
    return [file for c in candidates if label in (c.label, c.full_label) for _, file in c.files]


class _RealPaths:
    """Tells which names are one file: several patterns, links or spellings may lead to it."""

    def __init__(self) -> None:
        self._real_folder = functools.cache(os.path.realpath)

    def place(self, file: FoundFile) -> tuple[str, str]:
        """The real folder of a file, or its folder in a store, and its name there."""
        local = file.local_path
        folder, _, name = (file.path if local is None else os.path.abspath(local)).rpartition("/")
        return folder if local is None else self._real_folder(folder or "/"), name

    def content(self, file: FoundFile) -> str:
        """The real path of a file; of a link, that of the file which it names."""
        path = "/".join(self.place(file))
        return os.path.realpath(path) if self.is_link(file) else path

    def is_link(self, file: FoundFile) -> bool:
        """Whether the name is a link; False for a file in a store."""
        return file.local_path is not None and os.path.islink(file.local_path)

    def detour(self, file: FoundFile) -> int:
        """How many folders of the path, as it is written, are reached through links."""
        if file.local_path is None:
            return 0
        written = os.path.abspath(file.local_path).split("/")[:-1]
        real = self.place(file)[0].split("/")
        return len(written) - shared_length(written[::-1], real[::-1])


def _merge_files(files: Sequence[FoundFile], real: _RealPaths) -> list[FoundFile]:
    """Each file once, and all files of one folder under one spelling of its path.

    A spelling without links is preferred, then the first one found.
    """
    spellings: dict[str, str] = {}
    merged: dict[tuple[str, str], FoundFile] = {}
    for file in sorted(files, key=real.detour):
        place = real.place(file)
        folder, _, name = file.label.rpartition("/")
        spelling = spellings.setdefault(place[0], folder)
        label = "/".join(piece for piece in (spelling, name) if piece)
        kept = merged.setdefault(place, replace(file, label=label))
        if kept.match.step is None and file.match.step is not None:
            merged[place] = replace(kept, match=file.match)
    return list(merged.values())


def _combine(
    paired: Sequence[Candidate], files: Sequence[FoundFile], real: _RealPaths
) -> list[Candidate]:
    """Candidates of the pair patterns and of the other files; each file is in one of them.

    A pair of the patterns takes precedence over names. A half that the patterns leave without a
    partner may have one by its name.
    """
    complete = {real.place(file) for c in paired if len(c.files) == 2 for _, file in c.files}
    named = group_by_name([file for file in files if real.place(file) not in complete])
    roles = {(role, real.place(file)) for c in named for role, file in c.files}
    kept = [
        c
        for c in paired
        if len(c.files) == 2 or (c.files[0][0], real.place(c.files[0][1])) not in roles
    ]
    declared = {real.place(file) for c in kept for _, file in c.files}
    rest = [c for c in named if not any(real.place(file) in declared for _, file in c.files)]
    return [*kept, *rest]


def _merge_candidates(candidates: Iterable[Candidate], real: _RealPaths) -> list[Candidate]:
    """Each checkpoint once; a name that is a link is dropped in favour of one that is not."""
    merged: dict[tuple[tuple[str, str], ...], Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: any(real.is_link(f) for _, f in c.files)):
        key = tuple((role, real.content(file)) for role, file in candidate.files)
        merged.setdefault(key, candidate)
    return list(merged.values())


def _with_distinct_labels(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates; those with equal short labels get their full ones.

    Raises:
        InputError: Two labels are equal nevertheless.
    """
    labelled = [
        replace(c, label=as_name(c.full_label if len(same) > 1 else c.label))
        for same in _by_label(candidates)
        for c in same
    ]
    for one, other, *_ in (same for same in _by_label(labelled) if len(same) > 1):
        raise InputError(
            f"two checkpoints have the label {one.label}: {_paths(one)} and {_paths(other)}; "
            "rename one of them, or score them in two runs"
        )
    return labelled


def _by_label(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.label].append(candidate)
    return list(groups.values())


def _paths(candidate: Candidate) -> str:
    return " with ".join(file.path for _, file in candidate.files)


def _describe(candidate: Candidate, step_of_name: int | None) -> Checkpoint:
    digest = sha256_of_roles((role, _file_sha256(file)) for role, file in candidate.files)
    step = candidate.step if candidate.step is not None else step_of_name
    if step is None and candidate.samples is not None:
        step = read_named_step(candidate.label)
    files = tuple((str(role), file.path) for role, file in candidate.files)
    beside = tuple(map(as_name, candidate.beside))
    return Checkpoint(candidate.label, step, files, digest, beside, candidate.samples)


def _file_sha256(file: FoundFile) -> str:
    """Hash of the content; a mark if it cannot be read, since then its row fails and not the run.

    Raises:
        InputError: The object store is down.
    """
    try:
        digest = content_sha256 if file.samples is None else set_sha256
        return digest(file.path, folder=file.folder)
    except OutageError as error:
        raise InputError(f"{error}; nothing was computed, so run it again later") from None
    except OSError:
        return f"unreadable {as_name(file.label)}"
