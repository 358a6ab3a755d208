"""Downloads a published weights file: resumed after an interruption, verified before it is used.

Why not pooch: it verifies and renames as this does, but starts a broken download of 90 MB again
from its first byte.
"""

from __future__ import annotations

import http.client
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from vae_batch.models.extractors.weights.published import PublishedWeights
from vae_batch.models.extractors.weights.weight_file import WeightFile, inspect_weight_file
from vae_batch.plan.errors import InputError

_log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 4
_PAUSE_SECONDS = 1.0


def download_weights(
    entry: PublishedWeights, folder: Path, log: TextIO | None = None
) -> WeightFile:
    """Download one published file into a folder, unless it is there.

    A broken download is kept as ``<name>.part`` and resumed by the next call. The file gets its
    name only after its hash was checked. Processes that download the same file wait for each
    other.

    Args:
        entry: What to download.
        folder: Target folder; created if missing.
        log: Where the progress is printed; standard error by default.

    Returns:
        The verified file.

    Raises:
        InputError: The server cannot be reached or refuses, the content is not what was
            published, or the folder cannot be written.
    """
    log = log if log is not None else sys.stderr
    target = folder / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{entry.name}.part") as part:
            if target.is_file():  # perhaps downloaded by another process meanwhile
                Path(part.name).unlink(missing_ok=True)
            else:
                _fetch(entry, part, log)
                _accept(entry, Path(part.name), target)
    except OSError as error:
        raise InputError(f"{entry.name} cannot be stored in {folder}: {error}.") from error
    return inspect_weight_file(target)


class Progress:
    """Prints the progress of a download: one line on a terminal, else a line per tenth."""

    def __init__(self, name: str, total: int | None, stream: TextIO) -> None:
        self._name, self._total, self._stream = name, total, stream
        self._shown = -1

    def show(self, done: int) -> None:
        """Print ``done`` bytes, unless little has changed since the last print."""
        percent = done * 100 // self._total if self._total else done >> 20
        live = self._stream.isatty()
        step = percent if live else percent // 10
        if step == self._shown:
            return
        self._shown = step
        unit = f"{percent:3d} %" if self._total else f"{percent} MiB"
        start, end = ("\r", "") if live else ("", "\n")
        print(f"{start}{self._name}: {unit}", end=end, file=self._stream, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._stream.isatty():
            print(file=self._stream, flush=True)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The partial file, open for appending by one process at a time."""
    with path.open("ab") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except ImportError:  # Windows: the hash then detects two downloads into one file
            _log.debug("%s is not locked: this system has no fcntl", path)
        yield stream


def _fetch(entry: PublishedWeights, part: BinaryIO, log: TextIO) -> None:
    """Copy in several attempts, each of which resumes.

    Raises:
        InputError: The server refuses, or cannot be reached.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _copy(entry.url, part, entry.name, log)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file is longer than the file: start again
                part.truncate(0)
                reason = "the partial file did not match"
            elif error.code < 500:
                raise InputError(
                    f"{entry.url} answered {error.code} {error.reason}; the file may have moved."
                ) from error
            else:
                reason = f"the server answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        _log.info("%s: attempt %d of %d failed: %s", entry.url, attempt, _ATTEMPTS, reason)
        part.flush()
        if attempt < _ATTEMPTS:
            time.sleep(_PAUSE_SECONDS * attempt)
    raise InputError(f"{entry.url} cannot be downloaded here: {reason}.")


def _copy(url: str, part: BinaryIO, name: str, log: TextIO) -> None:
    """Append the missing bytes; starts again if the server cannot resume."""
    start = os.fstat(part.fileno()).st_size
    headers = {"User-Agent": "vae-batch"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and not (response.status == 206 and resumed):
            part.truncate(0)
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress, done = Progress(name, total, log), start
        while chunk := response.read(_CHUNK):
            part.write(chunk)
            done += len(chunk)
            progress.show(done)
        part.flush()
        progress.close()
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _accept(entry: PublishedWeights, part: Path, target: Path) -> None:
    """Rename a complete download if it is what was published, else delete it."""
    file = inspect_weight_file(part)
    if file.published != entry:
        part.unlink()
        size = f"{entry.bytes:,} bytes of " if entry.bytes else ""
        digest = f"sha256 {entry.sha256}" if entry.sha256 else f"md5 {entry.md5}"
        raise InputError(
            f"{entry.url} sent other content than was published as {entry.name}: {file.bytes:,} "
            f"bytes of sha256 {file.sha256}, expected {size}{digest}; it was deleted."
        )
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, target)
