"""Real runs of the command for benchmarks and checks: checkpoints to score, a run, what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from vae_batch.run.cost.cost_file import RunCost, read_costs
from vae_batch.storage import Store

_JOBS = Path(__file__).parent

#: Variables by which a serial run is held to one thread an operation; batches overlap all the same,
#: so that one core is all it is given.
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}


def make_checkpoints(folder: Path, count: int, delay: float | None = None) -> dict[str, Any]:
    """Small VAEs, an epoch apart, or some that wait; and the settings by which they are scored.

    Args:
      folder: Gets them in ``runs``.
      count: Of them.
      delay: Seconds that a decoder waits at each batch, without a core; None: it does not.
    """
    settings: dict[str, Any] = {"checkpoints": [str(folder / "runs")]}
    if delay is None:
        epochs = [word for number in range(count) for word in ("--epochs", str(number + 1))]
        words = ["--reference", "digits", "--out", str(folder / "runs"), "--limit", "512", *epochs]
        command = [sys.executable, str(_JOBS / "train_vae.py"), *words]
    else:
        words = [str(folder), str(count), str(delay)]
        command = [sys.executable, str(_JOBS / "delayed_decoder.py"), *words]
        settings |= {"extractors": [str(folder / "classifier.keras")], "trust": True}
        settings |= {"custom_objects": ["delayed_decoder"]}
    subprocess.run(command, check=True, env=_with_jobs(), capture_output=True)
    return settings


def write_toml(settings: Mapping[str, Any], path: Path) -> None:
    """Settings as the command takes them."""
    path.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in settings.items()))


def score(settings: dict[str, Any], out: Path, *, one_core: bool = False) -> float:
    """Seconds of ``vae-batch score`` with some settings into a folder."""
    spec = out.with_suffix(".toml")
    write_toml({**settings, "out": str(out)}, spec)
    command = [sys.executable, "-m", "vae_batch.cli", "score", str(spec)]
    began = time.perf_counter()
    with _held_to_one_core() if one_core else nullcontext():
        environment = {**_with_jobs(), **(_ONE_THREAD if one_core else {})}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


def last_cost(out: Path) -> RunCost:
    """Of the run that has just ended."""
    return read_costs(Store.open(str(out)))[-1]


@contextmanager
def _held_to_one_core() -> Iterator[None]:
    """Processes that are started inside inherit it, where the system knows of such a thing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _with_jobs() -> dict[str, str]:
    """The environment with this folder among Python's."""
    paths = [str(_JOBS), str(_JOBS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
