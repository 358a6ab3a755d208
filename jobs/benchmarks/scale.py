"""Measure how the costs of a run's driver and of its workers grow with the size of the work.

    python jobs/benchmarks/scale.py --checkpoints 100,300,1000 --shards 50 --json scale.json
    python jobs/benchmarks/scale.py --checkpoints "" --real-samples 256,512,1024 \
        --real-checkpoints 1,2,4 --workers 1,2,4

Planning, driving, comparing, reporting and resuming are the job's own code, on small files with
real receipts. Only the workers are a stub that writes contents made beforehand. What the stub
spends, scores included (on a cluster they run elsewhere), is subtracted from the driver's time, and
arguments are pickled as for a cluster. The costs of workers come from real runs
(``real_runs.py``). A cost that grows like N^p has the exponent p, fitted to seconds (for a driver,
of CPU) by least squares of logarithms.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from measuring import in_fresh_process, machine, metered, peak_memory, write_json, write_toml
from real_runs import Growth, Sizes, growth
from stub_workers import Size, StubExecutor, make_files

from vae_batch.plan import EvaluationSpec
from vae_batch.report.bundle import write_report
from vae_batch.run.compare.best_checkpoint import select_best, write_selection
from vae_batch.run.compare.pairwise import compare_among, compare_run
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store


@dataclass(frozen=True)
class Cost:
    """One row of the table.

    Attributes:
        checkpoints: Number of checkpoints.
        phase: What was done.
        seconds: Wall-clock seconds.
        cpu_seconds: CPU seconds of the process, which other load on the machine hardly changes.
        peak_memory_gib: Peak memory of the process so far.
    """

    checkpoints: int
    phase: str
    seconds: float
    cpu_seconds: float
    peak_memory_gib: float


def reread(spec: EvaluationSpec, features: int) -> Iterator[Any]:
    """Resume a finished run whose table was lost: receipts are read, rows scored."""
    Store.open(spec.out).delete("scores.parquet")
    executor, plan = StubExecutor(features), prepare(spec, ignore)
    yield _timed("resumed, rows lost", lambda: run(plan, executor, ignore), executor)
    if executor.shards:
        raise ValueError(f"{executor.shards} finished shards were computed again")


def first_run(spec: EvaluationSpec, features: int) -> Iterator[Any]:
    """Do everything that a first run does."""
    executor = StubExecutor(features)
    plan: list[Any] = []
    compared: list[Any] = []
    yield _timed("plan", lambda: plan.append(prepare(spec, ignore)))
    yield _timed("drive", lambda: run(plan[0], executor, ignore), executor)
    out = Store.open(spec.out)
    yield _timed("compare", lambda: compared.extend(compare_run(spec.out)))
    selection = select_best(compared, spec, partial(compare_among, spec.out))
    if selection is not None:
        write_selection(out, selection)
    yield _timed("report", lambda: write_report(out))


def _timed(phase: str, work: Callable[[], Any], stub: StubExecutor | None = None) -> Any:  # noqa: ANN401
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    if stub is not None:
        seconds, cpu_seconds = seconds - stub.seconds, cpu_seconds - stub.cpu_seconds
    return phase, seconds, cpu_seconds, peak_memory() / 2**30


def _command(phase: str, *words: str) -> tuple[str, float, float, float]:
    """Measure the whole command ``vae-batch``, Python's start included."""
    return phase, *metered([sys.executable, "-m", "vae_batch.cli", *words])


def measure(folder: Path, checkpoints: int, size: Size) -> Iterator[Cost]:
    """Measure all phases at one number of checkpoints."""
    spec = make_files(folder, checkpoints, size)
    toml = folder / "spec.toml"
    write_toml(spec.model_dump(mode="json", exclude_unset=True), toml)
    phases: list[Callable[[], Iterator[Any]]] = [
        lambda: in_fresh_process(first_run, spec, size.features),
        lambda: iter([_command("score, first repeat", "score", str(toml))]),
        lambda: iter([_command("score, nothing to do", "score", str(toml))]),
        lambda: iter([_command("status, all done", "status", spec.out)]),
        lambda: iter([_lost(spec), _command("status, rows lost", "status", spec.out)][1:]),
        lambda: in_fresh_process(reread, spec, size.features),
    ]
    for phase in phases:
        for name, seconds, cpu_seconds, peak in phase():
            yield Cost(checkpoints, name, seconds, cpu_seconds, peak)


