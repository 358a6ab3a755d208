"""Ray clusters of several nodes on this machine, apart from the one of the test session."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.clusters.ray_head import free_ports

ROOT = Path(__file__).parents[3]

_MARK = "VAE_BATCH_TEST_NODES"


class Nodes:
    """Nodes that can be added and lost; see ``cluster_host``."""

    def __init__(self, host: subprocess.Popen[str], mark: str, log: Path) -> None:
        self._host, self._mark, self._log = host, mark, log
        self.address = ""

    def processes(self, title: str) -> list[int]:
        """Processes of the nodes with these words in their command line."""
        return [found for found in processes_with(self._mark) if title in _command_line(found)]

    def add(self, name: str, **resources: float) -> None:
        """Start a node; the first is the head."""
        self._say({"add": name, "object_store_memory": 80 << 20, **resources})

    def lose(self, name: str) -> None:
        """Kill all processes of a node at once."""
        self._say({"remove": name})

    def _say(self, command: Mapping[str, object]) -> None:
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        self._host.stdin.write(json.dumps(command) + "\n")
        self._host.stdin.flush()
        while answer := self._host.stdout.readline():
            if answer.count(":") == 1 and answer.strip().rpartition(":")[2].isdigit():
                self.address = answer.strip()
                return
        said = self._log.read_text()[-2000:]
        raise AssertionError(f"the cluster's process ended while it was told {command}: {said}")


@contextmanager
def ray_nodes(variables: Mapping[str, str] | None = None) -> Iterator[Nodes]:
    """A cluster without nodes, and the end of all its processes.

    Args:
      variables: Of the nodes' environment, beside this process's.
    """
    with marked_environment() as environment, short_folder() as folder:
        environment |= variables or {}
        log = folder / "host.log"
        with log.open("w") as written:
            host = subprocess.Popen(
                [sys.executable, str(ROOT / "tests/support/clusters/cluster_host.py"), str(folder)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                start_new_session=True,
            )
        with host:
            try:
                yield Nodes(host, mark_of(environment), log)
            finally:
                os.killpg(host.pid, signal.SIGKILL)


def run_and_see(spec: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What ``seen_run`` prints of a spec on the cluster of an environment."""
    driver = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/clusters/seen_run.py"), str(spec)],
        env=environment,
        cwd=spec.parent,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert driver.returncode == 0, driver.stderr
    found: dict[str, Any] = json.loads(driver.stdout.splitlines()[-1])
    return found


@contextmanager
def autoscaled_head(worker: Mapping[str, float], at_most: int) -> Iterator[dict[str, str]]:
    """A head without CPUs, whose autoscaler adds nodes of this machine and takes them away.

    Ray's own ``AutoscalingCluster`` stops every Ray of the machine first, and lacks a file that
    its wheel does not have; this starts the same provider of nodes.

    Args:
      worker: Resources of an added node.
      at_most: How many there may be.

    Yields:
      The environment of a driver on the head, ``RAY_ADDRESS`` in it.
    """
    with marked_environment() as environment, short_folder() as folder:
        from ray.util import get_node_ip_address

        (port,) = free_ports(1)
        address = f"{get_node_ip_address()}:{port}"
        environment |= {
            "HOME": str(folder),
            "RAY_ADDRESS": address,
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        # Where ``ray up`` leaves it on the head it makes.
        file = folder / "ray_bootstrap_config.yaml"
        file.write_text(json.dumps(autoscaler_configuration(address, worker, at_most)))
        head = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=0",
            "--num-gpus=0", f"--port={port}", f"--temp-dir={folder}", "--min-worker-port=0",
            "--max-worker-port=0", f"--autoscaling-config={file}", "--include-dashboard=false",
            f"--object-store-memory={80 << 20}", "--disable-usage-stats",
        ]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(head, env=environment, start_new_session=True, **quiet) as process:
            try:
                yield environment
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def autoscaler_configuration(
    address: str, worker: Mapping[str, float], at_most: int
) -> dict[str, Any]:
    """As ``ray up`` completes a ``cluster.yaml``, for nodes that are processes of this machine."""
    from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG

    provider = {
        "type": "fake_multinode",
        "gcs_address": address,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    small = {"object_store_memory": 80 << 20}
    workers = {"resources": {**worker, **small}, "node_config": {}, "max_workers": at_most}
    return {
        **BASE_READONLY_CONFIG,
        "provider": provider,
        "max_workers": at_most + 2,
        "upscaling_speed": 4.0,
        "idle_timeout_minutes": 0.25,
        "available_node_types": {"ray.head.default": head, "worker": workers},
    }


@contextmanager
def marked_environment() -> Iterator[dict[str, str]]:
    """Environment of processes that all end with the block, whatever they have started.

    GPUs that Ray is told of must not be hidden, and none is there for TensorFlow to find. Where a
    local run of this process has set Ray to listen on loopback alone, a driver that does not have
    the setting would wait for such nodes.
    """
    environment = {
        **os.environ,
        _MARK: secrets.token_hex(8),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    for hidden in ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        environment.pop(hidden, None)
    try:
        yield environment
    finally:
        kill_processes(mark_of(environment))


def mark_of(environment: Mapping[str, str]) -> str:
    """The entry by which processes of a marked environment are known."""
    return f"{_MARK}={environment[_MARK]}"


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def kill_processes(mark: str) -> None:
    """Kill every process with this entry in its environment, until there is none."""
    deadline = time.monotonic() + 30
    while found := processes_with(mark):
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert time.monotonic() < deadline, f"processes {found} do not end"
        time.sleep(0.1)


def processes_with(mark: str) -> list[int]:
    """Processes that have this entry in the environment they were started with."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@contextmanager
def short_folder() -> Iterator[Path]:
    """A new folder whose path leaves room for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="vn"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
