"""What of the score table the history does not know yet."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

from vae_batch.nightly.history import ADOPTED, Row, content_of, history_row
from vae_batch.nightly.night_plan import Tonight
from vae_batch.nightly.stable_checkpoints import FileState
from vae_batch.storage import ScoreRow

#: Records of the score table by (checkpoint, extractor).
Table = Mapping[tuple[str, str], Row]


def by_key(rows: Iterable[ScoreRow]) -> dict[tuple[str, str], Row]:
    """Records of the score table, as the history stores them, by (checkpoint, extractor)."""
    return {row.key: row.to_record() for row in rows}


def adopted_rows(table: Table, tonight: Tonight) -> list[Row]:
    """Rows for the history's beginning: what had been scored before there were nights.

    Args:
        table: The score table before this night scores anything.
        tonight: What it works on.
    """
    return [
        history_row(row, _day_of(row["scored_at"]), verdict=ADOPTED, is_newest=False)
        for key, row in table.items()
        if row["status"] == "scored" and key in tonight.found - tonight.attempted
    ]


def new_rows(
    table: Table, tonight: Tonight, history: Sequence[Row], date: datetime.date
) -> list[Row]:
    """Rows for tonight: scored content that the history does not hold, and tonight's failures.

    So a night that was killed after scoring is made up for by the next one.
    """
    known = {content_of(row) for row in history if row["status"] == "scored"}
    news = []
    for key, row in table.items():
        unknown = row["status"] == "scored" and content_of(row) not in known
        failed = row["status"] == "failed" and key in tonight.attempted
        if key in tonight.found and (unknown or failed):
            written_at = _written_at(tonight.states.get(row["checkpoint"]))
            news.append(history_row(row, date, written_at=written_at))
    return news


def refreshed_rows(table: Table, history: Sequence[Row]) -> list[Row]:
    """Rows of earlier nights whose checkpoint has got more metrics since, with their numbers.

    Date and verdict stay.
    """
    latest = {content_of(row): row for row in history if row["status"] == "scored"}
    found = []
    for row in table.values():
        old = latest.get(content_of(row)) if row["status"] == "scored" else None
        if old is not None and old["fingerprint"] != row["fingerprint"]:
            found.append({**old, **history_row(row, old["date"])})
    return found


def rows_before(history: Sequence[Row], date: datetime.date) -> list[Row]:
    """Scored rows to compare tonight's with, the latest of each content."""
    before = [row for row in history if row["status"] == "scored" and not is_of(row, date)]
    return list({content_of(row): row for row in before}.values())


def is_of(row: Row, date: datetime.date) -> bool:
    """Whether a row of the history is one of this night's."""
    return bool(row["date"] == date and row["verdict"] != ADOPTED)


def _day_of(scored_at: str) -> datetime.date:
    return datetime.datetime.fromisoformat(scored_at).date()


def _written_at(state: FileState | None) -> datetime.datetime | None:
    if state is None or state.written is None:
        return None
    whole = datetime.datetime.fromtimestamp(state.written, datetime.UTC)
    return whole.replace(microsecond=0)
