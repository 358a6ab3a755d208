"""The batch size of a run: declared, recorded, or chosen by a short probe of the GPUs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_batch.models.extractors.extractor import NO_EXTRACTOR, ExtractorIdentity
from vae_batch.models.extractors.registry import load_extractor
from vae_batch.plan import InputError
from vae_batch.run.execute.executor import Executor

#: On CPUs larger batches were no faster (jobs/benchmarks/extraction.py) and take more memory; one
#: size everywhere keeps the bits of different machines alike; so nothing is probed there.
CPU_BATCH_SIZE = 32

CANDIDATES = (32, 64, 128, 256)

#: A smaller batch is preferred while it is this close to the fastest.
_CLOSE = 0.95

_PROBED_BATCHES = 5


def choose_batch_size(
    executor: Executor, extractors: Sequence[ExtractorIdentity], shape: Sequence[int]
) -> int:
    """The smallest size that is nearly as fast as the fastest one on every device.

    Args:
        executor: Its devices are probed where they are GPUs.
        extractors: The run's; the first is probed.
        shape: (H, W, C) of the images.

    Raises:
        InputError: The probe failed on a device.
    """
    if not executor.has_gpus or extractors[0].network == NO_EXTRACTOR.network:
        return CPU_BATCH_SIZE
    rates = []
    for place, answer in executor.on_every_device(measure_rates, extractors[0], tuple(shape)):
        if isinstance(answer, Exception):
            raise InputError(
                f"{place}: the batch size could not be probed ({answer}); give --batch-size"
            )
        rates.append(answer)
    return best_size(rates)


def best_size(rates: Sequence[Mapping[int, float]]) -> int:
    """Smallest size whose share of the best rate is close to 1 on every device.

    Args:
        rates: For each device, images a second by batch size; a size that did not fit is missing.
    """
    shares = {
        size: min(device.get(size, 0.0) / max(device.values()) for device in rates)
        for size in CANDIDATES
    }
    close = [size for size, share in shares.items() if share >= _CLOSE]
    return min(close) if close else max(shares, key=lambda size: shares[size])


def measure_rates(identity: ExtractorIdentity, shape: tuple[int, ...]) -> dict[int, float]:
    """Images a second of an extractor on this process's device, by batch size."""
    rates = {}
    for size in CANDIDATES:
        images = np.zeros((size, shape[0], shape[1], 3), np.uint8)
        try:
            extractor: Any = load_extractor(identity, size)
            extractor.extract(images)  # compiles
            began = time.perf_counter()
            for _ in range(_PROBED_BATCHES):
                extractor.extract(images)
        except (MemoryError, RuntimeError):  # larger ones would not fit either
            break
        rates[size] = size * _PROBED_BATCHES / (time.perf_counter() - began)
    if not rates:
        raise MemoryError(f"not even {CANDIDATES[0]} images fit on this device")
    return rates
