"""What a finished run tells a simulation: its shards with their seconds, and what it spent around.

Seconds of shards are those of their receipts; ``cost.json`` tells the rest. A worker's first shard,
and the first of each kind for a checkpoint, take longer, since networks are loaded and compiled:
by how much is seen from the others of their unit. This is exact for a run with one worker, where
the first shard of a unit is the first that was computed; of a run with more it is not.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster_model import REFERENCE, SimulatedTask, Workload

from vae_batch.plan import InputError, Unit
from vae_batch.run.cost.cost_file import RunCost, read_costs
from vae_batch.run.execute.scheduling import Task
from vae_batch.run.output.recorded_rows import open_record
from vae_batch.run.output.run_record import RecordedRow
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import is_activations, read_receipt

#: Where the run has noted no light tasks: of a row at 10,000 samples and 64 features.
_REDUCTION, _SCORE = 0.15, 8.0

#: Where it noted no phases: of Ray's on two cores, and what is around it.
_BOOT, _STARTING, _PLANNING, _AFTER = 8.0, 15.0, 2.0, 10.0

_READERS = 16


@dataclass(frozen=True)
class Calibration:
    """What was measured; times in seconds.

    Attributes:
      rows: Of the run's record.
      seconds: Of each shard, by its unit's path and its first sample: with all loaded.
      first: What the first shard of each kind takes more for a checkpoint.
      loads: To load each checkpoint, by its identifier.
      warm_up: What the first shard of a worker takes more.
      measured_busy: Sum of all receipts.
      reduction: Of one unit.
      score: Of one row.
      light_busy: Of all light tasks.
      boot: Until the first shard was under way.
      between: Of a worker, between two shards.
      starting: Ray, and what no phase covers.
      planning: Of all checkpoints.
      after: Comparing and drawing all of them.
      cost: The run's; None where it noted none.
      notes: What was assumed, for the reader.
    """

    rows: tuple[RecordedRow, ...]
    seconds: Mapping[tuple[str, int], float]
    first: Mapping[str, float]
    loads: Mapping[str, float]
    warm_up: float
    measured_busy: float
    reduction: float
    score: float
    light_busy: float
    boot: float
    between: float
    starting: float
    planning: float
    after: float
    cost: RunCost | None
    notes: tuple[str, ...]

    @property
    def checkpoints(self) -> list[str]:
        """Identifiers, in the order of the run."""
        return list(dict.fromkeys(filter(None, (u.checkpoint for u in units_of(self.rows)))))

    @property
    def workers(self) -> int:
        """Of the run; 1 where it did all in one process, or noted none."""
        return max(1, self.cost.workers) if self.cost else 1

    @property
    def cores(self) -> int:
        """That its workers shared; 0 where unknown, or where they were devices."""
        return self.cost.cores if self.cost else 0

    @property
    def is_serial(self) -> bool:
        """Whether light tasks waited for shards and shards for them: one process, no Ray."""
        return self.cost is not None and self.cost.workers == 0

    def scaled(self, shards: float, light: float) -> Calibration:
        """The same with all shards and light tasks longer by factors."""
        return dataclasses.replace(
            self,
            seconds={key: shards * value for key, value in self.seconds.items()},
            first={kind: shards * value for kind, value in self.first.items()},
            loads={name: shards * value for name, value in self.loads.items()},
            warm_up=shards * self.warm_up,
            reduction=light * self.reduction,
            score=light * self.score,
        )


def calibrate(location: str) -> Calibration:
    """What the last run in an output folder tells.

    Raises:
      InputError: There is no run, or shards of it have no receipt.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec)
    measured = _receipt_seconds(stores, units_of(record.rows))
    costs = [cost for cost in read_costs(stores.out) if cost.shards]
    cost = costs[-1] if costs else None
    if cost is not None and cost.shard_count < len(measured):
        raise InputError(
            f"{location}: its last run computed {cost.shard_count} of {len(measured)} shards, so "
            "its phases are not those of all; calibrate with a run into an empty folder"
        )
    return calibration_of(record.rows, measured, cost)


