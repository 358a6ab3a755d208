"""Replay a finished run's receipts on simulated workers: makespan, idle share, cost of spot losses.

    python jobs/simulation/cluster.py results/ --checkpoints 1000 --speedup 60 \
        --workers 1,10,100,1000 --losses-per-hour 0.1 --json cluster.json

Best is a finished run with ``--workers 1`` into an empty folder. Each simulated worker is a machine
of its own, as fast as the measured one times ``--speedup``. It computes one shard at a time: of the
checkpoint that it has loaded while there is one, then of a checkpoint that nobody has, then of the
one with the most shards left. Loading a checkpoint takes what the first shard of each unit took
more than the unit's other shards. A worker that is lost begins again ``--replacement`` seconds
later, with nothing loaded, and its shard is computed again.

Not simulated: starting Ray, planning, scoring, the report, writing shards, waiting for machines,
workers that share the cores of one machine.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import random
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vae_batch.plan import InputError, Unit
from vae_batch.run.output.run_record import open_record
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import read_receipt

_READERS = 16


@dataclass(frozen=True)
class Work:
    """The shards of a run; all times in seconds.

    Attributes:
        shards: Seconds of the shards of each checkpoint, with everything loaded. The reference
            comes first.
        loads: Seconds to load each of these.
        warm_up: Seconds that a worker's first shard takes more: imports, extractor, compilation.
    """

    shards: tuple[tuple[float, ...], ...]
    loads: tuple[float, ...]
    warm_up: float = 0.0

    @property
    def count(self) -> int:
        """Number of shards."""
        return sum(map(len, self.shards))


@dataclass(frozen=True)
class Cluster:
    """What the work runs on; times in seconds.

    Attributes:
        workers: Number of workers.
        losses_per_hour: Losses of each worker, on average (Poisson).
        replacement: Until a lost worker is ready again.
    """

    workers: int
    losses_per_hour: float = 0.0
    replacement: float = 0.0


@dataclass(frozen=True)
class SimulatedRun:
    """The result of one simulation; times in seconds.

    Attributes:
        workers: Number of workers.
        makespan: From the first worker's start to the end of the last shard.
        busy: Seconds that workers spent on shards and loading, together.
        loading: Seconds of these spent on loading and warm-up.
        recomputed: Seconds of these spent on shards that were lost.
        losses: Number of lost workers.
    """

    workers: int
    makespan: float
    busy: float
    loading: float
    recomputed: float
    losses: int

    @property
    def idle_share(self) -> float:
        """Share of the workers' time in which they computed nothing."""
        return 1.0 - self.busy / (self.workers * self.makespan) if self.makespan else 0.0


def simulate(work: Work, cluster: Cluster, seed: int = 0) -> SimulatedRun:
    """Run the work on a cluster, with losses drawn from a seed."""
    return _Simulation(work, cluster, random.Random(seed)).run()


@dataclass
class _Worker:
    number: int
    dies: float
    loaded: int | None = None
    is_warm: bool = False


class _Simulation:
    """Events in the order of their times: a worker is free, or lost with a shard in hand."""

    def __init__(self, work: Work, cluster: Cluster, draw: random.Random) -> None:
        self._work, self._cluster, self._draw = work, cluster, draw
        self._left = [deque(shards) for shards in work.shards]
        self._holders = [0] * len(self._left)  # Workers that have each checkpoint loaded.
        self._workers = [_Worker(number, self._lifetime()) for number in range(cluster.workers)]
        #: Time, number of the worker, and the shard (place, seconds) that it is lost with.
        self._events: list[tuple[float, int, tuple[int, float] | None]] = [
            (0.0, number, None) for number in range(cluster.workers)
        ]
        self._idle: list[int] = []
        self._busy = self._loading = self._recomputed = self._makespan = 0.0
        self._losses = 0

    def run(self) -> SimulatedRun:
        while self._events:
            now, number, lost_with = heapq.heappop(self._events)
            worker = self._workers[number]
            if lost_with is not None:
                place, seconds = lost_with
                self._left[place].appendleft(seconds)
                self._replace(worker)
                for idle in self._idle:
                    heapq.heappush(self._events, (now, idle, None))
                self._idle.clear()
            elif worker.dies <= now:  # Lost while it had nothing to do.
                self._replace(worker)
            else:
                self._begin_shard(worker, now)
        counts = self._busy, self._loading, self._recomputed, self._losses
        return SimulatedRun(self._cluster.workers, self._makespan, *counts)

    def _begin_shard(self, worker: _Worker, now: float) -> None:
        place = self._next_place(worker.loaded)
        if place is None:
            self._idle.append(worker.number)
            return
        cold = 0.0 if worker.is_warm else self._work.warm_up
        if worker.loaded != place:
            cold += self._work.loads[place]
            self._load(worker, place)
        worker.is_warm = True
        seconds = self._left[place].popleft()
        end = now + cold + seconds
        if worker.dies < end:
            spent = worker.dies - now
            self._busy, self._recomputed = self._busy + spent, self._recomputed + spent
            self._loading += min(spent, cold)
            heapq.heappush(self._events, (worker.dies, worker.number, (place, seconds)))
        else:
            self._busy, self._loading = self._busy + cold + seconds, self._loading + cold
            self._makespan = max(self._makespan, end)
            heapq.heappush(self._events, (end, worker.number, None))

    def _next_place(self, loaded: int | None) -> int | None:
        """Choose the checkpoint of a worker's next shard; None if all shards are handed out."""
        if loaded is not None and self._left[loaded]:
            return loaded
        places = [place for place, shards in enumerate(self._left) if shards]
        untouched = (place for place in places if not self._holders[place])
        return next(untouched, max(places, key=lambda place: len(self._left[place]), default=None))

    def _load(self, worker: _Worker, place: int | None) -> None:
        """Give a worker another checkpoint, or none."""
        if worker.loaded is not None:
            self._holders[worker.loaded] -= 1
        if place is not None:
            self._holders[place] += 1
        worker.loaded = place

    def _replace(self, worker: _Worker) -> None:
        """Start a lost worker again, with nothing loaded."""
        self._losses += 1
        self._load(worker, None)
        worker.is_warm = False
        back = worker.dies + self._cluster.replacement
        worker.dies = back + self._lifetime()
        heapq.heappush(self._events, (back, worker.number, None))

    def _lifetime(self) -> float:
        if not self._cluster.losses_per_hour:
            return float("inf")
        return self._draw.expovariate(self._cluster.losses_per_hour / 3600)


