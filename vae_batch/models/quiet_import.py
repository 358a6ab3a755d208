"""TensorFlow's import without its chatter, which would run through a display that moves.

TensorFlow 2.21 writes half a dozen lines on file descriptor 2 before it reads
``TF_CPP_MIN_LOG_LEVEL``, past ``sys.stderr``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: What Abseil writes below a fatal error; it may stand behind words that others wrote.
_CHATTER = re.compile(
    rb"(?:WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d+\.\d)[^\n]*\n"
)

_STDERR = 2


def import_tensorflow() -> Any:  # noqa: ANN401 - a module without types
    """TensorFlow; what its import says is dropped where ``TF_CPP_MIN_LOG_LEVEL`` is 3."""
    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        import tensorflow

        return tensorflow
    with _without_chatter():
        import tensorflow
    return tensorflow


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what is written on file descriptor 2; all but chatter is written afterwards."""
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
                stream.write(_CHATTER.sub(b"", held.read()))