def calibration_of(
    rows: Sequence[RecordedRow], measured: Mapping[tuple[str, int], float], cost: RunCost | None
) -> Calibration:
    """The same from the seconds of receipts, by unit path and first sample, and a run's cost."""
    units = units_of(rows)
    warm, excess = {}, {}
    for unit in units:
        own, more = split_first([(len(s), measured[unit.path, s.start]) for s in unit.shards()])
        warm |= {(unit.path, s.start): v for s, v in zip(unit.shards(), own, strict=True)}
        excess[unit.path] = more
    loads = {
        str(unit.checkpoint): measured[unit.path, 0] for unit in units if unit.kind == "description"
    }
    warm |= {(unit.path, 0): 0.0 for unit in units if unit.kind == "description"}
    first, warm_up = _usual_excess(units, excess)
    loads, late = _usual_loads(loads)
    notes = [] if cost else ["no cost.json: phases and light tasks are assumed, not measured"]
    if cost is not None and cost.workers > 1:
        notes.append(f"calibrated with {cost.workers} workers: what loading costs is uncertain")
    if cost is not None and cost.workers == 0:
        notes.append(f"calibrated without Ray: {_BOOT:g} s are assumed until workers are there")
    return Calibration(
        rows=tuple(rows),
        seconds=warm,
        first=first,
        loads=loads,
        warm_up=warm_up + late,
        measured_busy=sum(measured.values()),
        **_around(cost, len(measured)),
        cost=cost,
        notes=tuple(notes),
    )


def units_of(rows: Sequence[RecordedRow]) -> list[Unit]:
    """Units of some rows, each once, in the order in which the engine takes them."""
    units = {unit.path: unit for row in rows for unit in row.units.values()}
    return sorted(units.values(), key=lambda unit: unit.checkpoint is not None)


def split_first(shards: Sequence[tuple[int, float]]) -> tuple[list[float], float]:
    """Seconds of a unit's shards with all loaded, and what the first one took more.

    Args:
      shards: Rows and seconds of each; of a single one nothing can be told.
    """
    seconds = [value for _, value in shards]
    if len(shards) < 2:
        return seconds, 0.0
    usual = shards[0][0] * statistics.median(value / rows for rows, value in shards[1:])
    usual = min(usual, seconds[0])
    return [usual, *seconds[1:]], seconds[0] - usual


def workload_of(calibration: Calibration, checkpoints: int) -> Workload:
    """The run's workload with so many checkpoints: its own, again and again."""
    own = calibration.checkpoints
    by_checkpoint: dict[str, list[RecordedRow]] = {name: [] for name in own}
    for row in calibration.rows:
        name = next(u.checkpoint for u in row.units.values() if u.checkpoint is not None)
        by_checkpoint[name].append(row)
    numbers: dict[str, int] = {}
    origin: dict[str, str] = {}
    rows: list[list[Unit]] = []
    for copy in range(checkpoints):
        for row in by_checkpoint[own[copy % len(own)]]:
            rows.append([_copied(unit, copy) for unit in row.units.values()])
            pairs = zip(rows[-1], row.units.values(), strict=True)
            origin |= {new.path: old.path for new, old in pairs}
    units = {unit.path: unit for row in rows for unit in row}
    for path in units:
        numbers[path] = len(numbers)
    ordered = sorted(units.values(), key=lambda unit: unit.checkpoint is not None)
    tasks = [(unit, shard) for unit in ordered for shard in unit.shards()]
    return Workload(
        tasks=[_task(calibration, task, numbers, origin) for task in tasks],
        loads={n: calibration.loads.get(own[n % len(own)], 0.0) for n in range(checkpoints)},
        warm_up=calibration.warm_up,
        reductions={
            numbers[path]: calibration.reduction
            for path, unit in units.items()
            if is_activations(unit)
        },
        rows=[(frozenset(numbers[u.path] for u in row), calibration.score) for row in rows],
    )


