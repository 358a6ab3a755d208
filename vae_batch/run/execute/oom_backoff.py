"""Smaller batches after out-of-memory: the shard is computed again, and its receipt says so.

The batch size belongs to a run's identity, and fingerprints use the size that was asked for.
Batches are padded to one fixed shape, so that an image's numbers do not depend on the others of
its batch; but kernels may sum in another order for another shape, so that the last digits may
differ on some devices. A shard that was computed in smaller batches keeps its fingerprint and
counts as done; its receipt and a warning of its row say so.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable
from typing import TypeVar

from vae_batch.models.autoencoder.network_runs import BatchMemoryError
from vae_batch.models.formats.limits import ran_out_of_memory
from vae_batch.plan import CheckpointError, InputError, Unit

Content = TypeVar("Content")

_log = logging.getLogger(__name__)

#: As libraries below TensorFlow word it, in errors of other names.
_WORDS = re.compile(
    r"out of memory|OUT_OF_MEMORY|RESOURCE_EXHAUSTED|failed to allocate|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)

#: Units that run no batches.
_WITHOUT = ("description",)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help: memory of the host or the device did not suffice.

    A checkpoint that is too large to be loaded is another matter.
    """
    if isinstance(error, CheckpointError | InputError):
        return isinstance(error, BatchMemoryError)
    names = ("InternalError", "UnknownError", "XlaRuntimeError")
    return ran_out_of_memory(error) or (
        type(error).__name__ in names and bool(_WORDS.search(str(error)))
    )


class BatchSizes:
    """The batch sizes of one worker: as asked for, and smaller for units that do not fit."""

    def __init__(self, asked: int) -> None:
        """Begin with the size asked for."""
        self._asked = asked
        self._fitting: dict[str, int] = {}

    def compute(self, unit: Unit, compute: Callable[[int], Content]) -> tuple[Content, int]:
        """What ``compute`` gives for a batch size, halved down to 1 while memory runs out.

        A size that fits is used for the unit's later shards on this worker, too; other units
        begin with the size asked for.

        Returns:
            The content, and the size of its batches; 0 where the unit runs none.

        Raises:
            Exception: Whatever else ``compute`` raised, or that memory ran out for single images.
        """
        while True:
            size = self._fitting.get(unit.path, self._asked)
            try:
                return compute(size), 0 if unit.kind in _WITHOUT else size
            except Exception as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                said = f"{type(error).__name__}: {str(error)[:200]}"
            # Only here are the error's frames, and the tensors that they hold, gone.
            gc.collect()
            self._fitting[unit.path] = size // 2
            _log.warning("%s: out of memory in batches of %d, trying %d (%s)",
                         unit.path, size, size // 2, said)  # fmt: skip
