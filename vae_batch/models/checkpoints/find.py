"""Finds the checkpoints that patterns name, and gives each its label, step and hash.

Nothing here loads a model, so a driver can plan without TensorFlow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vae_batch.models.checkpoints.checkpoint import Checkpoint
from vae_batch.models.checkpoints.halves import (
    Candidate,
    group_by_name,
    with_full_label,
)
from vae_batch.models.checkpoints.listing import FoundFile, files_beside, find_files
from vae_batch.models.checkpoints.not_found import nothing_found
from vae_batch.models.checkpoints.pair_pattern import find_halves
from vae_batch.models.checkpoints.same_files import RealPaths, merge_candidates, merge_files
from vae_batch.models.checkpoints.steps import read_step
from vae_batch.models.inputs.files import content_sha256, sha256_of_roles
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri
from vae_batch.storage.retry import OutageError

_HASHING_THREADS = 8  # hashing releases the interpreter, and object stores answer slowly


def find_checkpoints(
    patterns: Sequence[str], encoder: str | None = None, decoder: str | None = None
) -> list[Checkpoint]:
    """Checkpoints named by paths, folders, globs or URIs; ordered by step, then label.

    A file is one model, unless its name tells that it is the encoder or decoder of a pair; a
    SavedModel's folder is one file in this sense; any other folder stands for the files in it
    that have a known suffix. Files that no format can read are found too: they cost their row.

    Args:
      patterns: What to score; ``{step}`` in a pattern stands for the training step.
      encoder: Pattern of encoders, such as ``runs/*/enc-{step}.keras``; its wildcards pair them
        with ``decoder``'s.
      decoder: Pattern of decoders; one of the two may be missing.

    Raises:
      InputError: A pattern matches nothing (the message lists what is there instead) or cannot
        be understood, or two checkpoints have one label.
    """
    real = RealPaths()
    paired = find_halves(encoder, decoder)
    files = merge_files([file for pattern in patterns for file in _matches(pattern)], real)
    candidates = _distinct(merge_candidates(_combine(paired, files, real), real))
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        checkpoints = list(threads.map(_describe, candidates))
    return sorted(checkpoints, key=lambda c: (c.step is None, c.step or 0, c.label))


def _matches(pattern: str) -> list[FoundFile]:
    by_label = _named_by_label(pattern) if "{" in pattern else []
    found = by_label or find_files(pattern) or _named_by_label(pattern)
    if not found:
        raise InputError(nothing_found(pattern))
    return found


def _named_by_label(pattern: str) -> list[FoundFile]:
    """Files of the pairs beside a path that have it as label, such as ``runs/vae``."""
    label = (
        Location.parse(pattern).label if is_uri(pattern) else Path(pattern).expanduser().as_posix()
    )
    candidates = group_by_name(files_beside(pattern))
    return [file for c in candidates if label in (c.label, c.full_label) for _, file in c.files]


def _combine(
    paired: Sequence[Candidate], files: Sequence[FoundFile], real: RealPaths
) -> list[Candidate]:
    """Candidates of the pair patterns and of the other files; a file is in one of them.

    A pair of the patterns goes before what names tell; a half that the patterns leave without
    a partner may have one by its name.
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


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with labels of their own: full ones where the short ones are equal.

    Raises:
      InputError: Two labels are equal nevertheless (names the files of both), or one is no text.
    """
    labelled = [
        with_full_label(c) if len(same) > 1 else c for same in _same(candidates) for c in same
    ]
    for candidate in labelled:
        _require_text(candidate.label)
    for one, other, *_ in (same for same in _same(labelled) if len(same) > 1):
        raise InputError(
            f"two checkpoints have the label {one.label}: {_paths(one)} and {_paths(other)}; name "
            "one of them by another path, or score them in two runs"
        )
    return labelled


def _require_text(label: str) -> None:
    try:
        label.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"the name {label!r} is not UTF-8 text, so no table can hold it; rename it"
        ) from None


def _same(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.label].append(candidate)
    return list(groups.values())


def _paths(candidate: Candidate) -> str:
    return " with ".join(file.path for _, file in candidate.files)


def _describe(candidate: Candidate) -> Checkpoint:
    digest = sha256_of_roles((role, _file_sha256(file)) for role, file in candidate.files)
    step = candidate.step if candidate.step is not None else read_step(candidate.label)
    files = tuple((str(role), file.path) for role, file in candidate.files)
    return Checkpoint(candidate.label, step, files, digest)


def _file_sha256(file: FoundFile) -> str:
    """Hash of the content; of the path where it cannot be read: its row fails, not the run."""
    try:
        return content_sha256(file.path, folder=file.folder)
    except OutageError as error:
        raise InputError(f"{error}; nothing was computed, so run it again later") from None
    except OSError:
        return f"unreadable {file.label}"
