"""Whether a run is at work in an output folder, and how far it is, for those outside its process.

Read from the lease (who, and whether alive), ``progress.json`` (pace and faults, a few seconds
old), and receipts and the score table (rows); needs no cluster and no model.
"""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from vae_batch.plan import InputError
from vae_batch.run.output.lease import Holder, holder_of
from vae_batch.run.progress.progress_file import LastProgress, read_progress
from vae_batch.run.progress.status import RowStatus, run_status
from vae_batch.storage import Store

#: Heartbeats that a process may miss, which is not found on its machine, before it is dead.
_MISSED = 1.5

Word = Literal["preparing", "at work", "finishing", "died", "broken off", "ended"]


@dataclass(frozen=True)
class RunState:
    """The run at work, or else the last one, and the rows of all runs of a folder.

    Attributes:
      out: The folder, without credentials.
      now: When it was looked at, in seconds since 1970.
      holder: Who holds the lease; None where nobody does.
      is_alive: Whether the holder is.
      last: How far that run was when it last said so, or else the last one; None where it has not.
      rows: Of all runs; none where the first one is still preparing.
    """

    out: str
    now: float
    holder: Holder | None
    is_alive: bool
    last: LastProgress | None
    rows: tuple[RowStatus, ...]

    @property
    def word(self) -> Word:
        """What the run is at: ``finishing`` compares checkpoints and draws the report."""
        if self.is_alive:
            if self.last is None:
                return "preparing"
            return "at work" if self.last.state == "under way" else "finishing"
        if self.holder is not None or (self.last and self.last.state == "under way"):
            return "died"
        return "broken off" if self.last and self.last.state == "broken off" else "ended"

    @property
    def heard(self) -> float | None:
        """Seconds since the last sign of life."""
        signs = [sign.heartbeat for sign in (self.holder,) if sign]
        signs += [last.at for last in (self.last,) if last]
        return max(0.0, self.now - max(signs)) if signs else None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by their status."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def is_complete(self) -> bool:
        """Whether every row is scored."""
        return all(row.status == "scored" for row in self.rows)


def run_state(location: str) -> RunState:
    """What the files of an output folder say of its run.

    Raises:
      InputError: No run has begun there.
    """
    store = Store.open(location)
    holder = holder_of(store)
    now = time.time()
    is_alive = holder is not None and not _is_dead(holder, now)
    last = read_progress(store)
    if holder is not None and last is not None and last.at < _since(holder):
        last = None  # of an earlier run
    try:
        rows = tuple(run_status(location))
    except InputError:
        if not is_alive:
            raise
        rows = ()  # its plan is not on record yet
    return RunState(store.shown, now, holder, is_alive, last, rows)


def _is_dead(holder: Holder, now: float) -> bool:
    """Expired, or missing a heartbeat with its process gone from this machine."""
    if holder.is_expired:
        return True
    is_late = now - holder.heartbeat > _MISSED * holder.period
    return is_late and holder.host == socket.gethostname() and not _is_running(holder.pid)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _since(holder: Holder) -> float:
    try:
        return datetime.datetime.fromisoformat(holder.since).timestamp()
    except ValueError:
        return 0.0
