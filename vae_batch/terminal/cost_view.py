"""What a run would cost, and what it has cost, in a table and in sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.dry_run import DryRun
from vae_batch.report.labels import elide, printable
from vae_batch.run.cost.cost_file import RunCost
from vae_batch.run.cost.default_rates import TABLE_DEVICE
from vae_batch.run.cost.estimate import Estimate, Line
from vae_batch.terminal.words import duration

_KINDS = {
    "images": "reference images, stored",
    "reference": "reference activations",
    "reference_pictures": "reference pixels",
    "description": "checkpoints loaded",
    "losses": "losses",
    "importance": "importance weights",
    "gallery": "galleries",
    "pictures": "generated pixels",
    "generated": "generated activations",
    "reconstructed": "reconstructed activations",
}
_SOURCES = {"receipts": "measured", "table": "rough", "unknown": "not known"}


def dry_run_view(found: DryRun) -> list[RenderableType]:
    """A table of the work, and sentences about it."""
    estimate = found.estimate
    said = f"{found.out}: {found.open_rows} of {found.rows} rows to score"
    done = f", {found.shards_done:,} shards done before" if found.shards_done else ""
    parts: list[RenderableType] = [Text(printable(said + done))]
    if estimate.lines or estimate.light_tasks:
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
        "light": {
            "tasks": estimate.light_tasks,
            "core_seconds": estimate.light_seconds,
            "size": round(estimate.light_size),
        },
        "last_run": asdict(found.last) if found.last else None,
    }


def cost_sentences(cost: RunCost) -> list[str]:
    """What a run has cost, beside what was expected of it: two lines."""
    expected = f"expected {size_words(cost.planned_size)}"
    said = [f"{cost.images:,} images, {size_words(cost.size)} ({expected})"]
    said.append(f"workers busy {duration(cost.worker_seconds)}{_expected_time(cost)}")
    if cost.light:
        said.append(f"reductions and scores {duration(cost.light_seconds)}")
    phases = ", ".join(f"{name} {duration(spent)}" for name, spent in cost.phases.items())
    return [f"cost: {'; '.join(said)}", f"phases: {phases}"]


def size_words(size: float) -> str:
    """Such as ``512 B``, ``1.4 kB``, ``83 MB`` or ``2.1 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            return f"{size / factor:.{1 if size < 9.95 * factor else 0}f} {unit}"
    return f"{size:.0f} B"


def _expected_time(cost: RunCost) -> str:
    if cost.planned_seconds is None:
        return ""
    return f" (expected about {duration(cost.planned_seconds)})"


def _table(estimate: Estimate) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Work", overflow="fold", min_width=12)
    for name in ("Shards", "Images", "Bytes", "Worker time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Rate", no_wrap=True, style="dim")
    for line in estimate.lines:
        table.add_row(*_cells(line))
    light = estimate.light_tasks
    if light:
        rest = (size_words(estimate.light_size), duration(estimate.light_seconds), "rough")
        table.add_row("reductions and scores", f"{light:,}", "", *rest)
    busy = estimate.worker_seconds
    total = duration(busy + estimate.light_seconds) if busy is not None else "?"
    table.add_section()
    sums = (f"{estimate.shards:,}", f"{estimate.images:,}", size_words(estimate.size), total, "")
    table.add_row("all", *sums, style="bold")
    return table


def _cells(line: Line) -> list[str]:
    work = line.work
    name = _KINDS.get(work.kind, work.kind)
    if work.extractor:
        name += f" [{elide(printable(work.extractor), 28)}]"
    spent = "?" if line.seconds is None else duration(line.seconds)
    counts = f"{work.shards:,}", f"{work.images:,}", size_words(work.size)
    source = "" if work.kind == "images" else _SOURCES[line.source]
    return [name, *counts, spent, source]


def _sentences(found: DryRun) -> list[str]:
    estimate, said = found.estimate, []
    on = f"on {estimate.devices.words}"
    if not estimate.lines and not estimate.light_tasks:
        return [f"nothing is left to do, {on}"]
    if estimate.seconds is None:
        said.append(f"how long it takes {on} cannot be told: nothing was measured on it yet")
    else:
        said.append(f"about {duration(estimate.seconds)} {on}, before the report is drawn")
    if "table" in estimate.sources:
        said.append(f"rough: rates of {TABLE_DEVICE}, by the core; a first run measures its own")
    if found.is_race:
        said.append("at most: checkpoints that leave the race cost less")
    if found.last is not None:
        last = found.last
        said.append(
            f"the last run here took {duration(last.seconds)} for {last.shard_count:,} shards "
            f"on {printable(last.devices)}"
        )
    return said
