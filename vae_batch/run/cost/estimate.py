"""What a run costs: work counted from its shards, and the seconds and bytes that follow.

Pure arithmetic. Where nothing was measured yet, rates come from a short table
(:mod:`vae_batch.run.cost.default_rates`), and what follows from them is said to be rough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.plan import Shard, Unit
from vae_batch.plan.shards import Kind
from vae_batch.run.cost.default_rates import MAKE_NO_IMAGE, Terms, core_seconds, row_bytes

Key = tuple[Kind, str | None]
"""A kind of unit and the folder of its extractor; None where it needs none."""

Source = Literal["receipts", "table", "unknown"]

#: Seconds until the first shard is under way: this process alone, or Ray and its workers.
SERIAL_START, RAY_START = 6.0, 25.0


@dataclass(frozen=True)
class Devices:
    """What a run would compute on.

    Attributes:
      words: For people.
      workers: At once.
      cores: That CPU workers share; beside GPU workers, those for light tasks.
      gpu: Name of the GPUs; empty where workers compute on CPUs.
      is_serial: No Ray: everything in one process, light tasks too.
    """

    words: str
    workers: int
    cores: int
    gpu: str = ""
    is_serial: bool = False

    @property
    def cores_a_worker(self) -> float:
        """Share of the cores; workers with one thread each may be more than there are cores."""
        return self.cores / max(1, self.workers)


@dataclass(frozen=True)
class Work:
    """Shards of one kind and extractor.

    Attributes:
      kind: Of their units.
      extractor: Folder of it, or None.
      shards: Number of them.
      images: Samples in them.
      computed: Samples that are computed: batches have one shape, and the last one is padded.
      size: Bytes of their files, about.
    """

    kind: Kind
    extractor: str | None
    shards: int
    images: int
    computed: int
    size: float

    @property
    def key(self) -> Key:
        """Kind and extractor."""
        return self.kind, self.extractor


@dataclass(frozen=True)
class Rate:
    """What an image costs on a worker of the devices that are there.

    Attributes:
      seconds: That it keeps the worker busy, padding too; None where nobody has measured it.
      size: Bytes in the file.
      source: ``receipts`` of this output, or the ``table``.
    """

    seconds: float | None
    size: float
    source: Source


@dataclass(frozen=True)
class Line:
    """Some work and the seconds that it keeps workers busy; None where that is unknown."""

    work: Work
    seconds: float | None
    source: Source


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
      devices: On which.
      lines: Work of the workers.
      light_tasks: Reductions and scores.
      light_seconds: Core seconds of them.
      light_size: Bytes that they write.
      start: Seconds until the first shard is under way.
    """

    devices: Devices
    lines: tuple[Line, ...]
    light_tasks: int
    light_seconds: float
    light_size: float
    start: float

    @property
    def shards(self) -> int:
        """Of all lines."""
        return sum(line.work.shards for line in self.lines)

    @property
    def images(self) -> int:
        """That are decoded, encoded or extracted."""
        work = (line.work for line in self.lines)
        return sum(one.images for one in work if one.kind not in MAKE_NO_IMAGE)

    @property
    def size(self) -> float:
        """Bytes of all files."""
        return sum(line.work.size for line in self.lines) + self.light_size

    @property
    def worker_seconds(self) -> float | None:
        """Busy seconds of all workers together; None where a line's are unknown."""
        known = [line.seconds for line in self.lines if line.seconds is not None]
        return sum(known) if len(known) == len(self.lines) else None

    @property
    def seconds(self) -> float | None:
        """From the start to the last score: workers share the shards evenly.

        On CPUs light tasks take cores from the workers; beside GPUs they have cores of their own,
        and whichever ends last counts.
        """
        busy = self.worker_seconds
        if busy is None:
            return None
        if not self.lines and not self.light_tasks:
            return 0.0
        devices = self.devices
        shared = busy / max(1, min(devices.workers, self.shards))
        light = self.light_seconds / max(1, min(devices.cores, self.light_tasks))
        if devices.is_serial:
            return self.start + busy + self.light_seconds
        if devices.gpu:
            return self.start + max(shared, light)
        return self.start + shared + self.light_seconds / max(1, devices.cores)

    @property
    def sources(self) -> frozenset[Source]:
        """Where the rates come from."""
        return frozenset(line.source for line in self.lines)


def work_of(tasks: Iterable[tuple[Unit, Shard]], terms: Terms) -> list[Work]:
    """Shards counted by kind and extractor, in the order in which each is first met."""
    counted: dict[Key, list[int]] = {}
    for unit, shard in tasks:
        count = counted.setdefault((unit.kind, unit.extractor), [0, 0, 0])
        count[0] += 1
        count[1] += len(shard)
        count[2] += padded(unit.kind, len(shard), terms.batch)
    return [
        Work(*key, shards, images, computed, images * row_bytes(*key, terms))
        for key, (shards, images, computed) in counted.items()
    ]


def padded(kind: Kind, samples: int, batch: int) -> int:
    """Samples that a shard computes: whole batches, but where a sample is a checkpoint."""
    return samples if kind in MAKE_NO_IMAGE else batch * math.ceil(samples / max(1, batch))


def joined(work: Iterable[Work]) -> list[Work]:
    """Work of the same kind and extractor in one."""
    found: dict[Key, Work] = {}
    for one in work:
        old = found.get(one.key)
        if old is not None:
            one = Work(
                *one.key,
                old.shards + one.shards,
                old.images + one.images,
                old.computed + one.computed,
                old.size + one.size,
            )
        found[one.key] = one
    return list(found.values())


def table_rate(key: Key, terms: Terms, devices: Devices) -> Rate:
    """The table's rate on these devices; of GPUs it knows none."""
    size = row_bytes(*key, terms)
    if devices.gpu and key[0] != "images":  # those the driver writes
        return Rate(None, size, "unknown")
    return Rate(core_seconds(*key, terms) / devices.cores_a_worker, size, "table")


def estimate(
    work: Sequence[Work],
    rates: Mapping[Key, Rate],
    light: tuple[int, float, float],
    terms: Terms,
    devices: Devices,
) -> Estimate:
    """Seconds and bytes of some work.

    Args:
      work: Of the workers.
      rates: Measured ones; the table serves for others.
      light: Number, core seconds and bytes of light tasks.
      terms: Of the run.
      devices: It would run on.
    """
    lines = []
    for one in work:
        rate = rates.get(one.key) or table_rate(one.key, terms, devices)
        sized = replace(one, size=one.images * rate.size)
        seconds = None if rate.seconds is None else one.computed * rate.seconds
        lines.append(Line(sized, seconds, rate.source))
    start = 0.0 if not work else SERIAL_START if devices.is_serial else RAY_START
    return Estimate(devices, tuple(lines), *light, start)


def measured_rate(
    seconds: float, computed: int, bytes_an_image: float, then: float | None, devices: Devices
) -> Rate:
    """The rate that some receipts tell.

    Args:
      seconds: Of their shards, on workers.
      computed: Samples that they computed, padding too.
      bytes_an_image: Of their files.
      then: Cores that each worker had on the CPUs where they were computed; None: as many as now.
      devices: Of now. A core is taken for worth the same whoever has it.
    """
    if computed < 1 or not math.isfinite(seconds):
        raise ValueError(f"expected images and finite seconds, found {computed} and {seconds}")
    scale = 1.0 if devices.gpu or then is None else then / devices.cores_a_worker
    return Rate(scale * seconds / computed, bytes_an_image, "receipts")
