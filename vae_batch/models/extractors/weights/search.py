"""Finds the weights file of an Inception extractor, and refuses every file that is not it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vae_batch.models.extractors.weights.formats import WeightFile, inspect_weight_file
from vae_batch.models.extractors.weights.registry import (
    FORMAT_EXTRACTORS,
    FORMAT_WORDS,
    PUBLISHED,
    WANTED,
    PublishedWeights,
    published_by_name,
    published_for,
)
from vae_batch.models.extractors.weights.remote import fetched_weights
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import is_uri

FOLDER_VARIABLE = "VAE_BATCH_WEIGHTS"


def cache_folder() -> Path:
    """Our own cache: ``$XDG_CACHE_HOME/vae_batch/weights``, or the same below ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "vae_batch" / "weights"


def keras_cache_folder() -> Path:
    """Where Keras keeps downloaded models: ``$KERAS_HOME/models`` or ``~/.keras/models``."""
    root = os.environ.get("KERAS_HOME", "")
    return (Path(root) if root else Path.home() / ".keras") / "models"


def search_folders() -> tuple[Path, ...]:
    """Folders that are searched, in order; some may not exist.

    Raises:
        InputError: ``VAE_BATCH_WEIGHTS`` names something that is no folder.
    """
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named and not Path(named).is_dir():
        raise InputError(
            f"{FOLDER_VARIABLE}={named!r} is no folder; set it to the folder that holds the "
            "weights files, or unset it."
        )
    return (*((Path(named),) if named else ()), keras_cache_folder(), cache_folder())


def _why_unknown(file: WeightFile, extractor: str) -> str:
    """Say how a file of the right format differs from the published ones."""
    entries = [e for e in published_for(extractor) if e.format == file.format]
    named = published_by_name(file.path.name)
    entry = named if named in entries else entries[0]
    if entry.bytes is not None and file.bytes == entry.bytes:
        return f"has the size of {entry.name} but another hash: it is damaged or was altered"
    if entry.bytes is not None and file.bytes < entry.bytes:
        return (
            f"has {file.bytes:,} bytes where {entry.name} has {entry.bytes:,}: it is truncated, "
            "or not the published file"
        )
    if named is entry:
        return f"is called {entry.name} but its hash is another: it is damaged or was altered"
    return "has a hash that is not that of any published file"


def refusal(file: WeightFile, extractor: str, *, allow_unverified: bool) -> str | None:
    """Say why a file must not be used for an extractor, or None where it may.

    Args:
        file: The inspected file.
        extractor: ``inception-2015`` or ``inception-keras``.
        allow_unverified: Accept the right format with an unknown hash.

    Returns:
        One sentence that names the file, what was expected and what was found.
    """
    wanted = WANTED[extractor]
    if file.extractor is None:
        return f"{file.shown} is {file.foreign_words}; {extractor} needs {wanted}."
    if file.published is not None and file.published.extractor == extractor:
        return None
    if file.published is not None:
        return (
            f"{file.shown} is the published {file.published.name}, the weights of "
            f"{file.published.extractor}; {extractor} needs {wanted}."
        )
    if file.extractor != extractor:
        words = FORMAT_WORDS[file.format]
        return (
            f"{file.shown} holds {words}, the format of {file.extractor}; {extractor} needs "
            f"{wanted}."
        )
    if allow_unverified:
        return None
    return (
        f"{file.shown} {_why_unknown(file, extractor)} (sha256 {file.sha256}). Download it again, "
        "or allow unverified weights if it is meant."
    )


def _choose(files: Sequence[WeightFile]) -> WeightFile:
    """The file that the registry prefers; unverified ones last, ties in the given order."""

    def rank(file: WeightFile) -> int:
        return PUBLISHED.index(file.published) if file.published else len(PUBLISHED)

    return min(files, key=rank)


def _among_given(extractor: str, paths: Sequence[str], allow_unverified: bool) -> WeightFile:
    files = [_given_file(path) for path in paths]
    refusals = {file: refusal(file, extractor, allow_unverified=allow_unverified) for file in files}
    fitting = [file for file, reason in refusals.items() if reason is None]
    # A damaged file of the right kind is an error even beside a good one: it was asked for.
    for file, reason in refusals.items():
        if reason and file.published is None and file.extractor == extractor:
            raise InputError(f"{extractor}: {reason}")
    if not fitting:
        reasons = " ".join(str(reason) for reason in refusals.values())
        raise InputError(f"{extractor}: none of the given weights fits. {reasons}")
    return _choose(fitting)