def _lost(spec: EvaluationSpec) -> None:
    Store.open(spec.out).delete("scores.parquet")


def exponents(points: Sequence[tuple[str, int, float]]) -> dict[str, float]:
    """Fit the slope of log seconds over log size for each name with at least two sizes.

    Args:
        points: Name, size and seconds.
    """
    found = {}
    for name in dict.fromkeys(name for name, _, _ in points):
        own = [(size, max(seconds, 1e-6)) for other, size, seconds in points if other == name]
        if len({size for size, _ in own}) > 1:
            x, y = (np.log([point[axis] for point in own]) for axis in (0, 1))
            found[name] = float(np.polyfit(x, y, 1)[0])
    return found


def stubbed(counts: Sequence[int], size: Size, folder: Path | None) -> list[Cost]:
    """Measure all phases at all numbers of checkpoints, and print each as it is found."""
    costs: list[Cost] = []
    print(f"{'checkpoints':>11s} {'phase':24s} {'seconds':>9s} {'of CPU':>9s} {'peak GiB':>9s}")
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            for cost in measure(Path(made), count, size):
                costs.append(cost)
                times = f"{cost.seconds:9.2f} {cost.cpu_seconds:9.2f}"
                print(
                    f"{count:11d} {cost.phase:24s} {times} {cost.peak_memory_gib:9.2f}", flush=True
                )
    return costs


def grown(sizes: Sizes, folder: Path | None) -> list[Growth]:
    """Do the real runs, and print each as it ends."""
    found: list[Growth] = []
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for one in growth(Path(made), sizes):
            found.append(one)
            print(f"{one.size:11d} {one.against:12s} {one.what:20s} {one.seconds:9.2f}", flush=True)
    return found


def main(
    checkpoints: Annotated[
        str, typer.Option(help="Numbers of checkpoints, with a stub.")
    ] = "30,60,120",
    shards: Annotated[int, typer.Option(help="Shards of generated samples per checkpoint.")] = 10,
    shard_size: Annotated[int, typer.Option(help="Samples per shard.")] = 20,
    references: Annotated[int, typer.Option(help="Reference images.")] = 100,
    features: Annotated[int, typer.Option(help="Features of the stub extractor.")] = 4,
    real_samples: Annotated[str, typer.Option(help="Numbers of samples, in real runs.")] = "",
    real_checkpoints: Annotated[str, typer.Option(help="Numbers of checkpoints.")] = "",
    workers: Annotated[str, typer.Option(help="Numbers of workers, whose decoders sleep.")] = "",
    samples_each: Annotated[
        int, typer.Option(help="Samples of real runs, where not varied.")
    ] = 128,
    extractor: Annotated[str, typer.Option(help="Extractor of real runs.")] = "inception-random",
    delay: Annotated[float, typer.Option(help="Seconds that a decoder sleeps per batch.")] = 0.5,
    folder: Annotated[
        Path | None, typer.Option(help="Where files are made (default: temporary).")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Print the tables, and the exponent of each part."""
    size = Size(shards, shard_size, references, features)
    costs = stubbed(_numbers(checkpoints), size, folder)
    sizes = Sizes(
        *(extractor, _numbers(real_samples), _numbers(real_checkpoints), _numbers(workers)),
        samples_each=samples_each,
        references=references,
        delay=delay,
    )
    found = grown(sizes, folder)
    fitted = exponents(
        [(cost.phase, cost.checkpoints, cost.cpu_seconds) for cost in costs]
        + [(f"{one.what}, by {one.against}", one.size, one.seconds) for one in found]
    )
    for name, exponent in fitted.items():
        print(f"{name:36s} grows like N^{exponent:.2f}" if math.isfinite(exponent) else name)
    rows = {"rows": [asdict(cost) for cost in costs], "real": [asdict(one) for one in found]}
    table = {"machine": machine(), "size": asdict(size), **rows, "exponents": fitted}
    write_json(table, json_path)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


if __name__ == "__main__":
    typer.run(main)
