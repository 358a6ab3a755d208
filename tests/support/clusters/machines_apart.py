"""Machines on this machine: each with its own network, processes, host name and folders.

Needs root, ``ip`` and util-linux. What a machine has started ends with it, since its first process
does; so do its network, mounts and sockets.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_NEEDED = ("ip", "unshare", "nsenter", "mount", "hostname")

#: Set up by who starts a machine, which then runs what it is for.
_SCRIPT = """
set -e
hostname {name}
mount -t tmpfs tmpfs /dev/shm
for folder in {hidden}; do mount -t tmpfs tmpfs "$folder"; done
until ip -4 addr show dev eth0 2>/dev/null | grep -q inet; do sleep 0.1; done
{command} &
wait  # the shell stays the first process: Ray takes a first process for one that lost its parent
"""


def why_impossible() -> str:
    """Why machines cannot be made here; empty where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for namespaces"
    if missing := [tool for tool in _NEEDED if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}"
    made = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False)
    return "" if made.returncode == 0 else "namespaces are not allowed here"


class Network:
    """A bridge that machines hang on; this process is reached at ``address``."""

    def __init__(self, number: int) -> None:
        self._prefix = f"10.77.{number}"
        self._bridge = f"vb{secrets.token_hex(4)}"
        self.address = f"{self._prefix}.254"

    def __enter__(self) -> Network:
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        _run("ip", "link", "del", self._bridge)

    def address_of(self, number: int) -> str:
        """Address of a machine."""
        return f"{self._prefix}.{number}"

    @contextmanager
    def machine(
        self,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        hidden: Sequence[Path] = (),
    ) -> Iterator[Machine]:
        """A machine that runs a command.

        Args:
          number: Of its address, ``10.77.x.number``; its name is ``machine-number``.
          command: What it is for; the machine goes when this ends.
          environment: Of the command.
          hidden: Folders in whose place it has empty ones of its own.
        """
        name, address = f"machine-{number}", self.address_of(number)
        folders = " ".join(str(folder) for folder in hidden)
        script = _SCRIPT.format(name=name, hidden=folders, command=shlex.join(command))
        holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
             "--mount-proc", "--propagation", "private", "sh", "-c", script],
            env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with holder:
            try:
                first = _child_of(holder)
                self._connect(first, f"{self._bridge[:9]}-{number}", address)
                yield Machine(first, name, address)
            finally:
                holder.kill()

    def _connect(self, process: int, link: str, address: str) -> None:
        peer = ("peer", "name", "eth0", "netns", str(process))
        _run("ip", "link", "add", link, "type", "veth", *peer)
        _run("ip", "link", "set", link, "master", self._bridge, "up")
        inside = ("nsenter", "--target", str(process), "--net", "ip")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
        _run(*inside, "route", "add", "default", "via", self.address)


class Machine:
    """A machine that is up.

    Attributes:
      name: Of the host.
      address: Its IP address.
    """

    def __init__(self, process: int, name: str, address: str) -> None:
        self._process, self.name, self.address = process, name, address

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run another command on the machine, until it ends."""
        enter = ["nsenter", "--target", str(self._process), "--net", "--mount", "--pid", "--uts"]
        return subprocess.run(
            [*enter, "--ipc", *command], env=dict(environment), cwd=folder, timeout=timeout,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def _child_of(holder: subprocess.Popen[bytes]) -> int:
    """The first process of the machine, as seen from outside."""
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and holder.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("the machine does not start")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
