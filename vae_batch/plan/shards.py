"""Shards: ranges of global sample indices, the unit of work, of storage and of resumption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vae_batch.plan.errors import InputError
from vae_batch.plan.location import leads_out

Kind = Literal[
    "images",
    "reference",
    "reference_pictures",
    "description",
    "losses",
    "importance",
    "gallery",
    "pictures",
    "generated",
    "reconstructed",
]

#: Shards of a unit. Files, receipts and the lists of both grow with their number.
MOST_SHARDS = 100_000

#: Samples of a unit: one number of the spec that is far beyond what can be computed is a slip.
MOST_SAMPLES = 1_000_000_000


def shard_count(samples: int, shard_size: int) -> int:
    """Number of shards of so many samples."""
    return -(-samples // shard_size)


def shard_limit(samples: int) -> str:
    """How many shards a unit may have, and which size keeps to that, as the end of a sentence."""
    return (
        f"of which there may be {MOST_SHARDS:,}; use "
        f"--shard-size {shard_count(samples, MOST_SHARDS)} or more"
    )


@dataclass(frozen=True, order=True)
class Shard:
    """Samples ``start`` (inclusive) to ``stop`` (exclusive) of one unit of work.

    Nothing about workers enters a shard, so a plan is the same on a laptop and on 100 GPUs.
    """

    unit: str
    start: int
    stop: int

    def __len__(self) -> int:
        """Number of samples."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """File-safe name of the range: ``00000512-00001024``."""
        return f"{self.start:08d}-{self.stop:08d}"


@dataclass(frozen=True)
class Unit:
    """All samples of one kind for one subject, cut into shards.

    Attributes:
        path: Folder of the unit's files, relative to the output folder; its identity in a run.
        kind: ``images`` holds the reference images themselves; ``reference``, ``generated`` and
            ``reconstructed`` hold activations; ``description`` what a checkpoint turned out to be,
            ``losses`` one row a test image, ``importance`` its log weights, ``gallery`` the
            report's pictures, ``pictures`` and ``reference_pictures`` what pixels alone tell.
        fingerprint: Hash of everything that moves a number in the unit's files.
        samples: Number of samples; the shards cover ``[0, samples)``.
        shard_size: Samples per shard; the last one may be shorter.
        checkpoint: Identifier of the checkpoint, or None for the reference.
        extractor: Identifier of the extractor, or None where none is needed.
    """

    path: str
    kind: Kind
    fingerprint: str
    samples: int
    shard_size: int
    checkpoint: str | None = None
    extractor: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no plan gives, such as a path that leads out of the output folder.

        Raises:
            InputError: Names what was expected and found.
        """
        if leads_out(self.path):
            raise InputError(f"{self.path!r} is no path below an output folder")
        if self.samples < 0 or self.shard_size < 1:
            raise InputError(
                f"{self.path}: expected samples >= 0 and shard_size >= 1, found {self.samples} and "
                f"{self.shard_size}"
            )
        if self.shard_count > MOST_SHARDS:
            raise InputError(
                f"{self.path}: {self.samples:,} samples in shards of {self.shard_size:,} are "
                f"{self.shard_count:,} shards, {shard_limit(self.samples)}"
            )

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return shard_count(self.samples, self.shard_size)

    def shards(self) -> list[Shard]:
        """Shards in order of their samples."""
        return [Shard(self.path, start, stop) for start, stop in self.ranges()]

    def ranges(self) -> Iterator[tuple[int, int]]:
        """``(start, stop)`` of each shard, contiguous, covering ``[0, samples)``."""
        yield from sample_ranges(self.samples, self.shard_size)


def sample_ranges(samples: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut ``[0, samples)`` into contiguous ranges of ``size`` (the last may be shorter)."""
    if samples < 0 or size < 1:
        raise ValueError(f"expected samples >= 0 and size >= 1, found {samples} and {size}")
    for start in range(0, samples, size):
        yield start, min(start + size, samples)
