"""The cluster: the one this job was submitted to or that was named, else one started here."""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from vae_batch.plan import InputError
from vae_batch.run.worker_environment import thread_environment

#: Whether the cluster that this process is connected to was there before.
_joined = True

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
    if not _joined:
        _start_local(**quiet)
        return
    try:
        ray.init(address=address or "auto", **quiet)
    except AuthenticationError:
        raise InputError(_no_token(f"the Ray cluster at {_named(address)}")) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(_refusal(_named(address), error)) from error


def is_joined() -> bool:
    """Whether the cluster was not started by this process."""
    return _joined


def _named(address: str | None) -> str:
    return address or os.environ["RAY_ADDRESS"]


def _start_local(**quiet: object) -> None:
    token = Path.home() / _TOKEN_FILE
    written_before = token.exists()
    environment = {"env_vars": thread_environment(threads=1)}
    # Ray itself asks for tokens in local clusters, unless RAY_AUTH_MODE says otherwise.
    ray.init(address="local", include_dashboard=False, runtime_env=environment, **quiet)
    if token.exists() and not written_before:
        token.chmod(0o600)  # Ray leaves it readable by everybody


def _refusal(address: str, error: Exception) -> str:
    """Ray's exceptions do not tell a cluster that is not there from one that wants a token."""
    place = re.search(r"([\w.\-]+):(\d+)$", address) or re.search(r"([\w.\-]+):(\d+)", str(error))
    if place and _listens(place[1], int(place[2])):
        return _no_token(f"the Ray cluster at {address}")
    return (
        f"no Ray cluster answers at {address}: {error}; check --address (or RAY_ADDRESS), or leave "
        "it out to start a local one"
    )


def _no_token(cluster: str) -> str:
    wanted = "the cluster's token in ~/.ray/auth_token (ray get-auth-token) or in RAY_AUTH_TOKEN"
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return (
            f"{cluster} is there but does not let this process in; it asks for a token, so: "
            f"export RAY_AUTH_MODE=token, with {wanted}"
        )
    return (
        f"{cluster} does not let this process in, although RAY_AUTH_MODE is token: the token is "
        f"missing here or is another cluster's; it takes {wanted}"
    )


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False
