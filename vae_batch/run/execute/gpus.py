"""GPUs: their names, and operations that give the same bits each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vae_batch.run.execute.worker_environment import drop_log_lines_of_tensorflow

#: As TensorFlow words it: no deterministic kernel, or a random operation without a seed.
_WORDS = re.compile(
    r"determinism is enabled|op.determinism|deterministic (?:\w+ )?(?:implementation|algorithm)",
    re.IGNORECASE,
)


def device_name() -> str:
    """Kind of device that TensorFlow computes on here: a GPU's name, or ``cpu``."""
    drop_log_lines_of_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu"))


@contextmanager
def deterministic() -> Iterator[None]:
    """Within the block, TensorFlow's operations on GPUs give the same bits each time.

    Otherwise cuDNN chooses algorithms by timing them, and sums of some kernels depend on the order
    in which threads end. CPUs give the same bits anyway; there, random operations without a seed,
    which some models hold, would only fail. The setting is restored afterwards, since the process
    may be a notebook's.
    """
    if device_name() == "cpu":
        yield
        return
    import tensorflow as tf
    from tensorflow.python.framework import config  # the public API cannot ask for it, or undo it

    before = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


def lacks_determinism(error: BaseException) -> bool:
    """Whether an operation cannot run in a block of :func:`deterministic`, but could outside."""
    return bool(_WORDS.search(str(error)))
