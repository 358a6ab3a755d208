"""Imports TensorFlow without its log lines, which would break up a live progress display.

TensorFlow 2.21 writes half a dozen lines directly to file descriptor 2 before it reads
``TF_CPP_MIN_LOG_LEVEL``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: Log lines of Abseil below a fatal error; they may follow other text on their line.
_LOG_LINES = re.compile(
    rb"(?:WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d+\.\d)[^\n]*\n"
)

_STDERR = 2


def import_tensorflow() -> Any:  # noqa: ANN401 - a module without types
    """Import TensorFlow; its log lines are dropped if ``TF_CPP_MIN_LOG_LEVEL`` is 3."""
    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        import tensorflow

        return tensorflow
    with _without_log_lines():
        import tensorflow
    return tensorflow


@contextmanager
def _without_log_lines() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; all but log lines is written afterwards."""
    try:
        shown = os.dup(_STDERR)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            if sys.stderr is not None:
                with suppress(OSError, ValueError):
                    sys.stderr.flush()
            os.dup2(shown, _STDERR)
            held.seek(0)
            with suppress(OSError), os.fdopen(shown, "wb") as stream:
                stream.write(_LOG_LINES.sub(b"", held.read()))
