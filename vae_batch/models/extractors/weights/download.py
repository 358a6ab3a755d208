"""Downloads a published weights file: resumed where it broke off, checked before it counts."""

from __future__ import annotations

import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from vae_batch.models.extractors.weights.formats import WeightFile, inspect_weight_file
from vae_batch.models.extractors.weights.registry import PublishedWeights
from vae_batch.plan.errors import InputError

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 4
_PAUSE_SECONDS = 1.0


class Progress:
    """Prints how far a download is: one line that rewrites itself, or a line every tenth."""

    def __init__(self, name: str, total: int | None, stream: TextIO) -> None:
        self._name, self._total, self._stream = name, total, stream
        self._shown = -1

    def show(self, done: int) -> None:
        """Print where enough has happened since the last print."""
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
        # Windows has no fcntl: two downloads at once are then caught by the hash.
        except ImportError:
            pass
        yield stream


def _request(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "vae-batch"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    return response


def _copy(url: str, part: BinaryIO, progress_name: str, log: TextIO) -> None:
    """Append what is missing; starts over where the server cannot resume."""
    start = os.fstat(part.fileno()).st_size
    with _request(url, start) as response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and not (response.status == 206 and resumed):
            part.truncate(0)
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress, done = Progress(progress_name, total, log), start
        while chunk := response.read(_CHUNK):
            part.write(chunk)
            done += len(chunk)
            progress.show(done)
        part.flush()
        progress.close()
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _fetch(entry: PublishedWeights, part: BinaryIO, log: TextIO) -> None:
    """Copy with several attempts, each of which resumes.

    Raises:
        InputError: The server refuses, or cannot be reached.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _copy(entry.url, part, entry.name, log)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # What is there is longer than the file: start over.
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
        part.flush()
        if attempt < _ATTEMPTS:
            time.sleep(_PAUSE_SECONDS * attempt)
    raise InputError(f"{entry.url} cannot be downloaded here: {reason}.")


def download_weights(
    entry: PublishedWeights, folder: Path, log: TextIO | None = None
) -> WeightFile:
    """Download one published file into a folder, or take it from there.

    A broken download is kept as ``<name>.part`` and resumed by the next call. The file appears
    under its name only after its hash was checked.

    Args:
        entry: What to download.
        folder: Made where it is missing.
        log: Where the progress goes; standard error by default.

    Returns:
        The verified file.

    Raises:
        InputError: Not reachable, refused by the server, or not the published content.
    """
    log = log if log is not None else sys.stderr
    target = folder / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{entry.name}.part") as part:
            if not target.is_file():  # Another process may have finished meanwhile.
                _fetch(entry, part, log)
                _accept(entry, Path(part.name), target)
            else:
                Path(part.name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{entry.name} cannot be stored in {folder}: {error}.") from error
    return inspect_weight_file(target)


def _accept(entry: PublishedWeights, part: Path, target: Path) -> None:
    """Move a complete download to its name if it is what was published, else delete it."""
    file = inspect_weight_file(part)
    if file.published != entry:
        part.unlink()
        raise InputError(
            f"{entry.url} sent other content than was published as {entry.name}: {file.bytes:,} "
            f"bytes of sha256 {file.sha256}, expected {_expected(entry)}; it was deleted."
        )
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(part, target)


def _expected(entry: PublishedWeights) -> str:
    size = f"{entry.bytes:,} bytes of " if entry.bytes else ""
    return f"{size}sha256 {entry.sha256}" if entry.sha256 else f"{size}md5 {entry.md5}"
