"""Finds the weights file of an Inception extractor, and refuses every other file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vae_batch.models.extractors.weights.download import download_weights
from vae_batch.models.extractors.weights.published import (
    FORMAT_EXTRACTORS,
    FORMAT_WORDS,
    PUBLISHED,
    WANTED,
    PublishedWeights,
    published_by_name,
    published_for,
)
from vae_batch.models.extractors.weights.weight_file import (
    WeightFile,
    inspect_weight_file,
    sniff_format,
)
from vae_batch.models.inputs.files import fetch
from vae_batch.plan.errors import InputError
from vae_batch.plan.location import Location, is_uri

FOLDER_VARIABLE = "VAE_BATCH_WEIGHTS"


def find_weights(
    extractor: str, weights: Sequence[str] = (), *, allow_unverified: bool = False
) -> WeightFile:
    """Find the weights of an extractor; download them if none are found.

    Args:
        extractor: ``inception-2015`` or ``inception-keras``.
        weights: Paths or URIs to choose from. If any is given, nothing else is searched.
        allow_unverified: Accept a file of the right format with an unknown hash, from ``weights``
            and from the folder in ``VAE_BATCH_WEIGHTS``.

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
    """Find the file of an extractor's identity on this machine.

    Args:
        extractor: Its name, for the messages.
        path: Path or URI at which the driver found it; it may be elsewhere on this machine.
        sha256: Hash that decides.

    Returns:
        The file at ``path``, or the file of that hash in one of the searched folders.

    Raises:
        InputError: The file has changed since, or is not on this machine.
    """
    file = None
    if path and is_uri(path):
        file = _fetched(path, sha256)
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
    for candidate in (path for folder in folders for path in _files_in(folder)):
        if _may_fit(candidate, extractor, allow_unverified=True):
            file = inspect_weight_file(candidate)
            if file.sha256 == sha256:
                return file
    raise InputError(
        f"{extractor}: the weights {path} (sha256 {sha256}) are not on this machine, nor in "
        f"{', '.join(map(str, folders))}; put them into one of these folders on every machine."
    )


