"""Environment of processes that compute; set before TensorFlow or BLAS is imported."""

from __future__ import annotations

import os
import sys

from vae_batch.run.execute.native_logs import drop_log_lines_of_tensorflow

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