def _copied(unit: Unit, copy: int) -> Unit:
    """A unit of another checkpoint of the same kind; the reference is shared."""
    if unit.checkpoint is None:
        return unit
    return dataclasses.replace(unit, path=f"{unit.path}#{copy}", checkpoint=str(copy))


def _task(
    calibration: Calibration, task: Task, numbers: Mapping[str, int], origin: Mapping[str, str]
) -> SimulatedTask:
    unit, shard = task
    return SimulatedTask(
        checkpoint=REFERENCE if unit.checkpoint is None else int(unit.checkpoint),
        kind=unit.kind,
        unit=numbers[unit.path],
        seconds=calibration.seconds[origin[unit.path], shard.start],
        first=0.0 if unit.checkpoint is None else calibration.first.get(unit.kind, 0.0),
    )


def _receipt_seconds(stores: RunStores, units: Sequence[Unit]) -> dict[tuple[str, int], float]:
    tasks = [(unit, shard) for unit in units for shard in unit.shards()]
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda t: read_receipt(stores.holding(t[0]), t[0], t[1].name), tasks)
        receipts = list(found)
    missing = sum(receipt is None for receipt in receipts)
    if missing:
        raise InputError(
            f"{stores.out.shown}: {missing} of {len(tasks)} shards have no receipt; give a "
            "finished run whose activations were kept (--keep-activations all)"
        )
    return {
        (unit.path, shard.start): receipt.seconds
        for (unit, shard), receipt in zip(tasks, receipts, strict=True)
        if receipt is not None
    }


def _usual_excess(
    units: Sequence[Unit], excess: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """What first shards take more by kind, and what the first ones of the run took beside that."""
    by_kind: dict[str, list[float]] = {}
    for unit in units:
        by_kind.setdefault(unit.kind, []).append(excess[unit.path])
    usual, warm_up = {}, 0.0
    for kind, found in by_kind.items():
        is_shared = kind in ("reference", "reference_pictures")
        later = found[1:] or found
        usual[kind] = 0.0 if is_shared else statistics.median(later)
        warm_up += max(0.0, found[0] - usual[kind])
    return usual, warm_up


def _usual_loads(loads: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Loads with the first one as long as is usual, and what it took beside that: imports."""
    values = list(loads.values())
    if len(values) < 2:
        return dict(loads), 0.0
    usual = min(values[0], statistics.median(values[1:]))
    return {**loads, next(iter(loads)): usual}, values[0] - usual


def _around(cost: RunCost | None, shards: int) -> dict[str, float]:
    """What a run spends around its shards."""
    if cost is None or cost.first_end is None or cost.last_end is None:
        usual = {"reduction": _REDUCTION, "score": _SCORE, "light_busy": 0.0, "boot": _BOOT}
        return {**usual, "between": 0.0, "starting": _STARTING} | {
            "planning": _PLANNING,
            "after": _AFTER,
        }
    light = {one.task: one.seconds / one.count for one in cost.light}
    first = cost.first_seconds or 0.0
    inline = cost.light_seconds if cost.workers == 0 else 0.0
    spent = cost.last_end - cost.first_end - (cost.worker_seconds - first) - inline
    planning = cost.phases.get("plan", 0.0)
    after = sum(cost.phases.get(name, 0.0) for name in ("compare", "confirm", "report"))
    return {
        "reduction": light.get("reduce_unit", 0.0),
        "score": light.get("score_row", 0.0),
        "light_busy": cost.light_seconds,
        "boot": max(0.0, cost.first_end - first) if cost.workers else _BOOT,
        "between": max(0.0, spent) / max(1, shards - 1) if cost.workers <= 1 else 0.0,
        "starting": cost.seconds - after - planning - cost.phases.get("work", 0.0),
        "planning": planning,
        "after": after,
    }
