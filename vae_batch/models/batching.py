"""Batches of one fixed shape, so that a sample's bits do not depend on its neighbours' number.

A sample's numbers do not depend on the other rows of its batch either, so a batch of another size
gives the same numbers up to the order in which a device's kernels sum for that shape: bit for bit
on some, in the last digits on others. So the size asked for belongs to a run's identity, and a
shard that memory forced into smaller batches (``vae_batch.run.execute.oom_backoff``) says so.
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
      function: Takes arrays of exactly ``batch_size`` rows, returns arrays of as many rows.
      batch_size: Rows a batch; the last batch is padded by repeating its last row.
      *arrays: Inputs with one common first axis of at least one row.
      concurrency: Batches under way at once, each in a thread of its own.

    Returns:
      Outputs joined along the first axis, in order, padding removed.
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
