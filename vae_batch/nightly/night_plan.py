"""Which rows of a plan a night works on, and which of the score table it adds to the history."""

from __future__ import annotations

import datetime
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints import Checkpoint
from vae_batch.nightly.history import ADOPTED, HistoryRow, content_of
from vae_batch.plan.location import Location
from vae_batch.run.planning.open_run import open_rows
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.storage import ScoreRow
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


#: Nights on which an unchanged checkpoint may fail before it is left alone: a fault that passes
#: is retried, and a file that stays broken neither starts a cluster nor alarms every night.
NIGHTS_TO_FAIL = 3

#: Rows of the score table by (checkpoint, extractor).
Table = Mapping[tuple[str, str], ScoreRow]


@dataclass(frozen=True)
class Tonight:
    """What a night works on.

    Attributes:
        plan: The plan without the rows that are left out.
        found: Keys of all rows that the spec names.
        attempted: Keys of the rows that are scored tonight.
        left: Checkpoints that are still being written.
        given_up: Keys of rows that failed on several nights, and have not changed since.
        states: Files of new checkpoints, by label.
    """

    plan: RunPlan
    found: frozenset[tuple[str, str]]
    attempted: frozenset[tuple[str, str]]
    left: tuple[Unfinished, ...]
    given_up: frozenset[tuple[str, str]]
    states: dict[str, FileState]


def choose_rows(
    plan: RunPlan, history: Sequence[HistoryRow], date: datetime.date, began: float
) -> Tonight:
    """Leave out what is still being written, and what failed too often.

    Args:
        plan: Of all checkpoints that the spec names.
        history: Rows of earlier nights.
        date: Of this night.
        began: When it began, in seconds since 1970.
    """
    failures = _failures(history)
    recorded = {row.mark for row in history}
    missing = open_rows(plan)
    given_up = {r.key for r in missing if len(failures[r.mark]) >= NIGHTS_TO_FAIL}
    tried = {r.key for r in missing if date in failures[r.mark]}
    waiting = [r for r in missing if r.key not in given_up | tried]
    new = {r.checkpoint.label: r.checkpoint for r in plan.rows if r.mark not in recorded}
    new |= {r.checkpoint.label: r.checkpoint for r in waiting}
    unfinished, states = find_unfinished(list(new.values()), plan.spec.stable_for, began)
    waiting_labels = {r.checkpoint.label for r in waiting}
    left = tuple(found for found in unfinished if found.checkpoint in waiting_labels)
    written = {found.checkpoint for found in left}
    attempted = {r.key for r in waiting if r.checkpoint.label not in written}
    out = {r.key for r in missing} - attempted
    return Tonight(
        replace(plan, rows=tuple(r for r in plan.rows if r.key not in out)),
        frozenset(r.key for r in plan.rows),
        frozenset(attempted),
        left,
        frozenset(given_up),
        states,
    )


def _failures(
    history: Sequence[HistoryRow],
) -> dict[tuple[str, str, str | None], set[datetime.date]]:
    """Nights on which each row failed, by its fingerprint: other settings are another chance."""
    nights: dict[tuple[str, str, str | None], set[datetime.date]] = defaultdict(set)
    for row in history:
        if not row.is_scored:
            nights[row.mark].add(row.date)
    return nights


def adopted_rows(
    table: Table, tonight: Tonight, history: Sequence[HistoryRow] = ()
) -> list[HistoryRow]:
    """Rows for the history's beginning: what had been scored before there were nights.

    Args:
        table: The score table before this night scores anything.
        tonight: What it works on.
        history: Rows of earlier nights, where the history is written again.
    """
    known = {content_of(row.row) for row in history}
    first = min((row.row.provenance.scored_at for row in history), default=None)
    return [
        HistoryRow(_day_of(row.provenance.scored_at), row, verdict=ADOPTED, is_newest=False)
        for key, row in table.items()
        if row.status == "scored"
        and key in tonight.found - tonight.attempted
        and content_of(row) not in known
        and (first is None or row.provenance.scored_at < first)
    ]


def new_rows(
    table: Table, tonight: Tonight, history: Sequence[HistoryRow], date: datetime.date
) -> list[HistoryRow]:
    """Rows for tonight: scored content that the history does not hold, and tonight's failures.

    So a night that was killed after scoring is made up for by the next one.
    """
    known = {content_of(row.row) for row in history if row.is_scored}
    news = []
    for key, row in table.items():
        unknown = row.status == "scored" and content_of(row) not in known
        failed = row.status == "failed" and key in tonight.attempted
        if key in tonight.found and (unknown or failed):
            state = tonight.states.get(row.checkpoint)
            news.append(HistoryRow(date, row, written_at=_written_at(state)))
    return news


def refreshed_rows(table: Table, history: Sequence[HistoryRow]) -> list[HistoryRow]:
    """Rows of earlier nights whose checkpoint has got more metrics since, with their numbers.

    Date and verdict stay.
    """
    latest = {content_of(row.row): row for row in history if row.is_scored}
    found = []
    for row in table.values():
        old = latest.get(content_of(row)) if row.status == "scored" else None
        if old is not None and old.row.provenance.fingerprint != row.provenance.fingerprint:
            found.append(replace(old, row=row))
    return found


def rows_before(history: Sequence[HistoryRow], date: datetime.date) -> list[HistoryRow]:
    """Scored rows to compare tonight's with, the latest of each content."""
    before = [row for row in history if row.is_scored and not row.is_of(date)]
    return list({content_of(row.row): row for row in before}.values())


def _day_of(scored_at: str) -> datetime.date:
    return datetime.datetime.fromisoformat(scored_at).date()


def _written_at(state: FileState | None) -> datetime.datetime | None:
    if state is None or state.written is None:
        return None
    whole = datetime.datetime.fromtimestamp(state.written, datetime.UTC)
    return whole.replace(microsecond=0)
