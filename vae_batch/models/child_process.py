"""Calls a function in a process of its own, so that a crash or a slow import stays there."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vae_batch.plan.errors import CheckpointError


class ProcessEndedError(CheckpointError):
    """The process ended before the function did; says how."""


Result = TypeVar("Result")

_TAIL = 300


def in_child(function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401
    """What a function returns or raises, called in a new Python without GPUs.

    Args:
        function: Of a module; it and its arguments can be pickled.
        *arguments: Its arguments.

    Raises:
        ProcessEndedError: The process ended before the function did.
    """
    with tempfile.TemporaryDirectory(prefix="vae-batch-") as folder:
        request, reply = Path(folder, "request"), Path(folder, "reply")
        call = pickle.dumps((f"{function.__module__}:{function.__qualname__}", arguments))
        request.write_bytes(pickle.dumps((sys.path, call)))
        ended = subprocess.run(
            [sys.executable, "-c", _CHILD, str(request), str(reply)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if not reply.exists():
            raise ProcessEndedError(f"its process ended with {_how(ended)}")
        is_result, value = pickle.loads(reply.read_bytes())
    if is_result:
        result: Result = value
        return result
    raise value


_CHILD = (
    "import pickle, sys; path, call = pickle.load(open(sys.argv[1], 'rb')); sys.path[:] = path; "
    "from vae_batch.models.child_process import answer; answer(call, sys.argv[2])"
)


def answer(call: bytes, reply: str) -> None:
    """Call a function in this process, and write what it returns or raises."""
    name, arguments = pickle.loads(call)
    module, _, function = name.partition(":")
    made: tuple[bool, Any]
    try:
        made = True, getattr(importlib.import_module(module), function)(*arguments)
    except Exception as error:  # raised again in the other process
        made = False, _picklable(error)
    part = Path(f"{reply}.part")
    part.write_bytes(pickle.dumps(made))
    part.rename(reply)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of a library; its words are kept
        return CheckpointError(f"{type(error).__name__}: {error}")
    return error


def _how(ended: subprocess.CompletedProcess[bytes]) -> str:
    if ended.returncode < 0:
        return signal.Signals(-ended.returncode).name
    last = ended.stderr.decode(errors="replace").strip()[-_TAIL:]
    return f"exit code {ended.returncode}: {last}"
