"""A Ray head node on this machine with its job API, as a process of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def ray_head(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a head node, and stop it at the end.

    Args:
      environment: Variables of its processes beside this one's.

    Yields:
      Address of its job API; it may take a while to answer, see ``connected``.
    """
    folder = tempfile.mkdtemp(prefix="vh")
    ports = free_ports(7)
    head = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block",
            "--num-cpus=2", "--num-gpus=0", f"--temp-dir={folder}", f"--port={ports[0]}",
            f"--dashboard-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}",
            f"--dashboard-agent-grpc-port={ports[3]}", f"--metrics-export-port={ports[4]}",
            f"--ray-client-server-port={ports[5]}", "--min-worker-port=0", "--max-worker-port=0",
            "--object-store-memory=134217728", "--disable-usage-stats",
        ],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        # Ray would stop its processes one after another, which takes half a minute.
        for process in [*descendants(head.pid), head.pid]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        head.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def descendants(process: int) -> list[int]:
    """All processes below one, by ``/proc``."""
    found: list[int] = []
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listed.read_text().split())
    return [*found, *(below for child in found for below in descendants(child))]


def free_ports(count: int) -> list[int]:
    """Ports outside of the range that Ray gives its workers, free at this moment.

    Test processes that run side by side draw from different ones.
    """
    found: list[int] = []
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
    first = 25100 + 300 * process
    for port in random.sample(range(first, first + 300), 300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports")


def connected(client: Any, address: str) -> Any:
    """A job client, once the head node answers."""
    return retried(lambda: client(address), ConnectionError)


def retried(call: Callable[[], Any], error: type[Exception]) -> Any:
    """What a call gives once it raises no such error; a head's parts start one after another."""
    deadline = time.monotonic() + 300
    while True:
        try:
            return call()
        except error:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
