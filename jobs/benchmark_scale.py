"""What a run costs its driver beside the models, against the number of checkpoints.

    python jobs/benchmark_scale.py --checkpoints 100,300,1000 --shards 50 --json scale.json

Planning, driving, comparing, reporting and resuming are the job's own code, on small files with
real receipts. Only the workers are a stub, which writes contents made beforehand instead of
decoding images; what it spends itself, scores among it (on a cluster they run elsewhere), is taken
off the driver's time, and arguments are pickled as for a cluster. A cost that grows like N^p has
the exponent p, fitted to CPU seconds by least squares of logarithms.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stub_workers import Size, StubExecutor, make_files

from vae_batch.plan import EvaluationSpec
from vae_batch.report.bundle import write_report
from vae_batch.run.comparing import compare_run
from vae_batch.run.driver import prepare, run
from vae_batch.run.progress import Silent
from vae_batch.run.selecting import select_best, write_selection
from vae_batch.storage import Store


@dataclass(frozen=True)
class Cost:
    """One row of the table.

    Attributes:
      checkpoints: Their number.
      phase: What was done.
      seconds: By the clock.
      cpu_seconds: Of the process that did it, and so little moved by others on the machine.
      peak_memory_gib: The most that this process had held by then.
    """

    checkpoints: int
    phase: str
    seconds: float
    cpu_seconds: float
    peak_memory_gib: float


def write_toml(spec: EvaluationSpec, path: Path) -> None:
    """The spec's own settings as the command takes them."""
    settings = spec.model_dump(mode="json", exclude_unset=True)
    path.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in settings.items()))


def drive(spec: EvaluationSpec, features: int, answers: Any) -> None:  # noqa: ANN401
    """Everything that a first run does, in one fresh process."""
    for timing in _first_run(spec, StubExecutor(features)):
        answers.put(timing)
    answers.put(None)


def reread(spec: EvaluationSpec, features: int, answers: Any) -> None:  # noqa: ANN401
    """A run whose table was lost when all shards were done: receipts are read, rows scored."""
    out = Store.open(spec.out)
    out.delete("scores.parquet")
    executor, plan = StubExecutor(features), prepare(spec, Silent())
    driven = _timed("resumed, rows lost", lambda: run(plan, executor, Silent()), executor)
    if executor.shards:
        raise ValueError(f"{executor.shards} finished shards were computed again")
    answers.put(driven)
    answers.put(None)


def _first_run(spec: EvaluationSpec, executor: StubExecutor) -> Iterator[Any]:
    plan: list[Any] = []
    compared: list[Any] = []
    yield _timed("plan", lambda: plan.append(prepare(spec, Silent())))
    yield _timed("drive", lambda: run(plan[0], executor, Silent()), executor)
    out = Store.open(spec.out)
    yield _timed("compare", lambda: compared.extend(compare_run(spec.out)))
    selection = select_best(compared, spec)
    if selection is not None:
        write_selection(out, selection)
    yield _timed("report", lambda: write_report(out))


def _timed(phase: str, work: Callable[[], Any], stub: StubExecutor | None = None) -> Any:  # noqa: ANN401
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    if stub is not None:
        seconds, cpu_seconds = seconds - stub.seconds, cpu_seconds - stub.cpu_seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return phase, seconds, cpu_seconds, peak


def _command(phase: str, *words: str) -> tuple[str, float, float, float]:
    """Costs of the whole command ``vae-batch``, start of Python included."""
    clock = time.perf_counter()
    command = [sys.executable, "-m", "vae_batch.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - clock
    return phase, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def _in_fresh_process(work: Callable[..., None], *arguments: Any) -> Iterator[Any]:  # noqa: ANN401
    fresh = multiprocessing.get_context("spawn")
    answers = fresh.Queue()
    process = fresh.Process(target=work, args=(*arguments, answers))
    process.start()
    while (answer := _next(answers, process)) is not None:
        yield answer
    process.join()


def _next(answers: Any, process: Any) -> Any:  # noqa: ANN401
    while True:
        try:
            return answers.get(timeout=1)
        except Exception:
            if process.exitcode:
                raise RuntimeError(f"a phase ended with exit code {process.exitcode}") from None


def measure(folder: Path, checkpoints: int, size: Size) -> Iterator[Cost]:
    """Costs of all phases at one number of checkpoints."""
    spec = make_files(folder, checkpoints, size)
    toml = folder / "spec.toml"
    write_toml(spec, toml)
    phases: list[Callable[[], Iterator[Any]]] = [
        lambda: _in_fresh_process(drive, spec, size.features),
        lambda: iter([_command("score, first repeat", "score", str(toml))]),
        lambda: iter([_command("score, nothing to do", "score", str(toml))]),
        lambda: iter([_command("status, all done", "status", spec.out)]),
        lambda: iter([_lost(spec), _command("status, rows lost", "status", spec.out)][1:]),
        lambda: _in_fresh_process(reread, spec, size.features),
    ]
    for phase in phases:
        for name, seconds, cpu_seconds, peak in phase():
            yield Cost(checkpoints, name, seconds, cpu_seconds, peak)


def _lost(spec: EvaluationSpec) -> None:
    Store.open(spec.out).delete("scores.parquet")


def exponents(costs: Sequence[Cost]) -> dict[str, float]:
    """Slope of log CPU seconds over log checkpoints of each phase; of one size there is none."""
    found = {}
    for phase in dict.fromkeys(cost.phase for cost in costs):
        points = [(c.checkpoints, max(c.cpu_seconds, 1e-6)) for c in costs if c.phase == phase]
        if len({count for count, _ in points}) > 1:
            x, y = (np.log([point[axis] for point in points]) for axis in (0, 1))
            found[phase] = float(np.polyfit(x, y, 1)[0])
    return found


def main() -> None:
    """Print the table and write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", default="30,60,120", help="numbers of checkpoints")
    parser.add_argument("--shards", type=int, default=10, help="of generated samples a checkpoint")
    parser.add_argument("--shard-size", type=int, default=20, help="samples a shard")
    parser.add_argument("--references", type=int, default=100, help="reference images")
    parser.add_argument("--features", type=int, default=4, help="of the stub extractor")
    parser.add_argument("--folder", type=Path, help="where files are made (default: temporary)")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    size = Size(options.shards, options.shard_size, options.references, options.features)
    costs: list[Cost] = []
    print(f"{'checkpoints':>11s} {'phase':24s} {'seconds':>9s} {'of CPU':>9s} {'peak GiB':>9s}")
    for count in map(int, options.checkpoints.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for cost in measure(Path(folder), count, size):
                costs.append(cost)
                times = f"{cost.seconds:9.2f} {cost.cpu_seconds:9.2f}"
                print(
                    f"{count:11d} {cost.phase:24s} {times} {cost.peak_memory_gib:9.2f}", flush=True
                )
    fitted = exponents(costs)
    for phase, exponent in fitted.items():
        print(f"{phase:24s} grows like N^{exponent:.2f}" if math.isfinite(exponent) else phase)
    if options.json:
        table = {"size": asdict(size), "rows": [asdict(c) for c in costs], "exponents": fitted}
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
