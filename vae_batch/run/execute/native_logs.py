"""Drops log lines of TensorFlow and Ray that native code writes directly to file descriptor 2.

They would break up a live progress display. TensorFlow 2.21 writes half a dozen of them before it
reads ``TF_CPP_MIN_LOG_LEVEL``, and Ray 2.60 says that it has read ``RAY_BACKEND_LOG_LEVEL``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

#: Log lines below a fatal error; they may follow other text on their line.
_LOG_LINES = re.compile(
    rb"(?:WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d+\.\d)[^\n]*\n"
    rb"|To enable the following instructions:[^\n]*\n"  # the second line of a message
    rb"|\[\d{4}-\d\d-\d\d [\d:,]+ [IW] \d+ \d+\] [^\n]*\n"
)

_STDERR = 2


def drop_log_lines_of_tensorflow() -> None:
    """Whoever imports TensorFlow later does so without its log lines.

    Nothing happens where ``TF_CPP_MIN_LOG_LEVEL`` asks for them (less than 3).
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3" and not any(
        isinstance(finder, _Finder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Executes a module without its log lines, then leaves it to its own loader."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        with without_log_lines():
            self._own.exec_module(module)


@contextmanager
def without_log_lines() -> Iterator[None]:
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
