"""The cluster: the one this job was submitted to or that was named, else one started here."""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from vae_batch.plan import InputError
from vae_batch.run.execute.native_logs import without_log_lines
from vae_batch.run.execute.worker_environment import thread_environment

#: Whether the cluster that this process is connected to was there before.
_joined = True

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


def _start_local(quiet: dict[str, Any]) -> None:
    token = Path.home() / _TOKEN_FILE
    written_before = token.exists()
    environment = {"env_vars": thread_environment(threads=1)}
    # Ray itself asks for tokens in local clusters, unless RAY_AUTH_MODE says otherwise.
    ray.init(address="local", include_dashboard=False, runtime_env=environment, **quiet)
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
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False
