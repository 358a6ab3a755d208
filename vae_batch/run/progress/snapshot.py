"""How far a run is at one moment, and what its time went into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from vae_batch.plan.quantities import Count, Seconds, plural

#: Of anything per second.
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: States of a row, and of a checkpoint with its rows. ``running``: some of its shards are finished.
RowState = Literal["waiting", "running", "scored", "failed"]

#: Kinds of units that hold no images, or none that were computed.
WITHOUT_IMAGES: frozenset[str] = frozenset({"description", "gallery", "images"})

#: What a fault of an event is called: one, and several.
_FAULTS = {
    "workers lost": ("worker lost", "workers lost"),
    "machines lost": ("machine lost", "machines lost"),
    "clusters lost": ("cluster lost", "clusters lost"),
    "shards stuck": ("shard timed out", "shards timed out"),
    "damaged files made again": ("damaged file computed again", "damaged files computed again"),
}


def faults_in_words(faults: Mapping[str, int]) -> str:
    """Such as ``1 worker lost, 2 shards timed out``; empty if there were none."""
    return ", ".join(
        plural(count, *_FAULTS.get(kind, (kind, kind))) for kind, count in faults.items()
    )


@dataclass(frozen=True)
class Part:
    """The reference, or a running checkpoint.

    Attributes:
        label: Label of the checkpoint, or ``reference``.
        done: Finished shards.
        total: All shards.
        retried: Shards that were computed again after a fault.
    """

    label: str
    done: Count
    total: Count
    retried: Count


@dataclass(frozen=True)
class Work:
    """Finished work of one kind, extractor and device.

    Attributes:
        kind: Kind of its units; ``reductions`` or ``scores`` for tasks beside the workers.
        extractor: Folder of the extractor, or None.
        device: Where it was computed; empty for tasks.
        count: Number of shards or tasks.
        images: Samples in the shards.
        size: Bytes written.
        seconds: Seconds that it took, summed over workers; loading networks included.
    """

    kind: str
    extractor: str | None
    device: str
    count: Count = 0
    images: Count = 0
    size: Count = 0
    seconds: Seconds = 0.0


@dataclass(frozen=True)
class Snapshot:
    """How far a run was at one moment; counts are of checkpoints, not of rows.

    Attributes:
        seconds: Since the begin of the work.
        phase: The present phase of the run; the last one after its end.
        phases: Seconds of finished phases.
        shards_done: Finished shards, those of earlier runs included.
        shards_total: Shards of all rows that were not scored before, except those that are
            skipped because their checkpoint has failed.
        checkpoints: All of the plan.
        scored: Those with all rows in the score table.
        failed: Those with a failed row.
        waiting: Those without a finished shard.
        running: The others; the reference comes first until it is finished.
        images_per_second: Over the last minute; None before the first shard has ended.
        seconds_left: Until the last shard ends; None if unknown.
        devices: Workers and devices in words.
        workers: How many compute at the same time; 0 for one process without Ray.
        at_work: Workers that hold a shard; None if unknown.
        cores: CPU cores that the workers share; 0 if unknown.
        faults: Faults survived, counted by kind.
        work: Finished work, by kind.
    """

    seconds: Seconds = 0.0
    phase: str = ""
    phases: Mapping[str, Seconds] = field(default_factory=dict)
    shards_done: Count = 0
    shards_total: Count = 0
    checkpoints: Count = 0
    scored: Count = 0
    failed: Count = 0
    waiting: Count = 0
    running: tuple[Part, ...] = ()
    images_per_second: Rate | None = None
    seconds_left: Seconds | None = None
    devices: str = ""
    workers: Count = 0
    at_work: Count | None = None
    cores: Count = 0
    faults: Mapping[str, Count] = field(default_factory=dict)
    work: tuple[Work, ...] = ()
