"""Batches of one fixed shape, so that a sample's bits do not depend on how many are in its batch.

Nor do they depend on the other rows of the batch. A batch of another size gives the same numbers,
except that a device's kernels may sum in another order for that shape, which may change the last
digits. So the batch size belongs to a run's identity, and a shard that was computed in smaller
batches for lack of memory (``vae_batch.run.execute.oom_backoff``) says so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


def map_batches(
    function: Callable[..., tuple[Array, ...]],
    batch_size: int,
    *arrays: Array,
    concurrency: int = 1,
) -> tuple[Array, ...]:
    """Apply ``function`` to consecutive batches of ``arrays`` and join its outputs.

    Args:
        function: Takes arrays of exactly ``batch_size`` rows and returns arrays of as many rows.
        batch_size: Rows per batch; the last batch is padded by repeating its last row.
        *arrays: Inputs with one common first axis of at least one row.
        concurrency: Batches that run at the same time, each in its own thread.

    Returns:
        Outputs joined along the first axis, in order, without padding.
    """
    rows = len(arrays[0])

    def apply(start: int) -> list[Array]:
        batch = [_padded(array[start : start + batch_size], batch_size) for array in arrays]
        return [output[: rows - start] for output in function(*batch)]

    starts = range(0, rows, batch_size)
    if concurrency > 1:
        with ThreadPoolExecutor(concurrency) as threads:
            parts = list(threads.map(apply, starts))
    else:
        parts = [apply(start) for start in starts]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _padded(array: Array, rows: int) -> Array:
    missing = rows - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
