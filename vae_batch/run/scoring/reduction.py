"""Reduces a unit of activations to moments and label distributions.

Shards are read and summed in order with one BLAS thread, so that the result is the same, bit for
bit, for any number of workers and cores.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from threadpoolctl import threadpool_limits

from vae_batch.metrics.samples.inception import LabelDistribution, split_bounds
from vae_batch.metrics.samples.moments import Moments
from vae_batch.plan import Shard, Unit
from vae_batch.run.scoring.stored import Damaged, read_shard
from vae_batch.storage import (
    REDUCTION,
    DamagedFileError,
    Store,
    encode_reduction,
    gather_receipts,
    write_with_receipt,
)


def reduce_unit(store: Store, unit: Unit, splits: int) -> Damaged | None:
    """Reduce a unit's activations, shard by shard, to moments and label distributions.

    Args:
        store: Holds the unit.
        unit: Of activations, with all shards finished.
        splits: Inception Score splits, by global sample index.

    Returns:
        The damaged file, or None when the reduction has been written.
    """
    try:
        with threadpool_limits(1):
            moments, labels = _reduce(store, unit, splits)
    except DamagedFileError as damage:
        return Damaged(damage.unit, damage.name)
    content = encode_reduction(moments, labels)
    write_with_receipt(store, unit, REDUCTION, content, rows=unit.samples)
    gather_receipts(store, unit)
    return None


def _reduce(
    store: Store, unit: Unit, splits: int
) -> tuple[Moments | None, list[LabelDistribution]]:
    moments: Moments | None = None
    labels: list[LabelDistribution] = []
    for shard in unit.shards():
        columns = read_shard(store, unit, shard.name, ["features", "probabilities"])
        if not columns["features"].shape[1]:
            return None, []
        part = Moments.from_activations(columns["features"])
        moments = moments.merge(part) if moments else part
        labels = _merge_labels(labels, columns["probabilities"], shard, unit.samples, splits)
    if moments is None:
        raise ValueError(f"unit {unit.path} has no shards")
    return moments, labels


def _merge_labels(
    labels: list[LabelDistribution],
    probabilities: npt.NDArray[Any],
    shard: Shard,
    samples: int,
    splits: int,
) -> list[LabelDistribution]:
    """Add a shard's probabilities to the splits that its sample indices belong to."""
    classes = probabilities.shape[1]
    if not classes:
        return []
    merged = labels or [LabelDistribution.empty(classes) for _ in range(splits)]
    for split, (start, stop) in enumerate(split_bounds(samples, splits)):
        low, high = max(start, shard.start), min(stop, shard.stop)
        if low < high:
            rows = probabilities[low - shard.start : high - shard.start]
            merged[split] = merged[split].merge(LabelDistribution.from_probabilities(rows))
    return merged