def _given_file(path: str) -> WeightFile:
    if is_uri(path):
        return fetched_weights(path, cache_folder())
    return inspect_weight_file(Path(path).expanduser())


def _in_folder(extractor: str, folder: Path, allow_unverified: bool) -> WeightFile | None:
    """The best file of one folder.

    Files of other kinds are passed over. A file that has a published name of this extractor but
    must not be used is an error, so that a broken download is not silently passed over.
    """
    if not folder.is_dir():
        return None
    fitting = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        named = published_by_name(path.name)
        expected = named is not None and named.extractor == extractor
        if not expected and not _may_fit(path, extractor, allow_unverified):
            continue
        file = inspect_weight_file(path)
        reason = refusal(file, extractor, allow_unverified=allow_unverified)
        if reason is None:
            fitting.append(file)
        elif expected:
            raise InputError(f"{extractor}: {reason}")
    return _choose(fitting) if fitting else None


def _may_fit(path: Path, extractor: str, allow_unverified: bool) -> bool:
    """Whether a file of another name is worth hashing: right format and a known or any size."""
    from vae_batch.models.extractors.weights.formats import sniff_format

    format = sniff_format(path)
    if FORMAT_EXTRACTORS.get(format) != extractor:
        return False
    sizes = {entry.bytes for entry in PUBLISHED if entry.format == format}
    return allow_unverified or None in sizes or path.stat().st_size in sizes


def _download(entry: PublishedWeights, searched: Sequence[Path]) -> WeightFile:
    from vae_batch.models.extractors.weights.download import download_weights

    try:
        return download_weights(entry, cache_folder())
    except InputError as error:
        folders = ", ".join(str(folder) for folder in searched)
        raise InputError(
            f"{entry.extractor}: its weights are not in {folders}, and the download failed: "
            f"{error} Give {WANTED[entry.extractor]} with --weights, or put it into the folder "
            f"that {FOLDER_VARIABLE} names."
        ) from error


def find_weights(
    extractor: str, weights: Sequence[str] = (), *, allow_unverified: bool = False
) -> WeightFile:
    """Find the weights of an extractor, downloading them where there are none.

    Args:
        extractor: ``inception-2015`` or ``inception-keras``.
        weights: Paths or URIs to choose from. Where any is given, nothing else is searched.
        allow_unverified: Accept the right format with an unknown hash from ``weights`` and from
            the folder in ``VAE_BATCH_WEIGHTS``.

    Returns:
        A file that may be used.

    Raises:
        InputError: No usable file; the message says what was found and what to do.
    """
    if weights:
        return _among_given(extractor, weights, allow_unverified)
    folders = search_folders()
    named = bool(os.environ.get(FOLDER_VARIABLE))
    for place, folder in enumerate(folders):
        found = _in_folder(extractor, folder, allow_unverified and named and place == 0)
        if found is not None:
            return found
    return _download(published_for(extractor)[0], folders)


def locate_identified(extractor: str, path: str | None, sha256: str) -> WeightFile:
    """Find the file that an identity names, on this machine.

    Args:
        extractor: For the messages.
        path: Path or URI where the identity found it; another machine may have it elsewhere.
        sha256: Hash that decides.

    Returns:
        The file at ``path``, or the file of that hash in one of the searched folders.

    Raises:
        InputError: The file has changed since, or is nowhere here.
    """
    file = None
    if path and is_uri(path):
        file = fetched_weights(path, cache_folder(), sha256)
    elif path and Path(path).is_file():
        file = inspect_weight_file(Path(path))
    if file is not None:
        if file.sha256 != sha256:
            raise InputError(
                f"{extractor}: {file.shown} has changed: expected sha256 {sha256}, found "
                f"{file.sha256}. Put the same file on every machine, and start the run again."
            )
        return file
    folders = search_folders()
    for folder in folders:
        for candidate in sorted(folder.iterdir()) if folder.is_dir() else ():
            if candidate.is_file() and _may_fit(candidate, extractor, True):
                file = inspect_weight_file(candidate)
                if file.sha256 == sha256:
                    return file
    raise InputError(
        f"{extractor}: the weights {path} (sha256 {sha256}) are not on this machine, nor in "
        f"{', '.join(str(folder) for folder in folders)}; put them into one of these on every "
        "machine."
    )
