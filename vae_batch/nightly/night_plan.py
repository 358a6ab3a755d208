"""Which rows of a plan this night works on, and which it leaves out and why."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vae_batch.nightly.history import Row
from vae_batch.nightly.stable_checkpoints import FileState, Unfinished, find_unfinished
from vae_batch.run.planning.open_run import open_rows
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan

#: Nights on which an unchanged checkpoint may fail before it is left alone: a fault that passes
#: is retried, and a file that stays broken neither starts a cluster nor alarms every night.
NIGHTS_TO_FAIL = 3


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
    plan: RunPlan, history: Sequence[Row], date: datetime.date, began: float
) -> Tonight:
    """Leave out what is still being written, and what failed too often.

    Args:
        plan: Of all checkpoints that the spec names.
        history: Rows of earlier nights.
        date: Of this night.
        began: When it began, in seconds since 1970.
    """
    failures = _failures(history)
    recorded = {(row["checkpoint"], row["extractor"], row["fingerprint"]) for row in history}
    missing = open_rows(plan)
    given_up = {r.key for r in missing if len(failures[_mark(r)]) >= NIGHTS_TO_FAIL}
    tried = {r.key for r in missing if date in failures[_mark(r)]}
    waiting = [r for r in missing if r.key not in given_up | tried]
    new = {r.checkpoint.label: r.checkpoint for r in plan.rows if _mark(r) not in recorded}
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


def _mark(row: PlannedRow) -> tuple[str, str, str]:
    return (*row.key, row.fingerprint)


def _failures(history: Sequence[Row]) -> dict[tuple[str, str, str], set[datetime.date]]:
    """Nights on which each row failed, by its fingerprint: other settings are another chance."""
    nights: dict[tuple[str, str, str], set[datetime.date]] = defaultdict(set)
    for row in history:
        if row["status"] == "failed":
            mark = (row["checkpoint"], row["extractor"], row["fingerprint"])
            nights[mark].add(row["date"])
    return nights
