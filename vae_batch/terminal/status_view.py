"""A run that works elsewhere, or that has ended, in lines and a table."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.report.labels import printable, without_shared_folder
from vae_batch.run.output.lease import Holder
from vae_batch.run.progress.run_state import RunState
from vae_batch.run.progress.status import RowStatus
from vae_batch.terminal import words

#: Rows that are listed where not all are asked for.
_LISTED = 20

_GOES_ON = "the same `vae-batch score` goes on from here"


def status_view(state: RunState, *, everything: bool = False) -> list[RenderableType]:
    """Who is at work and how far; rows under way, and why others failed: lines and a table.

    Args:
      state: Of the folder.
      everything: List every row, not only those that are neither scored nor waiting.
    """
    failed = [row for row in state.rows if row.status == "failed"]
    few = len(state.rows) <= _LISTED
    listed = [row for row in state.rows if everything or few or row.status == "under way"]
    shown = listed if everything else listed[:_LISTED]
    parts: list[RenderableType] = [Text(line) for line in _lines(state)]
    if shown:
        parts.append(_table(shown))
    more = len(listed) - len(shown)
    parts += [Text(f"and {more} more under way; --all lists every row")] if more else []
    parts += [Text(line, style="red") for line in _failures(failed, everything=everything)]
    return parts


def status_json(state: RunState) -> dict[str, Any]:
    """The same for programs; times are in seconds."""
    last = state.last
    return {
        "out": state.out,
        "state": state.word,
        "heard_s": state.heard,
        "holder": asdict(state.holder) if state.holder else None,
        "is_alive": state.is_alive,
        "reason": last.reason if last else "",
        "progress": asdict(last.standing) if last else None,
        "progress_at": last.at if last else None,
        "counts": state.counts,
        "rows": [asdict(row) for row in state.rows],
    }


def _lines(state: RunState) -> Iterator[str]:
    for line in _who(state):
        yield printable(line)
    if state.rows:
        yield _rows(state)
    if state.last is not None and state.word not in ("preparing", "ended"):
        yield from _progress(state)
    if not state.is_alive and (state.word != "ended" or not state.is_complete):
        yield _GOES_ON


def _who(state: RunState) -> Iterator[str]:
    """What the run is at and since when, and who holds the lease."""
    ago = "" if state.heard is None else f"{words.duration(state.heard)} ago"
    holder, said = state.holder, f"{state.out}: "
    if state.is_alive and holder is not None:
        doing = {"preparing": "preparing", "finishing": "comparing and drawing"}
        said += f"{doing.get(state.word, 'at work')} since {_time(holder)}, last heard of {ago}"
    elif state.word == "died":
        said += f"its run has died, last heard of {ago}"
    elif state.word == "broken off" and state.last is not None:
        why = state.last.reason
        said += f"stopped {ago}" if why == "stopped" else f"broken off {ago}: {why}"
    else:
        said += f"ended {ago}" if ago else "no run is at work"
    yield said
    if holder is not None:
        yield str(holder)


def _time(holder: Holder) -> str:
    """In UTC and without seconds, as far as the holder's words can be read."""
    try:
        since = datetime.datetime.fromisoformat(holder.since).astimezone(datetime.UTC)
    except ValueError:
        return holder.since
    return f"{since:%Y-%m-%d %H:%M} UTC"


def _rows(state: RunState) -> str:
    counts, total = state.counts, len(state.rows)
    said = [f"{counts.pop('scored', 0)} of {total} row{'' if total == 1 else 's'} scored"]
    states = ("failed", "under way", "waiting")
    said += [f"{counts[name]} {name}" for name in states if counts.get(name)]
    return ", ".join(said)


def _progress(state: RunState) -> Iterator[str]:
    """Shards, pace and workers when the run last said so; a dead one had time left and has none."""
    if state.last is None:
        return
    standing = state.last.standing
    shards = f"{standing.shards_done}/{standing.shards_total} shards"
    pace = words.pace(standing)
    is_at_work = state.word == "at work"
    yield ", ".join([shards, pace]) if pace and is_at_work else shards
    workers = words.workers(standing.activity)
    if workers and is_at_work:
        yield workers
    elif standing.activity is not None and standing.activity.faults:
        yield workers.partition(", ")[2]


def _table(rows: Sequence[RowStatus]) -> Table:
    shorts = without_shared_folder([row.checkpoint for row in rows])
    extractors = {row.extractor for row in rows}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Checkpoint", overflow="fold", min_width=10)
    if len(extractors) > 1:
        table.add_column("Extractor", overflow="fold", min_width=10)
    table.add_column("Status", no_wrap=True)
    table.add_column("Shards", justify="right", no_wrap=True)
    for row, short in zip(rows, shorts, strict=True):
        name = [printable(row.extractor)] if len(extractors) > 1 else []
        cells = [printable(short), *name, row.status, f"{row.done}/{row.total}"]
        table.add_row(*(Text(cell, style=_style(row.status)) for cell in cells))
    return table


def _style(status: str) -> str:
    return {"failed": "red", "under way": "cyan", "waiting": "dim"}.get(status, "")


def _failures(failed: Sequence[RowStatus], *, everything: bool) -> Iterator[str]:
    """Why each checkpoint failed, once however many extractors it has."""
    reasons = {(row.checkpoint, row.reason): None for row in failed}
    shown = list(reasons) if everything else list(reasons)[:_LISTED]
    for checkpoint, reason in shown:
        named = reason.startswith(f"{checkpoint} ")
        yield printable(f"failed: {reason}" if named else f"{checkpoint}: failed: {reason}")
    if len(reasons) > len(shown):
        yield f"and {len(reasons) - len(shown)} more failed; --all lists them"
