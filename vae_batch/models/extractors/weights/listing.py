"""The rows that ``vae-batch weights list | fetch | verify`` print."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vae_batch.models.extractors.weights.download import download_weights
from vae_batch.models.extractors.weights.published import (
    PUBLISHED,
    WANTED,
    published_by_name,
    published_for,
)
from vae_batch.models.extractors.weights.readers import read_weights
from vae_batch.models.extractors.weights.search import cache_folder, refusal, search_folders
from vae_batch.models.extractors.weights.weight_file import WeightFile, inspect_weight_file
from vae_batch.plan.errors import InputError


@dataclass(frozen=True)
class ListedWeights:
    """One published file and where it was found on this machine.

    Attributes:
        name: Published file name.
        extractor: The extractor that it is for.
        publisher: Who offers it.
        url: Official address.
        bytes: Size, if known.
        path: A file of that name in a searched folder, or None. It is not verified.
    """

    name: str
    extractor: str
    publisher: str
    url: str
    bytes: int | None
    path: str | None


@dataclass(frozen=True)
class VerifiedWeights:
    """What one file is.

    Attributes:
        path: The file.
        format: Format by content.
        bytes: Size.
        sha256: Of the file; for an archive, of the GraphDef inside.
        published: Name of the published file with this hash, or None.
        extractor: The extractor that could read it, or None.
        verified: Whether the hash is that of a published file.
        readable: Whether every array is there, of the right shape, and finite.
        problem: Why it would be refused, or None.
    """

    path: str
    format: str
    bytes: int
    sha256: str
    published: str | None
    extractor: str | None
    verified: bool
    readable: bool
    problem: str | None


def list_weights() -> tuple[ListedWeights, ...]:
    """List every published file, and where a file of its name is on this machine."""
    rows = []
    for entry in PUBLISHED:
        places = (folder / entry.name for folder in search_folders())
        found = next((str(path) for path in places if path.is_file()), None)
        rows.append(
            ListedWeights(
                entry.name, entry.extractor, entry.publisher, entry.url, entry.bytes, found
            )
        )
    return tuple(rows)


def fetch_weights(name: str) -> VerifiedWeights:
    """Download a published file into the cache folder, or verify the one that is there.

    Args:
        name: A published file name, or an extractor for its preferred file.

    Raises:
        InputError: The name is unknown, or the download failed.
    """
    preferred = published_for(name)
    entry = preferred[0] if preferred else published_by_name(name)
    if entry is None:
        choices = ", ".join([*WANTED, *(e.name for e in PUBLISHED)])
        raise InputError(f"weights {name!r} are unknown; expected one of {choices}.")
    return _verified(download_weights(entry, cache_folder()))


def verify_weights(path: str | Path) -> VerifiedWeights:
    """Say what a file is and whether it would be accepted; reads all of it.

    Raises:
        InputError: The file does not exist.
    """
    return _verified(inspect_weight_file(Path(path).expanduser()))


def _verified(file: WeightFile) -> VerifiedWeights:
    problem = refusal(file, file.extractor or "inception-2015", allow_unverified=False)
    readable = True
    try:
        read_weights(file)
    except InputError as error:
        readable, problem = False, str(error)
    return VerifiedWeights(
        path=str(file.path),
        format=file.format,
        bytes=file.bytes,
        sha256=file.sha256,
        published=file.published.name if file.published else None,
        extractor=file.extractor,
        verified=file.published is not None,
        readable=readable,
        problem=problem,
    )
