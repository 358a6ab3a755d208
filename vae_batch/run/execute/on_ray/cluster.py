"""The cluster: the one this job was submitted to or that was named, else one started here.

A driver that calls Ray after its raylet or the GCS has gone may be ended by Ray's native code,
without an exception. So the driver looks at both before such calls: :func:`require_alive`.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray._private.node
import ray.exceptions

from vae_batch.plan import ClusterLostError, InputError
from vae_batch.run.execute.worker_environment import thread_environment, without_log_lines

_log = logging.getLogger(__name__)

#: Whether the cluster that this process is connected to was there before.
_joined = True

#: Seconds between two looks at the servers.
_LOOKS_EVERY_S = 0.2

#: Seconds that a server may not answer. The GCS may be started again, where its state is kept
#: elsewhere. Ray ends a process itself that has not reached the GCS for 60 s, and to leave the
#: cluster takes up to 10 s of these.
_ABSENCE_S = 1.0
_GCS_ABSENCE_S = 30.0

#: Seconds in which a local cluster has to start, its agents too, and those that Ray gives it.
_START_S = 180.0
_RAYS_START_S = 30.0

#: Seconds of waiting for the cluster after which that is said.
_WAITED_S = 60.0

#: Seconds that a call waits before the servers are looked at again.
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Server:
    """A process of the cluster on which the driver depends.

    Attributes:
        word: What it is.
        host: Name or address of its machine.
        port: Where it listens.
        absence: Seconds that it may not answer.
    """

    word: str
    host: str
    port: int
    absence: float

    @property
    def fault(self) -> str:
        """Why it does not answer; empty where it does."""
        why = _refusal(self.host, self.port)
        return f"{self.word} at {self.host}:{self.port} does not answer ({why})" if why else ""


_servers: tuple[Server, ...] = ()
_looked = 0.0

#: Releases of Ray before token authentication have no such error.
_AUTHENTICATION_ERROR: type[Exception] = getattr(
    ray.exceptions, "AuthenticationError", PermissionError
)

_TOKEN_FILE = Path(".ray/auth_token")


def connect(address: str | None) -> None:
    """An address wins, then the cluster this job was submitted to, then a local one.

    Never ``address=None``: it may attach to a stray cluster on the machine. A local cluster asks
    for a token, so that no other user of the machine can run code in it; one that is joined is
    as it is, and this process follows its own environment.

    Raises:
        InputError: The cluster cannot be reached, or does not let this process in.
        ClusterLostError: A local one could not be started.
    """
    global _joined
    # What Ray says of authentication is nothing a user must be told, unless it fails.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this driver; faults come as rows
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    _joined = address is not None or bool(os.environ.get("RAY_ADDRESS"))
    with without_log_lines():
        if not _joined:
            _start_local(quiet)
            return
        _join(address or os.environ["RAY_ADDRESS"], address or "auto", quiet)


def is_joined() -> bool:
    """Whether the cluster was not started by this process."""
    return _joined


def watch_servers() -> None:
    """Learn where the servers listen that :func:`require_alive` looks at."""
    global _servers
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    absence = _GCS_ABSENCE_S if _joined else _ABSENCE_S
    here = _own_node()
    place = here["NodeManagerAddress"], int(here["NodeManagerPort"])
    _servers = (
        Server("the GCS", host.strip("[]"), int(port), absence),
        Server("the raylet of this machine", *place, _ABSENCE_S),
    )


def exposed_servers() -> tuple[str, list[str]]:
    """Servers of this machine's node that listen where other machines could reach them.

    Returns:
        The machine's address in its network, empty where it has none; and what listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it chooses an interface
        except OSError:
            return "", []
        address = str(probe.getsockname()[0])
    node = _own_node()
    ports = {
        "GCS": int(ray.get_runtime_context().gcs_address.rpartition(":")[2]),
        "raylet": node["NodeManagerPort"],
        "object manager": node["ObjectManagerPort"],
        "metrics": node["MetricsExportPort"],
        "runtime environments": node["RuntimeEnvAgentPort"],
    }
    return address, [word for word, port in ports.items() if port > 0 and _listens(address, port)]


def _own_node() -> dict[str, Any]:
    """What Ray knows of this machine's node."""
    here = ray.get_runtime_context().get_node_id()
    return next(node for node in ray.nodes() if node["NodeID"] == here)


def forget_servers() -> None:
    """Look at no server any more."""
    global _servers
    _servers = ()


def require_alive(*, now: bool = False) -> None:
    """Wait until the servers of the cluster answer; no more than several looks a second are taken.

    Args:
        now: Look in any case, such as after an error that a lost cluster may have caused.

    Raises:
        ClusterLostError: One of them has not answered for long enough.
    """
    global _looked
    if not now and time.monotonic() - _looked < _LOOKS_EVERY_S:
        return
    for server in _servers:
        deadline = time.monotonic() + server.absence
        while fault := server.fault:
            if time.monotonic() > deadline:
                which = "Ray cluster" if _joined else "local Ray cluster"
                raise ClusterLostError(f"the {which} was lost: {fault}")
            time.sleep(_LOOKS_EVERY_S)
    _looked = time.monotonic()


