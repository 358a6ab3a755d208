"""The end of a command's process: its exit code is what it did, whatever libraries do at the end.

Native libraries (Ray's core, gRPC, TensorFlow) have threads that outlive Python, and now and then
abort while their process is torn down. A run that is done, and printed, would then end with 134;
for cron and Kubernetes that is a failure. So exit functions are called, and nothing after them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_process(command: Callable[[], object]) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
      command: Ends by SystemExit, as those of typer do. Other exceptions are raised.
    """
    try:
        command()
        code = 0
    except SystemExit as ended:
        code = _code(ended)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # who read it has gone
            stream.flush()
    os._exit(code)


def _code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
