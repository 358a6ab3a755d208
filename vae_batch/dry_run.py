"""What a run would do and cost, and how that is shown; nothing is computed or written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import EvaluationSpec, Unit
from vae_batch.plan.quantities import duration, file_size, plural
from vae_batch.report.labels import elide, printable
from vae_batch.run.cost.default_rates import MEASURED_ON, tasks_of
from vae_batch.run.cost.estimate import (
    Devices,
    Estimate,
    Line,
    PlannedWork,
    cost_factors,
    estimate,
    known_rates,
    work_of,
)
from vae_batch.run.output.stores import storage_faults
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE
from vae_batch.run.planning.devices import devices_of, joins_cluster, local_devices
from vae_batch.run.planning.open_run import open_rows, prepare
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan, with_batch_size
from vae_batch.run.planning.work_queue import WorkQueue
from vae_batch.run.progress.events import EventSink
from vae_batch.run.progress.progress_file import LastProgress, read_progress
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.storage import finished_shards, is_activations, is_reduced
from vae_batch.terminal.words import KINDS


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        out: Output folder, without credentials.
        rows: All rows of its plan.
        open_rows: Those that it would score.
        shards_done: Their shards that are finished already.
        estimate: Cost of the missing ones.
        is_race: Whether checkpoints may be dropped before all of it is computed.
        last: What the last run in the folder computed; None if there was none.
    """

    out: str
    rows: int
    open_rows: int
    shards_done: int
    estimate: Estimate
    is_race: bool
    last: LastProgress | None


def dry_run(spec: EvaluationSpec, emit: EventSink) -> DryRun:
    """Plan a run as `evaluate` does, and estimate its cost.

    A running Ray cluster that the spec names is asked for its devices; no local one is started.

    Args:
        spec: Of the run.
        emit: Takes notes on the reference images.

    Raises:
        InputError: The run could not use something given.
    """
    plan = prepare(spec, emit)
    if plan.spec.batch_size is None:
        plan = with_batch_size(plan, CPU_BATCH_SIZE)
    with storage_faults(plan.stores.out):
        return _cost_of(plan, found_devices(spec), spec.race is not None)


def found_devices(spec: EvaluationSpec) -> Devices:
    """Devices of this machine, or of the cluster that a run would join.

    Raises:
        InputError: The cluster cannot be reached.
    """
    if not joins_cluster(spec):
        return local_devices(spec.workers)
    from vae_batch.evaluation import make_executor

    with make_executor(spec) as executor:
        return devices_of(executor, is_local=False)


def _cost_of(plan: RunPlan, devices: Devices, is_race: bool) -> DryRun:
    rows = open_rows(plan)
    queue = WorkQueue(plan.stores, rows)
    missing, factors = queue.missing(), cost_factors(plan)
    _, done = queue.count()
    missing_units = {unit.path for unit, _ in missing}
    reductions = [unit for unit in _activations(rows) if _is_open(plan, unit, missing_units)]
    scored = [(plan.spec.samples, extractor_folder(row.extractor)) for row in rows]
    tasks = tasks_of(reductions, scored, plan.spec.metrics, factors)
    work = [*_images(plan, rows), *work_of(missing, factors)]
    found = estimate(work, known_rates(plan, devices), tasks, factors, devices)
    out = plan.stores.out
    last = read_progress(out)
    return DryRun(out.shown, len(plan.rows), len(rows), done, found, is_race, last)


def _activations(rows: list[PlannedRow]) -> list[Unit]:
    """Units of activations, each once."""
    units = {unit.path: unit for row in rows for unit in row.units.values()}
    return [unit for unit in units.values() if is_activations(unit)]


def _is_open(plan: RunPlan, unit: Unit, missing: set[str]) -> bool:
    return unit.path in missing or not is_reduced(plan.stores.holding(unit), unit)


def _images(plan: RunPlan, rows: list[PlannedRow]) -> list[PlannedWork]:
    """Reference and training images that the driver has yet to store."""
    sets = [facts for facts in (plan.reference, plan.training) if facts is not None and rows]
    found = [_images_of(plan, facts, facts.shape) for facts in sets if facts.shape is not None]
    return [work for work in found if work.shards]


def _images_of(plan: RunPlan, facts: ReferenceFacts, shape: tuple[int, int, int]) -> PlannedWork:
    done = set(finished_shards(plan.stores.reference, facts.unit))
    missing = [shard for shard in facts.unit.shards() if shard not in done]
    height, width, channels = shape
    images = sum(map(len, missing))
    size = float(images * height * width * channels)
    return PlannedWork("images", None, len(missing), images, images, size)


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
