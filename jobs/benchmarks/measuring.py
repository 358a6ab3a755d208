"""Shared by the benchmarks: interleaved rounds, timed commands, peak memory, the machine."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import queue
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)

_LINES_SHOWN_OF_A_FAILURE = 20

#: The unit of ``ru_maxrss``.
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024

#: Set by workers or tests for their own computations, and not by a user.
_SETTINGS = (
    *("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    *("OMP_NUM_THREADS", "RAY_ADDRESS"),
)


def interleaved(
    contenders: Mapping[Name, Callable[[], object]], rounds: int
) -> dict[Name, list[float]]:
    """Time every contender once per round, in their order.

    A machine that is busy for a while then slows all of them alike.

    Args:
        contenders: What to time, by name.
        rounds: Number of rounds.

    Returns:
        Seconds of each contender, one number per round.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def machine() -> dict[str, str | int | None]:
    """Describe this machine for a JSON file."""
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
    """Copy this process's environment without thread and kernel settings, and hide all GPUs.

    Args:
        **changes: Variables to set.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", **changes}


def timed_lines(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[float, str]]:
    """Run a command and yield its output lines with the seconds since its start.

    Standard output and standard error are merged. The last pair is the time of the command's end
    and an empty line.

    Raises:
        RuntimeError: The command failed; the message ends with its last lines.
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
    last: deque[str] = deque(maxlen=_LINES_SHOWN_OF_A_FAILURE)
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


def finish(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Run a command to its end and return its seconds.

    Raises:
        RuntimeError: The command failed; the message ends with its last lines.
    """
    seconds = 0.0
    for seconds, _ in timed_lines(command, environment or untouched_environment()):  # noqa: B007
        pass
    return seconds


#: Runs a command and prints what it used. A parent as small as this one does not count as memory
#: of the command: Linux counts into ``ru_maxrss`` what the process held before ``exec``.
_METER = """
import json, os, subprocess, sys
command = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(command.pid, 0)
code = command.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def metered(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command to its end, its output thrown away.

    Returns:
        Seconds by the clock, seconds of CPU, peak memory in GiB.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    began = time.perf_counter()
    meter = [sys.executable, "-S", "-c", _METER, *command]
    done = subprocess.run(meter, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    code, cpu_seconds, peak = json.loads(done.stdout)
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return seconds, cpu_seconds, peak * _MAXRSS_BYTES / 2**30


def peak_memory() -> int:
    """Return the most bytes that this process has held so far.

    On Linux, ``getrusage`` also counts what the process was before ``exec``: a copy of its
    parent. The kernel's ``VmHWM`` begins at ``exec``.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES


def in_fresh_process(work: Callable[..., Iterable[Any]], *arguments: object) -> Iterator[Any]:
    """Yield what a function of a module yields, from a new process with memory of its own.

    Raises:
        RuntimeError: The process failed.
    """
    fresh = multiprocessing.get_context("spawn")
    answers: Any = fresh.Queue()
    process = fresh.Process(target=_answer, args=(answers, work, *arguments))
    process.start()
    while True:
        try:
            answer = answers.get(timeout=1)
        except queue.Empty:
            if process.exitcode:
                message = f"{work.__name__} ended with exit code {process.exitcode}"
                raise RuntimeError(message) from None
            continue
        if answer is None:
            break
        yield answer
    process.join()


def _answer(answers: Any, work: Callable[..., Iterable[Any]], *arguments: object) -> None:  # noqa: ANN401
    for answer in work(*arguments):
        answers.put(answer)
    answers.put(None)


def write_toml(settings: Mapping[str, Any], path: Path) -> None:
    """Write a spec of flat settings."""
    path.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in settings.items()))


def write_json(content: object, path: Path | None) -> None:
    """Write a benchmark's table, where a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n")
