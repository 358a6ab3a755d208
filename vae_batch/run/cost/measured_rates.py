"""Rates measured from the receipts of an output folder: seconds and bytes per sample, by kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.cost.default_rates import CostFactors, ExtractorWidth
from vae_batch.run.cost.estimate import Devices, Rate, WorkKey, padded
from vae_batch.run.output.run_record import DamagedRecordError, read_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.progress_file import LastProgress, read_progress
from vae_batch.storage import Receipt, read_receipt

Item = TypeVar("Item")

#: Units per kind and shards per unit that are read: a sample is enough, and stores are slow.
_UNITS, _SHARDS = 4, 4

_READERS = 16


def cost_factors(plan: RunPlan) -> CostFactors:
    """What the cost of a plan's samples depends on."""
    height, width, channels = plan.reference.shape
    extractors = {
        extractor_folder(row.extractor): ExtractorWidth(
            row.extractor.feature_dim, row.extractor.class_count
        )
        for row in plan.rows
    }
    spec = plan.spec
    batch = spec.batch_size or CPU_BATCH_SIZE
    return CostFactors(height * width * channels, batch, spec.iwae_draws, spec.splits, extractors)


def known_rates(plan: RunPlan, devices: Devices) -> dict[WorkKey, Rate]:
    """Rates of what earlier runs computed in the plan's output folder on such devices.

    Raises:
        OSError: The store cannot be read.
    """
    try:
        record = read_record(plan.stores.out)
    except DamagedRecordError:
        return {}
    if record is None:
        return {}
    units = {unit.path: unit for row in record.rows for unit in row.units.values()}
    cores = cores_per_worker(read_progress(plan.stores.out))
    return rates_of(plan.stores, units.values(), devices, cores)


def rates_of(
    stores: RunStores, units: Iterable[Unit], devices: Devices, cores: float | None
) -> dict[WorkKey, Rate]:
    """Rates from a sample of the receipts of some units, by kind and extractor.

    Args:
        stores: Stores that hold the units.
        units: In the order in which they were computed.
        devices: Receipts of CPUs count for CPUs, those of GPUs for GPUs.
        cores: Cores that each CPU worker had; None for as many as now. All cores are assumed to
            be equally fast.

    Raises:
        OSError: A store cannot be read.
    """
    by_key: dict[WorkKey, list[Unit]] = {}
    for unit in units:
        by_key.setdefault((unit.kind, unit.extractor), []).append(unit)
    scale = 1.0 if devices.gpu or cores is None else cores / devices.cores_per_worker
    found = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for key, group in by_key.items():
            shards = [one for unit in spread(group, _UNITS) for one in _sampled(unit)]
            receipts = list(pool.map(lambda one: _receipt(stores, *one), shards))
            rate = _rate(key[0], [r for r in receipts if r is not None], devices, scale)
            if rate is not None:
                found[key] = rate
    return found


def cores_per_worker(last: LastProgress | None) -> float | None:
    """Cores that each worker of the last run had; None if unknown."""
    if last is None or not last.snapshot.cores:
        return None
    return last.snapshot.cores / max(1, last.snapshot.workers)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` items, evenly spaced from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _sampled(unit: Unit) -> list[tuple[Unit, Shard]]:
    """Some shards; the first one loads networks, and is used only if there is no other."""
    shards = unit.shards()
    return [(unit, shard) for shard in spread(shards[1:] or shards, _SHARDS)]


def _receipt(stores: RunStores, unit: Unit, shard: Shard) -> Receipt | None:
    return read_receipt(stores.holding(unit), unit, shard.name)


def _rate(kind: Kind, receipts: Sequence[Receipt], devices: Devices, scale: float) -> Rate | None:
    fitting = [r for r in receipts if r.is_computed and (r.device != "cpu") == bool(devices.gpu)]
    images = sum(receipt.rows for receipt in fitting)
    if not images:
        return None
    computed = sum(padded(kind, r.rows, r.batch_size or 1) for r in fitting)
    seconds, size = sum(r.seconds for r in fitting), sum(r.size for r in fitting)
    return Rate(scale * seconds / computed, size / images, "receipts")