class Waiting:
    """Says that a run waits for the cluster: after a minute, after twice as long, and so on."""

    def __init__(self, what: str) -> None:
        """Begin to wait.

        Args:
            what: What has not happened, as the beginning of a sentence.
        """
        self._what = what
        self.begin()

    def begin(self) -> None:
        """Begin anew."""
        self._began, self._said_s = time.monotonic(), _WAITED_S

    def say_if_due(self) -> None:
        """Log a warning where it is time."""
        waited = time.monotonic() - self._began
        if waited >= self._said_s:
            self._said_s *= 2
            _log.warning(
                "%s for %.0f s, and the run waits: others use the cluster's CPUs or GPUs (see "
                "`ray status`), or it is slow",
                self._what,
                waited,
            )


def result_of(reference: Any, waiting: Waiting | None = None) -> Any:  # noqa: ANN401
    """The value of a call; waits for it.

    Args:
        reference: Of the call.
        waiting: Says that it takes long.

    Raises:
        ClusterLostError: The cluster was lost meanwhile.
        RayError: The call raised, or its process was lost.
    """
    while not ray.wait([reference], timeout=_PATIENCE_S)[0]:
        require_alive()
        if waiting:
            waiting.say_if_due()
    try:
        return ray.get(reference)
    except ray.exceptions.RayError:
        require_alive(now=True)
        raise


def _join(named: str, address: str, quiet: dict[str, Any]) -> None:
    """Enter a cluster.

    Args:
        named: Its address as the user gave it.
        address: The same as Ray takes it.
        quiet: How much Ray says.
    """
    place = re.search(r"([\w.\-]+):(\d+)$", named)
    if place and not _listens(place[1], int(place[2])):
        raise InputError(_not_there(named, "nothing listens there"))  # Ray would wait for ever
    try:
        ray.init(address=address, **quiet)
    except _AUTHENTICATION_ERROR:
        raise InputError(_no_token(named)) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        # Ray does not say that it was not let in; where something listens it is that.
        said = _no_token(named) if place and type(error) is ConnectionError else None
        raise InputError(said or _not_there(named, str(error))) from error


@contextmanager
def nodes_have_time(seconds: float) -> Iterator[None]:
    """Within the block a node of Ray's may take so long to start; Ray 2.60 gives it 30 s.

    A busy machine needs more. Nothing sets that limit, so the clock that Ray reads there is slowed.

    Args:
        seconds: More than 30.
    """
    node: Any = ray._private.node
    before = getattr(node, "time", None)
    if before is None:  # a release that waits in another way
        yield
        return
    node.time = _SlowClock(_RAYS_START_S / seconds)
    try:
        yield
    finally:
        node.time = before


class _SlowClock:
    """The module ``time``, with a clock that runs at a part of its pace."""

    def __init__(self, pace: float) -> None:
        self._pace = pace

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() * self._pace


def _start_local(quiet: dict[str, Any]) -> None:
    token = Path.home() / _TOKEN_FILE
    written_before = token.exists()
    environment = {"env_vars": thread_environment(threads=1)}
    # Ray itself asks for tokens in local clusters, unless RAY_AUTH_MODE says otherwise.
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(int(_START_S * 1000)))
    try:
        with nodes_have_time(_START_S):
            ray.init(address="local", include_dashboard=False, runtime_env=environment, **quiet)
    except Exception as error:  # Ray raises plain ones
        ray.shutdown()
        raise ClusterLostError(f"no local Ray cluster could be started: {error}") from error
    if token.exists() and not written_before:
        token.chmod(0o600)  # Ray leaves it readable by everybody


def _not_there(address: str, why: str) -> str:
    return (
        f"no Ray cluster answers at {address}: {why}; check --address (or RAY_ADDRESS), or leave "
        "it out to start a local one"
    )


def _no_token(address: str) -> str:
    where = "the cluster's token in ~/.ray/auth_token (ray get-auth-token) or in RAY_AUTH_TOKEN"
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return (
            f"the Ray cluster at {address} does not let this process in; it asks for a token, so: "
            f"export RAY_AUTH_MODE=token, with {where}"
        )
    return (
        f"the Ray cluster at {address} does not let this process in: the token is missing here, or "
        f"is another cluster's; put {where}"
    )


def _listens(host: str, port: int) -> bool:
    return not _refusal(host, port)


def _refusal(host: str, port: int) -> str:
    """Why nothing answers there; empty where something does."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return ""
    except OSError as error:
        return error.strerror or str(error)
