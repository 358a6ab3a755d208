"""The state of a run and of its rows, read from the files of an output folder.

Read from the lease (who runs, and whether alive), ``progress.json`` (pace and faults, some seconds
old), and receipts and the score table (rows); needs no cluster and no model, and works while the
run is in another process or on another machine.
"""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vae_batch.plan import InputError
from vae_batch.run.output.lease import Holder, holder_of
from vae_batch.run.output.run_record import RecordedRow, open_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.progress.progress_file import LastProgress, read_progress
from vae_batch.run.progress.snapshot import RowState
from vae_batch.storage import Store, read_score_rows, unit_progress_of
from vae_batch.storage.score_rows import ScoreRow

#: Heartbeats that a process may miss, when it is not found on its machine, before it is dead.
_MISSED = 1.5

#: Seconds by which clocks may differ.
_SKEW = 15.0

#: What the last run of a folder does, or how it ended.
State = Literal["running", "finished", "interrupted", "died"]


@dataclass(frozen=True)
class RowStatus:
    """A row and its shards.

    Attributes:
        checkpoint: Label.
        extractor: Name.
        status: Its state; the reference's shards alone do not make a row ``running``.
        done: Finished shards of the row's units, the reference's included; all of a scored row,
            even if its activations were pruned since.
        total: All shards of the row's units.
        reason: Why it failed.
    """

    checkpoint: str
    extractor: str
    status: RowState
    done: int
    total: int
    reason: str


@dataclass(frozen=True)
class RunState:
    """The present or last run of an output folder, and the rows of all its runs.

    Attributes:
        out: The folder, without credentials.
        now: When the files were read, in seconds since 1970.
        holder: The holder of the lease; None if nobody holds it.
        is_alive: Whether the holder's process is.
        last: What the present or last run says of itself; None if it has not said anything yet.
        rows: Of all runs; none while the first one is still planning.
    """

    out: str
    now: float
    holder: Holder | None
    is_alive: bool
    last: LastProgress | None
    rows: tuple[RowStatus, ...]

    @property
    def state(self) -> State:
        """What the run does, or how it ended."""
        if self.is_alive:
            return "running"
        if self.holder is not None or (self.last and self.last.state == "running"):
            return "died"
        return self.last.state if self.last else "finished"

    @property
    def phase(self) -> str:
        """The phase of a run that is alive: ``plan`` until it says another one."""
        if not self.is_alive:
            return ""
        return self.last.snapshot.phase if self.last else "plan"

    @property
    def heard(self) -> float | None:
        """Seconds since the last sign of life."""
        signs = [sign.heartbeat for sign in (self.holder,) if sign]
        signs += [last.at for last in (self.last,) if last]
        # One that lies ahead is of a clock that is wrong.
        past = [sign for sign in signs if sign <= self.now + _SKEW] or signs
        return max(0.0, self.now - max(past)) if past else None

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows in each state."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def is_complete(self) -> bool:
        """Whether every row is scored."""
        return all(row.status == "scored" for row in self.rows)


def run_state(location: str) -> RunState:
    """State of the run of an output folder.

    Args:
        location: Path or URI of the folder.

    Raises:
        InputError: No run has begun there.
    """
    store = Store.open(location)
    holder = holder_of(store)
    now = time.time()
    is_alive = holder is not None and not _is_dead(holder, now)
    last = read_progress(store)
    if holder is not None and last is not None and last.at < _since(holder):
        last = None  # written by an earlier run
    try:
        rows = tuple(run_status(location))
    except InputError:
        if not is_alive:
            raise
        rows = ()  # its plan is not on record yet
    return RunState(store.shown, now, holder, is_alive, last, rows)


def run_status(location: str) -> list[RowStatus]:
    """Status of every row that the runs of an output folder planned.

    Files of scored rows are not looked at (``verify_output`` does that), so that the time this
    takes depends on what is left to do.

    Raises:
        InputError: No run has begun there.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec.model_copy(update={"out": location}))
    table = {row.key: row for row in read_score_rows(stores.out)}
    current = [_current(row, table) for row in record.rows]
    pairs = list(zip(record.rows, current, strict=True))
    finished = _finished(stores, [row for row, found in pairs if not _is_scored(found)])
    return [_status(row, found, finished) for row, found in pairs]


def _current(row: RecordedRow, table: Mapping[tuple[str, str], ScoreRow]) -> ScoreRow | None:
    """The row in the score table, if it is of what is planned now."""
    found = table.get((row.checkpoint, row.extractor))
    return found if found is not None and found.provenance.fingerprint == row.fingerprint else None


def _is_scored(row: ScoreRow | None) -> bool:
    return row is not None and row.status == "scored"


def _finished(stores: RunStores, rows: Iterable[RecordedRow]) -> dict[str, int]:
    """Number of finished shards of each unit; units that rows share are counted once."""
    units = list({unit.path: unit for row in rows for unit in row.units.values()}.values())
    progress = unit_progress_of((stores.holding(unit), unit) for unit in units)
    return {unit.path: len(found.shards) for unit, found in zip(units, progress, strict=True)}


def _status(row: RecordedRow, found: ScoreRow | None, finished: Mapping[str, int]) -> RowStatus:
    total = sum(unit.shard_count for unit in row.units.values())
    of_row = row.checkpoint, row.extractor
    if _is_scored(found):
        return RowStatus(*of_row, "scored", total, total, "")
    done = sum(finished[unit.path] for unit in row.units.values())
    if found is not None:
        return RowStatus(*of_row, "failed", done, total, found.reason.text if found.reason else "")
    own = sum(finished[unit.path] for unit in row.units.values() if unit.checkpoint)
    return RowStatus(*of_row, "running" if own else "waiting", done, total, "")


def _is_dead(holder: Holder, now: float) -> bool:
    """Whether the lease is expired, or late and its process gone from this machine."""
    if holder.is_expired:
        return True
    is_late = now - holder.heartbeat > _MISSED * holder.period
    return is_late and holder.host == socket.gethostname() and not _is_running(holder.pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True


def _since(holder: Holder) -> float:
    try:
        return datetime.datetime.fromisoformat(holder.since).timestamp()
    except ValueError:
        return 0.0
