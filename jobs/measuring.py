"""What benchmarks share: interleaved rounds, the machine in words, commands with their times."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

_SHOWN_OF_A_FAILURE = 20
"""Lines."""

#: What a worker or a test may have set for its own computations, and a user has not.
_SETTINGS = (
    *("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    *("OMP_NUM_THREADS", "RAY_ADDRESS"),
)


def interleaved(
    contenders: Mapping[Name, Callable[[], object]], rounds: int
) -> dict[Name, list[float]]:
    """Seconds of each contender in each round; every round runs all of them, in their order.

    So a machine that is busy for a while slows all of them alike.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def machine() -> dict[str, str | int | None]:
    """The machine that figures are of, for a JSON file."""
    models = []
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def untouched_environment(**changes: str) -> dict[str, str]:
    """This process's environment without thread and kernel settings, and with no GPU to be seen.

    Args:
      changes: Variables to set.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", **changes}


def timed_lines(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[float, str]]:
    """Lines that a command prints, on stdout or stderr, with seconds since its start.

    The last pair has the time of its end and an empty line.

    Raises:
      RuntimeError: It failed; the message ends with its last lines.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(environment),
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_SHOWN_OF_A_FAILURE)
    try:
        for line in process.stdout:
            last.append(line)
            yield time.perf_counter() - began, line.rstrip("\n")
        code = process.wait()
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {code}:\n{''.join(last)}")
    yield time.perf_counter() - began, ""


def finish(command: Sequence[str]) -> None:
    """Run a command that is not timed; what it says is shown where it fails.

    Raises:
      RuntimeError: It failed.
    """
    for _ in timed_lines(command, untouched_environment()):
        pass
