"""Which checkpoints are finished: nobody has written to their files for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints import Checkpoint
from vae_batch.plan.location import Location
from vae_batch.storage.filesystems import open_filesystem
from vae_batch.storage.retry import retrying

#: Seconds between the two looks at files: one that grows without a new time is still written to.
PAUSE = 1.0

_THREADS = 8  # object stores answer slowly


@dataclass(frozen=True)
class FileState:
    """What a checkpoint's files are at one moment.

    Attributes:
        written: Newest modification time of all files, in seconds since 1970; None where the store
            keeps none, or there is no file left.
        size: Bytes of all files.
        count: Number of files.
    """

    written: float | None
    size: int
    count: int


@dataclass(frozen=True)
class Unfinished:
    """A checkpoint that is left for the next night.

    Attributes:
        checkpoint: Label.
        why: A sentence.
    """

    checkpoint: str
    why: str


def find_unfinished(
    checkpoints: Sequence[Checkpoint],
    stable_for: float,
    began: float,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[Unfinished], dict[str, FileState]]:
    """Checkpoints that are still being written to, or were until just now.

    A checkpoint is finished where none of its files (both halves of a pair, every file of a
    SavedModel's folder) was modified later than ``stable_for`` seconds before ``began``, and two
    looks find the same files, sizes and times. So content that was hashed after ``began`` is the
    content that is scored. On object stores, whose files appear whole, the times tell when the
    last file of a pair or folder arrived.

    Args:
        checkpoints: Whose files are looked at; each costs an object store a request or two.
        stable_for: Seconds.
        began: When this night began, before anything was read, in seconds since 1970.
        sleep: Waits between the two looks.

    Returns:
        The unfinished, and the state of every checkpoint by label.
    """
    if not checkpoints:
        return [], {}
    with ThreadPoolExecutor(_THREADS) as threads:
        first = list(threads.map(file_state, checkpoints))
        sleep(min(stable_for, PAUSE))
        second = list(threads.map(file_state, checkpoints))
    pairs = zip(checkpoints, first, second, strict=True)
    reasons = {c.label: _why_unfinished(a, b, stable_for, began) for c, a, b in pairs}
    states = {c.label: state for c, state in zip(checkpoints, second, strict=True)}
    return [Unfinished(label, why) for label, why in reasons.items() if why], states


def _why_unfinished(
    first: FileState, second: FileState, stable_for: float, began: float
) -> str | None:
    if not second.count:
        return "its files are gone, or it is a link to nothing"
    if first != second:
        return f"its files are growing or changing ({first.size:,}, then {second.size:,} bytes)"
    if second.written is None:
        return None
    ahead = second.written - time.time()
    if ahead > 1.0:
        return (
            f"its time of change lies {ahead:.0f} s ahead of this machine's clock, so it cannot "
            "be told whether it is still written to"
        )
    age = began - second.written
    if age < stable_for:
        return f"changed {max(age, 0.0):.0f} s before this night began, less than {stable_for:g} s"
    return None


def file_state(checkpoint: Checkpoint) -> FileState:
    """The state of all files of a checkpoint, now.

    Raises:
        OSError: An object store fails, also after retries.
    """
    found = [entry for _, path in checkpoint.files for entry in _entries(path)]
    times = [written for written, _ in found if written is not None]
    return FileState(max(times, default=None), sum(size for _, size in found), len(found))


def _entries(path: str) -> Iterator[tuple[float | None, int]]:
    """Time and size of each file at a path: of itself, or of all files below a folder."""
    uri = Location.parse(path)
    if uri.local_path is not None:
        yield from _local_entries(uri.local_path)
        return
    filesystem, inner = open_filesystem(uri)
    found = retrying(lambda: filesystem.get_file_info(inner), f"looking for {uri.label}")
    entries = [found]
    if found.type == arrow_fs.FileType.Directory:
        below = arrow_fs.FileSelector(inner, recursive=True)
        entries = retrying(lambda: filesystem.get_file_info(below), f"listing {uri.label}")
    for entry in entries:
        if entry.is_file:
            yield None if entry.mtime_ns is None else entry.mtime_ns / 1e9, entry.size


def _local_entries(path: Path) -> Iterator[tuple[float, int]]:
    names = [path]
    if path.is_dir():
        names = [Path(folder, name) for folder, _, files in os.walk(path) for name in files]
    for name in names:
        try:
            status = name.stat()
        except OSError:  # gone, or a link to nothing
            continue
        yield status.st_mtime, status.st_size
