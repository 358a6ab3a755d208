"""Environment and native log lines of processes that compute; set before TensorFlow is imported."""

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

#: See ``vae_batch.run.progress.log``, which is not imported here: this module comes first.
_DEBUG = "VAE_BATCH_DEBUG"

#: Ray hides no GPUs from tasks that claim none, and TensorFlow uses every GPU that it sees.
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def thread_environment(threads: int) -> dict[str, str]:
    """Variables for a worker with so many cores (0: TensorFlow chooses).

    oneDNN is off by default on some CPUs and worth 1.3 times in extraction. TensorFlow's own
    thread pools ignore the OMP variable that Ray sets.
    """
    environment = {
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "KERAS_BACKEND": "tensorflow",
    }
    if _DEBUG in os.environ:
        environment[_DEBUG] = os.environ[_DEBUG]
    if threads:
        environment |= {
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": "2",  # extraction keeps two batches under way
        }
    return environment


def set_for_this_process() -> None:
    """Set the same variables for serial runs, unless the user has set them."""
    for name, value in thread_environment(threads=0).items():
        os.environ.setdefault(name, value)
    drop_log_lines_of_tensorflow()


def set_ray_environment(address: str | None) -> None:
    """Let a local cluster require a token and listen on the loopback interface alone.

    A cluster that is joined keeps its own settings. Ray reads the variables when it is imported; a
    later change would break the driver. Ray 2.60 has the same default of authentication; a node
    that cannot belong to a cluster of several gets the address 127.0.0.1 from it, as all nodes do
    on macOS and Windows, for which the second variable is named.

    Args:
        address: Of the spec.
    """
    if address is None and not os.environ.get("RAY_ADDRESS") and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


#: Log lines below a fatal error; they may follow other text on their line.
_LOG_LINES = re.compile(
    rb"(?:WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d+\.\d)[^\n]*\n"
    rb"|To enable the following instructions:[^\n]*\n"  # the second line of a message
    rb"|\[\d{4}-\d\d-\d\d [\d:,]+ [IW] \d+ \d+\] [^\n]*\n"
)

_STDERR = 2


def drop_log_lines_of_tensorflow() -> None:
    """Whoever imports TensorFlow later does so without its log lines.

    Native code writes them to file descriptor 2, where they would break up a live progress display:
    TensorFlow 2.21 half a dozen before it reads ``TF_CPP_MIN_LOG_LEVEL``.

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
