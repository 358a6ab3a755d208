"""The estimate of ``--dry-run``: work counted from missing shards, its seconds and its bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from vae_batch.models.extractors.registry import extractor_folder
from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.cost.default_rates import (
    CostFactors,
    ExtractorWidth,
    Tasks,
    core_seconds,
    row_bytes,
)
from vae_batch.run.output.run_record import DamagedRecordError, read_record
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.progress_file import LastProgress, read_progress
from vae_batch.run.progress.snapshot import WITHOUT_IMAGES
from vae_batch.storage import Receipt, read_receipt

#: A kind of unit, and the folder of its extractor; None if it needs none.
WorkKey = tuple[Kind, str | None]

Source = Literal["receipts", "defaults", "unknown"]

#: Seconds until the first shard begins: in this process, or with Ray and its workers.
SERIAL_START, RAY_START = 6.0, 25.0


@dataclass(frozen=True)
class Devices:
    """What a run would compute on.

    Attributes:
        words: For people.
        workers: That compute at the same time.
        cores: Shared by CPU workers; with GPU workers, those for reductions and scores.
        gpu: Name of the GPUs; empty if workers compute on CPUs.
        is_serial: Everything runs in one process, without Ray.
    """

    words: str
    workers: int
    cores: int
    gpu: str = ""
    is_serial: bool = False

    @property
    def cores_per_worker(self) -> float:
        """Share of the cores; may be less than one."""
        return self.cores / max(1, self.workers)


@dataclass(frozen=True)
class PlannedWork:
    """Missing shards of one kind and extractor.

    Attributes:
        kind: Kind of their units.
        extractor: Folder of the extractor, or None.
        shards: Number of them.
        images: Samples in them.
        computed: Samples computed: batches have one shape, so the last one is padded.
        size: Approximate bytes of their files.
    """

    kind: Kind
    extractor: str | None
    shards: int
    images: int
    computed: int
    size: float

    @property
    def key(self) -> WorkKey:
        """Kind and extractor."""
        return self.kind, self.extractor


@dataclass(frozen=True)
class Rate:
    """What a sample costs on a worker.

    Attributes:
        seconds: Per computed sample; None if never measured on such a device.
        size: Bytes per sample in the file.
        source: Where the rate comes from.
    """

    seconds: float | None
    size: float
    source: Source


@dataclass(frozen=True)
class Line:
    """Some work and its seconds, summed over workers; None if unknown."""

    work: PlannedWork
    seconds: float | None
    source: Source


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
        devices: What it would compute on.
        lines: Work of the workers.
        tasks: Reductions and scores.
        start: Seconds until the first shard begins.
    """

    devices: Devices
    lines: tuple[Line, ...]
    tasks: Tasks
    start: float

    @property
    def shards(self) -> int:
        """Missing shards."""
        return sum(line.work.shards for line in self.lines)

    @property
    def images(self) -> int:
        """Images that are decoded, encoded or extracted."""
        work = (line.work for line in self.lines)
        return sum(one.images for one in work if one.kind not in WITHOUT_IMAGES)

    @property
    def size(self) -> float:
        """Bytes of all files."""
        return sum(line.work.size for line in self.lines) + self.tasks.size

    @property
    def worker_seconds(self) -> float | None:
        """Seconds summed over workers; None if those of a line are unknown."""
        known = [line.seconds for line in self.lines if line.seconds is not None]
        return sum(known) if len(known) == len(self.lines) else None

    @property
    def seconds(self) -> float | None:
        """From the start to the last score; workers share the shards evenly.

        On CPUs, reductions and scores take cores from the workers. Beside GPUs they have cores of
        their own, and what ends last counts.
        """
        busy, tasks, devices = self.worker_seconds, self.tasks, self.devices
        if busy is None:
            return None
        if not self.lines and not tasks.count:
            return 0.0
        if devices.is_serial:
            return self.start + busy + tasks.seconds
        shared = busy / max(1, min(devices.workers, self.shards))
        if devices.gpu:
            beside = tasks.seconds / max(1, min(devices.cores, tasks.count))
            return self.start + max(shared, beside)
        return self.start + shared + tasks.seconds / max(1, devices.cores)

    @property
    def sources(self) -> frozenset[Source]:
        """Where the rates come from."""
        return frozenset(line.source for line in self.lines)


def work_of(shards: Iterable[tuple[Unit, Shard]], factors: CostFactors) -> list[PlannedWork]:
    """Missing shards counted by kind and extractor, in order of first occurrence."""
    counted: dict[WorkKey, list[int]] = {}
    for unit, shard in shards:
        count = counted.setdefault((unit.kind, unit.extractor), [0, 0, 0])
        count[0] += 1
        count[1] += len(shard)
        count[2] += padded(unit.kind, len(shard), factors.batch)
    return [
        PlannedWork(*key, shards, images, computed, images * row_bytes(*key, factors))
        for key, (shards, images, computed) in counted.items()
    ]


def padded(kind: Kind, samples: int, batch: int) -> int:
    """Samples that a shard computes: whole batches, unless a sample is a checkpoint."""
    return samples if kind in WITHOUT_IMAGES else batch * math.ceil(samples / max(1, batch))


def default_rate(key: WorkKey, factors: CostFactors, devices: Devices) -> Rate:
    """The default rate on these devices; there is none for GPUs."""
    size = row_bytes(*key, factors)
    if devices.gpu and key[0] != "images":  # the driver writes images
        return Rate(None, size, "unknown")
    return Rate(core_seconds(*key, factors) / devices.cores_per_worker, size, "defaults")


def estimate(
    work: Sequence[PlannedWork],
    rates: Mapping[WorkKey, Rate],
    tasks: Tasks,
    factors: CostFactors,
    devices: Devices,
) -> Estimate:
    """Estimate seconds and bytes of a run.

    Args:
        work: Of the workers.
        rates: Measured ones; defaults are used for others.
        tasks: Reductions and scores.
        factors: Of the run.
        devices: What it would compute on.
    """
    lines = []
    for one in work:
        rate = rates.get(one.key) or default_rate(one.key, factors, devices)
        sized = replace(one, size=one.images * rate.size)
        seconds = None if rate.seconds is None else one.computed * rate.seconds
        lines.append(Line(sized, seconds, rate.source))
    start = 0.0 if not work else SERIAL_START if devices.is_serial else RAY_START
    return Estimate(devices, tuple(lines), tasks, start)


Item = TypeVar("Item")

#: Units per kind and shards per unit that are read: a sample is enough, and stores are slow.
_UNITS, _SHARDS = 4, 4

_READERS = 16


#: Of images whose size only their checkpoints know, as where the reference is of statistics.
_UNKNOWN_SHAPE = (64, 64, 3)


def cost_factors(plan: RunPlan) -> CostFactors:
    """What the cost of a plan's samples depends on."""
    height, width, channels = plan.reference.shape or _UNKNOWN_SHAPE
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
