"""Rates that the receipts of an output folder tell: what an image cost there, by kind of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.cost.cost_file import RunCost, read_costs
from vae_batch.run.cost.default_rates import Extracted, Terms
from vae_batch.run.cost.estimate import Devices, Key, Rate, measured_rate, padded
from vae_batch.run.execute.task_queue import Task
from vae_batch.run.output.run_record import DamagedRecordError, read_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.storage import Receipt, read_receipt

Item = TypeVar("Item")

#: Units of a kind, and shards of a unit, that are looked at: a sample serves, and stores are slow.
_UNITS, _SHARDS = 4, 4

_READERS = 16


def terms_of(plan: RunPlan) -> Terms:
    """What the cost of a plan's images depends on."""
    height, width, channels = plan.reference.shape
    extractors = {
        extractor_folder(row.extractor): Extracted(
            row.extractor.feature_dim, row.extractor.class_count
        )
        for row in plan.rows
    }
    spec = plan.spec
    batch = spec.batch_size or CPU_BATCH_SIZE
    return Terms(height * width * channels, batch, spec.iwae_draws, spec.splits, extractors)


def known_rates(plan: RunPlan, devices: Devices) -> dict[Key, Rate]:
    """Rates of what earlier runs of the plan's output have computed on such devices.

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
    then = cores_a_worker_then(read_costs(plan.stores.out))
    return rates_of(plan.stores, units.values(), devices, then)


def rates_of(
    stores: RunStores, units: Iterable[Unit], devices: Devices, then: float | None
) -> dict[Key, Rate]:
    """Rates of a sample of the receipts of some units, by kind and extractor.

    Args:
      stores: That hold them.
      units: In the order in which they were computed.
      devices: Receipts of CPUs serve for CPUs, those of GPUs for GPUs.
      then: Cores that each worker had; None: as many as now.

    Raises:
      OSError: A store cannot be read.
    """
    by_key: dict[Key, list[Unit]] = {}
    for unit in units:
        by_key.setdefault((unit.kind, unit.extractor), []).append(unit)
    found = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for key, group in by_key.items():
            tasks = [task for unit in spread(group, _UNITS) for task in _looked_at(unit)]
            receipts = list(pool.map(lambda task: _receipt(stores, task), tasks))
            rate = _rate(key[0], [r for r in receipts if r is not None], devices, then)
            if rate is not None:
                found[key] = rate
    return found


def cores_a_worker_then(costs: Sequence[RunCost]) -> float | None:
    """Cores that each worker of the last run on one machine had; None where nobody noted it."""
    for cost in reversed(costs):
        if cost.cores:
            return cost.cores / max(1, cost.workers)
    return None


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _looked_at(unit: Unit) -> list[Task]:
    """Shards but the first, which loads networks, where there are others."""
    shards = unit.shards()
    return [(unit, shard) for shard in spread(shards[1:] or shards, _SHARDS)]


def _receipt(stores: RunStores, task: tuple[Unit, Shard]) -> Receipt | None:
    unit, shard = task
    return read_receipt(stores.holding(unit), unit, shard.name)


def _rate(
    kind: Kind, receipts: Sequence[Receipt], devices: Devices, then: float | None
) -> Rate | None:
    fitting = [r for r in receipts if r.is_computed and (r.device != "cpu") == bool(devices.gpu)]
    images = sum(receipt.rows for receipt in fitting)
    if not images:
        return None
    computed = sum(padded(kind, r.rows, r.batch_size or 1) for r in fitting)
    seconds, size = sum(r.seconds for r in fitting), sum(r.size for r in fitting)
    return measured_rate(seconds, computed, size / images, then, devices)
