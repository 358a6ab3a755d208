"""Replay a measured run on simulated workers: how long it takes, what stands idle, what spot costs.

    python jobs/simulate_cluster.py results/ --checkpoints 1000 --speedup 60 \
        --workers 1,10,100,1000 --losses-per-hour 0.1 --json cluster.json

The run is best one with ``--workers 1`` into an empty folder. Its receipts give the shards'
seconds, its ``cost.json`` what was spent around them; what is modelled stands in
``cluster_simulation.py``. Each worker is a device of its own, unless ``--cores`` says that all of
them share those of one machine: there, shards get longer where the workers' threads are more than
the cores. Waiting for machines is not predicted, nor a store that cannot keep up.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from cluster_calibration import Calibration, calibrate, workload_of
from cluster_prediction import (
    DISPATCH,
    Prediction,
    device_cluster,
    machine_cluster,
    predict,
    with_losses,
    without_contention,
)
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vae_batch.plan import InputError
from vae_batch.terminal.words import duration


def main(
    out: Annotated[str, typer.Argument(help="Output folder of a finished run.")],
    workers: Annotated[str, typer.Option(help="Numbers of workers.")] = (
        "1,2,4,8,16,32,64,128,256,512,1000"
    ),
    checkpoints: Annotated[
        int | None, typer.Option(min=1, help="So many; the run's own, again and again.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Of one machine that all workers share.")
    ] = None,
    parallel: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a shard that more threads shorten.")
    ] = 1.0,
    speedup: Annotated[
        float, typer.Option(min=1e-3, help="Of the device over the measured one.")
    ] = 1.0,
    light_slots: Annotated[
        float, typer.Option(min=0, help="Cores for light tasks a worker, without --cores.")
    ] = 1.0,
    boot: Annotated[
        float | None, typer.Option(min=0, help="Seconds until a worker is there; else as measured.")
    ] = None,
    dispatch: Annotated[
        float, typer.Option(min=0, help="Seconds of the driver for each shard.")
    ] = DISPATCH,
    losses_per_hour: Annotated[
        float, typer.Option(min=0, help="Of each worker (Poisson); 0: none is lost.")
    ] = 0.0,
    replacement: Annotated[
        float, typer.Option(min=0, help="Seconds until a lost worker has a machine (assumed).")
    ] = 120.0,
    repeats: Annotated[int, typer.Option(min=1, help="Runs with losses.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the losses.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Predict makespan, idle share and the cost of spot losses from a measured run."""
    numbers = tuple(map(int, workers.split(",")))
    options = Options(
        *(numbers, checkpoints, cores, parallel, speedup, light_slots, boot, dispatch),
        *(losses_per_hour, replacement, repeats, seed),
    )
    try:
        measured = calibrate(out)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    calibration = without_contention(measured, parallel)
    count = checkpoints or len(calibration.checkpoints)
    rows = list(predictions(calibration, count, options))
    show(rows, f"{count} checkpoints, by the run in {out}", calibration.notes)
    if json_file:
        settings = {**asdict(options), "checkpoints": count}
        found = {"settings": settings, "calibration": summary_of(calibration, measured)}
        content = {**found, "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Options:
    """What was asked for; see the command's help."""

    workers: tuple[int, ...]
    checkpoints: int | None
    cores: int | None
    parallel: float
    speedup: float
    light_slots: float
    boot: float | None
    dispatch: float
    losses_per_hour: float
    replacement: float
    repeats: int
    seed: int


def predictions(
    calibration: Calibration, checkpoints: int, options: Options
) -> Iterator[Prediction]:
    """One for each number of workers."""
    workload = workload_of(calibration, checkpoints)
    for number in options.workers:
        if options.cores:
            cluster = machine_cluster(calibration, number, options.cores, options.parallel)
        else:
            cluster = device_cluster(calibration, number, options.light_slots)
        cluster = dataclasses.replace(
            cluster,
            speedup=options.speedup,
            boot=calibration.boot if options.boot is None else options.boot,
            dispatch=options.dispatch,
            losses_an_hour=options.losses_per_hour,
            replacement=options.replacement,
        )
        found = predict(calibration, workload, cluster, checkpoints)
        if options.losses_per_hour:
            seeds = range(options.seed, options.seed + options.repeats)
            found = with_losses(found, workload, cluster, seeds)
        yield found


def show(rows: Sequence[Prediction], title: str, notes: Sequence[str]) -> None:
    """Print what was predicted."""
    console = Console()
    console.print(title, highlight=False, markup=False)
    console.print(table_of(rows))
    if any(row.losses for row in rows):
        console.print(loss_table_of(rows))
    for note in notes:
        console.print(note, highlight=False)


def summary_of(calibration: Calibration, measured: Calibration) -> dict[str, Any]:
    """What was measured, in a few numbers."""
    names = ("warm_up", "reduction", "score", "boot", "between", "starting", "planning", "after")
    return {
        **{name: getattr(calibration, name) for name in names},
        "load": statistics.median(calibration.loads.values()) if calibration.loads else 0.0,
        "first": dict(calibration.first),
        "shard_seconds": sum(calibration.seconds.values()),
        "shard_seconds_as_measured": sum(measured.seconds.values()),
        "workers": calibration.workers,
        "cores": calibration.cores,
        "notes": list(calibration.notes),
    }


def table_of(rows: Sequence[Prediction]) -> Table:
    """One line for each number of workers."""
    table = _table("Workers", "Makespan", "Speed-up", "Idle", "Loading", "Last scores")
    for row in rows:
        times_as_fast = f"{rows[0].makespan / row.makespan:.3g}"
        shares = f"{row.idle_share:.1%}", f"{row.loading_share:.1%}"
        cells = (duration(row.makespan), times_as_fast, *shares, duration(row.light_tail))
        table.add_row(f"{row.workers:,}", *cells)
    return table


def loss_table_of(rows: Sequence[Prediction]) -> Table:
    """What losses cost with each number of workers: medians of the repeats, and their range."""
    table = _table("Workers", "Lost", "Recomputed", "Longer by", "5 %", "95 %")
    for row in rows:
        if row.losses and row.recomputed and row.longer:
            spread = (row.longer.median, row.longer.low, row.longer.high)
            cells = (f"{row.losses.median:g}", duration(row.recomputed.median))
            table.add_row(f"{row.workers:,}", *cells, *map(duration, spread))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


if __name__ == "__main__":
    typer.run(main)