def cache_folder() -> Path:
    """The cache of ``vae_batch``: below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "vae_batch" / "weights"


def search_folders() -> tuple[Path, ...]:
    """Folders that are searched, in order; some may not exist.

    Raises:
        InputError: ``VAE_BATCH_WEIGHTS`` is not a folder.
    """
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named and not Path(named).is_dir():
        raise InputError(
            f"{FOLDER_VARIABLE}={named!r} is not a folder; set it to the folder that holds the "
            "weights files, or unset it."
        )
    keras_home = os.environ.get("KERAS_HOME", "")
    keras_cache = (Path(keras_home) if keras_home else Path.home() / ".keras") / "models"
    return (*((Path(named),) if named else ()), keras_cache, cache_folder())


def refusal(file: WeightFile, extractor: str, *, allow_unverified: bool) -> str | None:
    """Say why a file must not be used for an extractor, or None if it may be.

    Args:
        file: The inspected file.
        extractor: ``inception-2015`` or ``inception-keras``.
        allow_unverified: Accept the right format with an unknown hash.

    Returns:
        One sentence that names the file, what was expected and what was found.
    """
    wanted = f"{extractor} needs {WANTED[extractor]}."
    if file.extractor is None:
        return f"{file.shown} is {file.foreign_words}; {wanted}"
    if file.published is not None and file.published.extractor == extractor:
        return None
    if file.published is not None:
        return (
            f"{file.shown} is the published {file.published.name}, the weights of "
            f"{file.published.extractor}; {wanted}"
        )
    if file.extractor != extractor:
        return (
            f"{file.shown} holds {FORMAT_WORDS[file.format]}, the format of {file.extractor}; "
            f"{wanted}"
        )
    if allow_unverified:
        return None
    return (
        f"{file.shown} {_why_unknown(file, extractor)} (sha256 {file.sha256}). Download it again, "
        "or allow unverified weights if this is the file you mean."
    )


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
    return "does not have the hash of any published file"


def _preferred(files: Sequence[WeightFile]) -> WeightFile:
    """The first of ``PUBLISHED`` among the files; unverified ones last, ties in the given order."""

    def rank(file: WeightFile) -> int:
        return PUBLISHED.index(file.published) if file.published else len(PUBLISHED)

    return min(files, key=rank)


def _among_given(extractor: str, paths: Sequence[str], allow_unverified: bool) -> WeightFile:
    files = [
        _fetched(path) if is_uri(path) else inspect_weight_file(Path(path).expanduser())
        for path in paths
    ]
    refusals = {file: refusal(file, extractor, allow_unverified=allow_unverified) for file in files}
    fitting = [file for file, reason in refusals.items() if reason is None]
    # A damaged file of the right kind is an error even beside a good one, since it was asked for.
    for file, reason in refusals.items():
        if reason and file.published is None and file.extractor == extractor:
            raise InputError(f"{extractor}: {reason}")
    if not fitting:
        reasons = " ".join(str(reason) for reason in refusals.values())
        raise InputError(f"{extractor}: none of the given weights fits. {reasons}")
    return _preferred(fitting)


def _fetched(uri: str, sha256: str | None = None) -> WeightFile:
    """The weights file of a URI, copied into the cache.

    Args:
        uri: Of a pyarrow file system.
        sha256: Hash of a copy that need not be fetched again. None always fetches.

    Raises:
        InputError: It cannot be read.
    """
    location = Location.parse(uri)
    if location.local_path is not None:
        return replace(inspect_weight_file(location.local_path), source=uri)
    folder = hashlib.sha256(location.label.encode()).hexdigest()[:16]
    copy = cache_folder() / "fetched" / folder / Path(location.path).name
    if sha256 is not None and copy.is_file():
        held = inspect_weight_file(copy)
        if held.sha256 == sha256:
            return replace(held, source=uri)
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent) as temporary:
            os.replace(fetch(uri, Path(temporary)), copy)
    except FileNotFoundError:
        raise InputError(f"weights: there is no file at {location.label}") from None
    except OSError as error:
        raise InputError(f"weights: {location.label} cannot be read: {error}") from None
    return replace(inspect_weight_file(copy), source=uri)


def _in_folder(extractor: str, folder: Path, allow_unverified: bool) -> WeightFile | None:
    """The preferred file of one folder, or None.

    Files of other kinds are skipped. A file that has a published name of this extractor but must
    not be used is an error, so that an incomplete download is not skipped silently.
    """
    fitting = []
    for path in _files_in(folder):
        named = published_by_name(path.name)
        expected = named is not None and named.extractor == extractor
        if not expected and not _may_fit(path, extractor, allow_unverified=allow_unverified):
            continue
        file = inspect_weight_file(path)
        reason = refusal(file, extractor, allow_unverified=allow_unverified)
        if reason is None:
            fitting.append(file)
        elif expected:
            raise InputError(f"{extractor}: {reason}")
    return _preferred(fitting) if fitting else None


def _files_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_file())


def _may_fit(path: Path, extractor: str, *, allow_unverified: bool) -> bool:
    """Whether a file is worth hashing: it has the right format, and a known size or any."""
    format = sniff_format(path)
    if FORMAT_EXTRACTORS.get(format) != extractor:
        return False
    sizes = {entry.bytes for entry in PUBLISHED if entry.format == format}
    return allow_unverified or None in sizes or path.stat().st_size in sizes


def _download(entry: PublishedWeights, searched: Sequence[Path]) -> WeightFile:
    try:
        return download_weights(entry, cache_folder())
    except InputError as error:
        raise InputError(
            f"{entry.extractor}: its weights are not in {', '.join(map(str, searched))}, and the "
            f"download failed: {error} Give {WANTED[entry.extractor]} with --weights, or put it "
            f"into the folder that {FOLDER_VARIABLE} names. Without them: score with --metrics "
            "losses, or by a network of yours with --extractor FILE."
        ) from error
