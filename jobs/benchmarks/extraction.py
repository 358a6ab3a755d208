"""Measure images per second of Inception extraction: ours against Keras and against other tools.

    python jobs/benchmarks/extraction.py --peers-python other/bin/python

Every contender holds its network in a process of its own. The parent asks them in turn, round
after round, and prints medians. Other tools (pytorch-fid, torch-fidelity) run in their own
environment, by the path of its interpreter, on the same random weights in the published layout.
The share of the peak is 11.4 GFLOP per image divided by the rate of a register-only multiply-add
loop in C on all cores, measured in the same run (needs ``cc``). On a GPU set KERAS_BACKEND to jax
or torch; there is no share of the peak then.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from measuring import finish, write_json
from random_inception import STATE_DICT_ARRAYS
from rich.console import Console
from rich.table import Table

GFLOP_PER_IMAGE = 11.4

_HERE = Path(__file__).parent
_CONTENDERS = str(_HERE / "contenders.py")
_PEERS = ("pytorch-fid", "torch-fidelity")

_PEAK_C = r"""
#include <stdio.h>
#include <time.h>
#define LANES 16
typedef float vec __attribute__((vector_size(LANES * 4)));
int main(void) {
  double best = 0;
  for (int round = 0; round < 3; round++) {
    struct timespec a, b;
    double flop = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    #pragma omp parallel reduction(+ : flop)
    {
      vec x[12], m = {0}, c = {0};
      for (int i = 0; i < 12; i++) x[i] = m + (float)i;
      m += 0.999999f; c += 1e-7f;
      const long steps = 40000000L;
      for (long s = 0; s < steps; s++)
        for (int i = 0; i < 12; i++) x[i] = x[i] * m + c;
      float sink = 0;
      for (int i = 0; i < 12; i++) sink += x[i][0];
      flop += 2.0 * LANES * 12 * steps + (sink == 42.0f);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double rate = flop / ((b.tv_sec - a.tv_sec) + 1e-9 * (b.tv_nsec - a.tv_nsec)) / 1e9;
    if (rate > best) best = rate;
  }
  printf("%.1f\n", best);
}
"""


@dataclass
class Contender:
    """A process that extracts on demand."""

    name: str
    process: subprocess.Popen[str]
    ready: dict[str, Any]
    answers: list[dict[str, Any]]

    def ask(self, images: int) -> None:
        """Extract this many images and keep the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{images}\n")
        self.process.stdin.flush()
        self.answers.append(_read(self.process))

    def median(self, key: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(answer[key] for answer in self.answers)


def start(name: str, python: str, batch: int, side: int, weights: str) -> Contender:
    """Start a contender and wait until it has extracted one batch."""
    onednn = "0" if name == "predict" else "1"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [python, _CONTENDERS, "extract", name, str(batch), str(side), weights]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    return Contender(name, process, _read(process), [])


def multiply_add_peak() -> float | None:
    """Measure the GFLOP/s of a register-only multiply-add loop on all cores; None without cc."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "peak.c"), Path(folder, "peak")
        source.write_text(_PEAK_C)
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp"]
        subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
        return float(subprocess.run([program], capture_output=True, check=True).stdout)


def main(
    images: Annotated[int, typer.Option(help="Images per round.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 5,
    batch: Annotated[int, typer.Option(help="Images per batch.")] = 32,
    side: Annotated[int, typer.Option(help="Side of the images before the resize.")] = 28,
    only: Annotated[list[str] | None, typer.Option(help="Contenders; default all.")] = None,
    peers_python: Annotated[
        str | None, typer.Option(help="Interpreter that has the other tools.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Measure all contenders in turn, and print one table."""
    names = ["ours", "tf.function", "predict", "predict+onednn", *(_PEERS if peers_python else ())]
    names = [name for name in names if not only or name in only]
    with tempfile.TemporaryDirectory() as folder:
        weights = ""
        if peers_python:
            weights = str(Path(folder, "weights.pth"))
            finish([sys.executable, str(_HERE / "random_inception.py"), folder])
            arrays = str(Path(folder, STATE_DICT_ARRAYS))
            finish([peers_python, _CONTENDERS, "state-dict", arrays, weights])
        contenders = []
        try:
            for name in names:
                python = peers_python if name in _PEERS and peers_python else sys.executable
                contenders.append(start(name, python, batch, side, weights))
            peaks = []
            for _ in range(rounds):
                if "KERAS_BACKEND" not in os.environ or os.environ["KERAS_BACKEND"] == "tensorflow":
                    peaks.append(multiply_add_peak())
                for contender in contenders:
                    contender.ask(images)
        finally:
            for contender in contenders:
                contender.process.terminate()
                contender.process.communicate()
    known = [peak for peak in peaks if peak]
    peak = statistics.median(known) if known else None
    rows = [_row(contender, contenders[0], images, batch, peak) for contender in contenders]
    Console(width=120).print(_table(rows, batch, peak))
    write_json({"batch": batch, "peak_gflops": peak, "rows": rows}, json_path)


def _row(
    contender: Contender, first: Contender, images: int, batch: int, peak: float | None
) -> dict[str, Any]:
    done = -(-images // batch) * batch
    rate = done / contender.median("seconds")
    ratios = [
        b["seconds"] / a["seconds"] for a, b in zip(first.answers, contender.answers, strict=True)
    ]
    return {
        "contender": contender.name,
        "images_per_second": rate,
        "ours_is_times_as_fast": statistics.median(ratios),
        "share_of_peak": rate * GFLOP_PER_IMAGE / peak if peak else None,
        "cpu_seconds_per_image": contender.median("cpu") / done,
        "peak_memory_gib": max(a["peak_bytes"] for a in contender.answers) / 2**30,
        "mean_feature": contender.ready["mean"],
    }


def _table(rows: list[dict[str, Any]], batch: int, peak: float | None) -> Table:
    measured = f"{peak:.0f} GFLOP/s multiply-add peak" if peak else "no multiply-add peak"
    table = Table(title=f"batch {batch}, {os.cpu_count()} cores, {measured}")
    for heading in ("contender", "images/s", "ours/it", "of peak", "CPU s/image", "peak GiB"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for row in rows:
        share = row["share_of_peak"]
        table.add_row(
            row["contender"],
            f"{row['images_per_second']:.2f}",
            f"{row['ours_is_times_as_fast']:.2f}",
            "-" if share is None else f"{share:.2f}",
            f"{row['cpu_seconds_per_image']:.4f}",
            f"{row['peak_memory_gib']:.2f}",
        )
    return table


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{process.args} ended without an answer; run it by hand to see why")


if __name__ == "__main__":
    typer.run(main)
