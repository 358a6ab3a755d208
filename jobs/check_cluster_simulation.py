"""Predict real runs on this machine from one with one worker, and see how far off that is.

    python jobs/check_cluster_simulation.py --checkpoints 4 --samples 1024 --json check.json

Small VAEs are trained on the bundled digits; a run with one worker calibrates the simulation, a
short one on one core says which share of a shard more threads shorten. Then real runs with 1,
2 and 4 workers, each into an empty folder, stand beside what was predicted of them. The phase
``work``, from the first hand-out of shards to the last score, is where a prediction can be wrong;
planning, comparing and drawing are the same for any number of workers. With ``--delay`` shards
wait instead of computing, as those of a GPU do: then a machine that is not quiet serves, too.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from cluster_calibration import Calibration, calibrate, workload_of
from cluster_prediction import Prediction, machine_cluster, predict, without_contention
from real_runs import last_cost, make_checkpoints, score
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vae_batch.run.planning.devices import available_cores


@dataclass(frozen=True)
class Checked:
    """One number of workers; times in seconds.

    Attributes:
      workers: Their number.
      makespan: Of the real run, from planning to the report's end.
      predicted: The same by simulation.
      work: Of the real run, from the first hand-out to the last score.
      predicted_work: The same by simulation.
      command: Of the whole command by the clock, Python's start and end among it.
    """

    workers: int
    makespan: float
    predicted: float
    work: float
    predicted_work: float
    command: float

    @property
    def error(self) -> float:
        """Of the makespan, relative."""
        return self.predicted / self.makespan - 1

    @property
    def work_error(self) -> float:
        """Of the work, relative."""
        return self.predicted_work / self.work - 1


def parallel_share(calibration: Calibration, one_core: Calibration) -> float:
    """Share of a shard that more threads shorten, by the same shards on one core.

    Where a shard takes s seconds with t threads and a share p of them is divided among these, it
    takes (1 - p) s + p t s on one core.
    """
    threads = calibration.cores // calibration.workers
    shared = calibration.seconds.keys() & one_core.seconds.keys()
    many = sum(calibration.seconds[key] for key in shared)
    one = sum(one_core.seconds[key] for key in shared)
    if threads < 2 or not many:
        return 1.0
    return min(1.0, max(0.0, (one / many - 1) / (threads - 1)))


@dataclass(frozen=True)
class Calibrated:
    """What the real runs are predicted from."""

    calibration: Calibration
    parallel: float
    has_device: bool

    def predict(self, workers: int) -> Prediction:
        """A run with so many workers on this machine."""
        clean, count = self.calibration, len(self.calibration.checkpoints)
        terms = (workers, available_cores(), self.parallel)
        # Where decoders wait, so does loading, which calls them.
        cores = 0.0 if self.has_device else 1.0
        cluster = machine_cluster(clean, *terms, has_device=self.has_device, loading_cores=cores)
        return predict(clean, workload_of(clean, count), cluster, count)


def calibrated(folder: Path, settings: dict[str, Any], *, has_device: bool) -> Calibrated:
    """By a run with one worker, and one on one core, which shards that need none do without."""
    score({**settings, "workers": 1}, folder / "calibration")
    measured = calibrate(str(folder / "calibration"))
    parallel = 1.0
    if not has_device:
        first = sorted(Path(settings["checkpoints"][0]).iterdir())[:1]
        alone = {**settings, "workers": 0, "checkpoints": list(map(str, first))}
        score(alone, folder / "one-core", one_core=True)
        parallel = parallel_share(measured, calibrate(str(folder / "one-core")))
    clean = without_contention(measured, parallel, has_device=has_device)
    return Calibrated(clean, parallel, has_device)


def checked(
    folder: Path, settings: dict[str, Any], workers: list[int], found: Calibrated
) -> Iterator[Checked]:
    """Real runs, beside what is predicted of them."""
    for number in workers:
        out = folder / f"workers-{number}"
        command = score({**settings, "workers": number}, out)
        real, predicted = last_cost(out), found.predict(number)
        makespan, work = (real.seconds, predicted.makespan), (real.phases["work"], predicted.work)
        yield Checked(number, *makespan, *work, command)


def table_of(rows: list[Checked]) -> Table:
    """One line for each number of workers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("Workers", "Makespan", "Predicted", "Off by", "Work", "Predicted", "Off by"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        makespan = (f"{row.makespan:.1f} s", f"{row.predicted:.1f} s", f"{row.error:+.1%}")
        work = (f"{row.work:.1f} s", f"{row.predicted_work:.1f} s", f"{row.work_error:+.1%}")
        table.add_row(str(row.workers), *makespan, *work)
    return table


def main(
    checkpoints: Annotated[int, typer.Option(min=2, help="VAEs to train.")] = 4,
    samples: Annotated[int, typer.Option(min=64, help="Generated images a checkpoint.")] = 1024,
    shard_size: Annotated[int, typer.Option(min=8, help="Samples a shard.")] = 64,
    extractor: Annotated[str, typer.Option(help="As for score.")] = "inception-random",
    metrics: Annotated[str, typer.Option(help="Groups, as for score.")] = "losses,fid,kid",
    reference_samples: Annotated[int, typer.Option(min=32, help="Real images.")] = 256,
    delay: Annotated[
        float | None,
        typer.Option(help="Decoders that wait so long a batch, and need no core, instead."),
    ] = None,
    workers: Annotated[str, typer.Option(help="Numbers of workers of the real runs.")] = "1,2,4",
    folder: Annotated[
        Path | None, typer.Option(help="An empty one for all of it (default: temporary).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Predict real runs on this machine, do them, and print one beside the other."""
    settings: dict[str, Any] = {
        "reference": "digits",
        "reference_samples": reference_samples,
        "extractors": [extractor],
        "samples": samples,
        "shard_size": shard_size,
        "metrics": metrics,
    }
    numbers, console = list(map(int, workers.split(","))), Console()
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        settings |= make_checkpoints(place, checkpoints, delay)
        found = calibrated(place, settings, has_device=delay is not None)
        rows = list(checked(place, settings, numbers, found))
    console.print(table_of(rows))
    worst = max(abs(row.error) for row in rows)
    typical = statistics.median(abs(row.error) for row in rows)
    console.print(f"makespan off by {worst:.1%} at worst, {typical:.1%} in the median")
    if json_file:
        shown = [{**asdict(row), "error": row.error, "work_error": row.work_error} for row in rows]
        measured = {"parallel": found.parallel, "cores": available_cores()}
        kept = {**settings, "checkpoints": checkpoints, "delay": delay}
        content = {"settings": kept, "calibration": measured, "rows": shown}
        json_file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
