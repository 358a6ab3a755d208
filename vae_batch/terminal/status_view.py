"""The state of a run, as lines and a table, or as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.plan.quantities import duration, plural
from vae_batch.report.labels import printable, without_shared_folder
from vae_batch.run.output.lease import Holder
from vae_batch.run.progress.status import RowStatus, RunState
from vae_batch.terminal import words

#: Rows that are listed unless all are asked for.
_LISTED = 20

_RESUME = "run the same `vae-batch score` to resume"


def status_view(state: RunState, *, everything: bool = False) -> list[RenderableType]:
    """Lines on the run, a table of running rows, and why others failed.

    Args:
        state: State of the output folder.
        everything: List every row; otherwise of many rows only the running ones.
    """
    failed = [row for row in state.rows if row.status == "failed"]
    few = len(state.rows) <= _LISTED
    listed = [row for row in state.rows if everything or few or row.status == "running"]
    shown = listed if everything else listed[:_LISTED]
    parts: list[RenderableType] = [Text(line) for line in _lines(state)]
    if shown:
        parts.append(_table(shown))
    more = len(listed) - len(shown)
    parts += [Text(f"and {more} more running; --all lists every row")] if more else []
    parts += [Text(line, style="red") for line in _failures(failed, everything=everything)]
    return parts


def status_json(state: RunState) -> dict[str, Any]:
    """The same for programs; times are in seconds."""
    last = state.last
    return {
        "out": state.out,
        "state": state.state,
        "phase": state.phase,
        "heard_s": state.heard,
        "holder": asdict(state.holder) if state.holder else None,
        "is_alive": state.is_alive,
        "reason": last.reason if last else "",
        "progress": asdict(last.snapshot) if last else None,
        "progress_at": last.at if last else None,
        "counts": state.counts,
        "rows": [asdict(row) for row in state.rows],
    }


def _lines(state: RunState) -> Iterator[str]:
    for line in _run(state):
        yield printable(line)
    if state.rows:
        yield _rows(state)
    if state.last is not None and state.state != "finished":
        yield from _progress(state)
    if state.last is not None and not state.is_alive:
        yield from words.times(state.last.snapshot)
    if not state.is_alive and (state.state != "finished" or not state.is_complete):
        yield _RESUME


def _run(state: RunState) -> Iterator[str]:
    """What the run does and since when, and who holds the lease."""
    ago = "" if state.heard is None else f"{duration(state.heard)} ago"
    holder, last = state.holder, state.last
    if state.is_alive and holder is not None:
        said = f"running since {_time(holder)}, phase {state.phase}, last sign of life {ago}"
    elif state.state == "died":
        said = f"died, last sign of life {ago}"
    elif state.state == "interrupted" and last is not None:
        said = f"stopped {ago}" if last.reason == "stopped" else f"interrupted {ago}: {last.reason}"
    else:
        said = f"finished {ago}" if ago else "not running"
    yield f"{state.out}: {said}"
    if holder is not None:
        yield str(holder)


def _time(holder: Holder) -> str:
    """Begin of the lease in UTC, without seconds."""
    try:
        since = datetime.datetime.fromisoformat(holder.since).astimezone(datetime.UTC)
    except ValueError:
        return holder.since
    return f"{since:%Y-%m-%d %H:%M} UTC"


def _rows(state: RunState) -> str:
    counts = state.counts
    said = [f"{counts.get('scored', 0)} of {plural(len(state.rows), 'row')} scored"]
    states = ("failed", "running", "waiting")
    return ", ".join([*said, *(f"{counts[name]} {name}" for name in states if counts.get(name))])


def _progress(state: RunState) -> Iterator[str]:
    """Shards, pace and workers as the run last said; a dead one has no pace."""
    if state.last is None:
        return
    snapshot = state.last.snapshot
    done = f"{snapshot.shards_done}/{snapshot.shards_total} shards"
    if state.is_alive and state.phase == "work":
        yield ", ".join(filter(None, [done, words.pace(snapshot)]))
        yield from filter(None, [words.workers(snapshot)])
    else:
        yield done
        yield from words.faults(snapshot)


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
    return {"failed": "red", "running": "cyan", "waiting": "dim"}.get(status, "")


def _failures(failed: Sequence[RowStatus], *, everything: bool) -> Iterator[str]:
    """Why each checkpoint failed, once for all its extractors."""
    reasons = {(row.checkpoint, row.reason): None for row in failed}
    shown = list(reasons) if everything else list(reasons)[:_LISTED]
    for checkpoint, reason in shown:
        named = reason.startswith(f"{checkpoint} ")
        yield printable(f"failed: {reason}" if named else f"{checkpoint}: failed: {reason}")
    if len(reasons) > len(shown):
        yield f"and {len(reasons) - len(shown)} more failed; --all lists them"
