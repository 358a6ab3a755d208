"""Which rows of a plan a night works on, and which of the score table it adds to the history."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vae_batch.nightly.history import ADOPTED, HistoryRow, content_of
from vae_batch.nightly.stable_checkpoints import (
    FileState,
    Unfinished,
    find_unfinished,
)
from vae_batch.run.planning.open_run import open_rows
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.storage import ScoreRow

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