def work_of(seconds: Mapping[Unit, Sequence[float]]) -> Work:
    """Separate loading from computing in the seconds of each unit's shards."""
    shards: dict[str | None, list[float]] = {None: []}
    loads: dict[str | None, float] = {None: 0.0}
    for unit, measured in seconds.items():
        usual = list(measured)
        if unit.kind == "description":  # Describing a checkpoint is loading it.
            usual[0] = 0.0
        elif len(usual) > 1:
            rows = [len(shard) for shard in unit.shards()]
            per_row = statistics.median(s / n for s, n in zip(usual[1:], rows[1:], strict=True))
            usual[0] = min(usual[0], per_row * rows[0])
        shards.setdefault(unit.checkpoint, []).extend(usual)
        loads[unit.checkpoint] = loads.get(unit.checkpoint, 0.0) + measured[0] - usual[0]
    # The run's first shards also paid for imports and compilation.
    own = [value for checkpoint, value in loads.items() if checkpoint is not None]
    typical = statistics.median(own) if own else 0.0
    warm_up = loads[None] + (max(0.0, own[0] - typical) if own else 0.0)
    loads = {checkpoint: min(value, typical) for checkpoint, value in loads.items()}
    loads[None] = 0.0
    return Work(tuple(map(tuple, shards.values())), tuple(loads[name] for name in shards), warm_up)


def resized(work: Work, checkpoints: int, speedup: float) -> Work:
    """Repeat the run's checkpoints up to a number, and shorten all shards by a factor."""
    own = len(work.shards) - 1
    places = [0, *(1 + number % own for number in range(checkpoints))]
    shards = tuple(tuple(s / speedup for s in work.shards[place]) for place in places)
    return dataclasses.replace(
        work, shards=shards, loads=tuple(work.loads[place] for place in places)
    )


def measured_seconds(location: str) -> dict[Unit, list[float]]:
    """Read the seconds of a finished run's shards from their receipts.

    Raises:
        InputError: There is no run, or shards of it have no receipt.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec)
    units = list({unit.path: unit for row in record.rows for unit in row.units.values()}.values())
    units.sort(key=lambda unit: unit.checkpoint is not None)
    tasks = [(unit, shard) for unit in units for shard in unit.shards()]
    with ThreadPoolExecutor(_READERS) as pool:
        receipts = list(
            pool.map(lambda t: read_receipt(stores.holding(t[0]), t[0], t[1].name), tasks)
        )
    if missing := receipts.count(None):
        raise InputError(
            f"{location}: {missing} of {len(tasks)} shards have no receipt; give a finished run "
            "with --keep-activations all"
        )
    found: dict[Unit, list[float]] = {unit: [] for unit in units}
    for (unit, _), receipt in zip(tasks, receipts, strict=True):
        found[unit].append(receipt.seconds if receipt else 0.0)
    return found


def main(
    out: Annotated[str, typer.Argument(help="Output folder of a finished run.")],
    workers: Annotated[str, typer.Option(help="Numbers of workers.")] = "1,2,4,8,16,64,256,1000",
    checkpoints: Annotated[
        int | None, typer.Option(min=1, help="Number of checkpoints; the run's own are repeated.")
    ] = None,
    speedup: Annotated[
        float, typer.Option(min=1e-3, help="Speed of a worker over the measured one.")
    ] = 1.0,
    losses_per_hour: Annotated[
        float, typer.Option(min=0, help="Losses of each worker (Poisson).")
    ] = 0.0,
    replacement: Annotated[
        float, typer.Option(min=0, help="Seconds until a lost worker is ready again.")
    ] = 120.0,
    seed: Annotated[int, typer.Option(help="Seed of the losses.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Simulate a finished run with other numbers of workers."""
    try:
        measured = work_of(measured_seconds(out))
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    count = checkpoints or len(measured.shards) - 1
    work = resized(measured, count, speedup)
    table = Table(box=SIMPLE_HEAD, title=f"{count} checkpoints, {work.count} shards")
    for name in ("Workers", "Makespan", "Idle", "Loading", "Lost", "Recomputed", "Without losses"):
        table.add_column(name, justify="right")
    rows = []
    for number in map(int, workers.split(",")):
        cluster = Cluster(number, losses_per_hour, replacement)
        run = simulate(work, cluster, seed)
        calm = simulate(work, dataclasses.replace(cluster, losses_per_hour=0.0))
        rows.append({**dataclasses.asdict(run), "idle_share": run.idle_share})
        rows[-1]["makespan_without_losses"] = calm.makespan
        cells = [f"{run.makespan:,.0f} s", f"{run.idle_share:.1%}", f"{run.loading:,.0f} s"]
        cells += [str(run.losses), f"{run.recomputed:,.0f} s", f"{calm.makespan:,.0f} s"]
        table.add_row(f"{number:,}", *cells)
    Console().print(table)
    if json_path:
        json_path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
