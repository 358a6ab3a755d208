"""``progress.json``: how far the last run of an output folder was when it was last heard of.

It is word of a run for those who are not its process, and no result: nothing is decided by it,
and a run goes on where it cannot be written.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vae_batch.plan.credentials import values_without_credentials
from vae_batch.run.progress.activity import Activity
from vae_batch.run.progress.counters import Part, Standing
from vae_batch.storage import Store
from vae_batch.storage.checked_json import decode_checked, encode_checked

PROGRESS_FILE = "progress.json"

#: Of a run: its shards and rows are under way; they have ended; or they were broken off.
State = Literal["under way", "ended", "broken off"]

#: Parts under way that are written; a resumed run may have as many as checkpoints.
_PARTS = 32


@dataclass(frozen=True)
class LastProgress:
    """What ``progress.json`` says.

    Attributes:
      at: When it was written, in seconds since 1970 by the writer's clock.
      state: Of the run then.
      reason: Why it was broken off.
      standing: How far it was.
    """

    at: float
    state: State
    reason: str
    standing: Standing


def write_progress(store: Store, standing: Standing, state: State, reason: str = "") -> None:
    """Write the file of now.

    Raises:
      OSError: It cannot be written.
    """
    shown = dataclasses.replace(standing, under_way=standing.under_way[:_PARTS])
    fields = dataclasses.asdict(LastProgress(time.time(), state, reason, shown))
    store.write(PROGRESS_FILE, encode_checked(values_without_credentials(fields)))


def read_progress(store: Store) -> LastProgress | None:
    """What the file says; None where there is none, or it cannot be read.

    Raises:
      OSError: The store cannot be read.
    """
    try:
        fields = decode_checked(store.read(PROGRESS_FILE))
        return LastProgress(**{**fields, "standing": _standing(fields["standing"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _standing(fields: Mapping[str, Any]) -> Standing:
    found = fields["activity"]
    activity = None if found is None else Activity(**found)
    parts = tuple(Part(**part) for part in fields["under_way"])
    return Standing(**{**fields, "under_way": parts, "activity": activity})
