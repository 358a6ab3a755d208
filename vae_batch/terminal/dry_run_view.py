"""What a run would cost, in a table and in sentences, or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.dry_run import DryRun
from vae_batch.plan.quantities import duration, file_size, plural
from vae_batch.report.labels import elide, printable
from vae_batch.run.cost.default_rates import MEASURED_ON
from vae_batch.run.cost.estimate import Estimate, Line
from vae_batch.terminal.words import KINDS

_SOURCES = {"receipts": "measured", "defaults": "rough", "unknown": "unknown"}


def dry_run_view(found: DryRun) -> list[RenderableType]:
    """A table of the work, and sentences about it."""
    estimate = found.estimate
    said = f"{found.out}: {found.open_rows:,} of {plural(found.rows, 'row')} to score"
    done = f", {plural(found.shards_done, 'shard')} done before" if found.shards_done else ""
    parts: list[RenderableType] = [Text(printable(said + done))]
    if estimate.lines or estimate.tasks.count:
        parts.append(_table(estimate))
    parts += [Text(sentence) for sentence in _sentences(found)]
    return parts


def dry_run_json(found: DryRun) -> dict[str, Any]:
    """The same for programs; times in seconds, sizes in bytes."""
    estimate = found.estimate
    lines = [
        {**asdict(line.work), "size": round(line.work.size), "worker_seconds": line.seconds}
        | {"rate": line.source}
        for line in estimate.lines
    ]
    return {
        "out": found.out,
        "rows": found.rows,
        "open_rows": found.open_rows,
        "shards_done": found.shards_done,
        "shards": estimate.shards,
        "images": estimate.images,
        "size": round(estimate.size),
        "seconds": estimate.seconds,
        "is_race": found.is_race,
        "devices": asdict(estimate.devices),
        "work": lines,
        "tasks": {**asdict(estimate.tasks), "size": round(estimate.tasks.size)},
        "last_run": asdict(found.last.snapshot) if found.last else None,
    }


def _table(estimate: Estimate) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Work", overflow="fold", min_width=12)
    for name in ("Shards", "Images", "Bytes", "Worker time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Rate", no_wrap=True, style="dim")
    for line in estimate.lines:
        table.add_row(*_cells(line))
    tasks = estimate.tasks
    if tasks.count:
        rest = (file_size(tasks.size), duration(tasks.seconds), "rough")
        table.add_row("moments and scores", f"{tasks.count:,}", "", *rest)
    busy = estimate.worker_seconds
    total = duration(busy + tasks.seconds) if busy is not None else "?"
    table.add_section()
    sums = (f"{estimate.shards:,}", f"{estimate.images:,}", file_size(estimate.size), total, "")
    table.add_row("all", *sums, style="bold")
    return table


def _cells(line: Line) -> list[str]:
    work = line.work
    name = KINDS.get(work.kind, work.kind)
    if work.extractor:
        name += f" [{elide(printable(work.extractor), 28)}]"
    spent = "?" if line.seconds is None else duration(line.seconds)
    counts = f"{work.shards:,}", f"{work.images:,}", file_size(work.size)
    source = "" if work.kind == "images" else _SOURCES[line.source]
    return [name, *counts, spent, source]


def _sentences(found: DryRun) -> list[str]:
    estimate, said = found.estimate, []
    on = f"{'in' if estimate.devices.is_serial else 'on'} {estimate.devices.words}"
    if not estimate.lines and not estimate.tasks.count:
        return [f"nothing is left to do, {on}"]
    if estimate.seconds is None:
        said.append(f"the time is unknown: nothing has been measured yet {on}")
    else:
        said.append(f"about {duration(estimate.seconds)} {on}, without drawing the report")
    if "defaults" in estimate.sources:
        said.append(f"rough: scaled from {MEASURED_ON}; after a first run, its own rates are used")
    if found.is_race:
        said.append("at most: checkpoints that are dropped from the race take less")
    if found.last is not None and found.last.snapshot.work:
        last = found.last.snapshot
        seconds = duration(sum(last.phases.values()))
        shards = plural(sum(one.count for one in last.work if one.device), "shard")
        said.append(f"the last run here took {seconds} for {shards} ({printable(last.devices)})")
    return said
