"""What the work of a run grows like: with samples, with checkpoints, with workers.

Runs are real ones, of the command. Time is what they note themselves: of samples and checkpoints
the seconds that workers were busy with their shards, which no pause of the driver enters; of
workers the clock from the first shard's end to the last one's. On a machine whose cores one worker
can fill, more workers gain nothing, so these have decoders that wait, as those of a GPU do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_runs import last_cost, make_checkpoints, score

from vae_batch.run.cost.cost_file import RunCost

_REFERENCE = ("reference", "reference_pictures")


@dataclass(frozen=True)
class Growth:
    """One run.

    Attributes:
      against: What was varied: ``samples``, ``checkpoints`` or ``workers``.
      size: How many.
      what: The part of the run that is told.
      seconds: That it took.
    """

    against: str
    size: int
    what: str
    seconds: float


@dataclass(frozen=True)
class Sizes:
    """What stays the same, and what is varied.

    Attributes:
      extractor: As for ``score``.
      samples: Numbers of generated images of one checkpoint.
      checkpoints: Numbers of checkpoints, of ``samples_each``.
      workers: Numbers of workers, on as many checkpoints as the largest.
      samples_each: Where samples are not varied.
      references: Real images.
      delay: Seconds that a waiting decoder takes a batch.
    """

    extractor: str
    samples: Sequence[int]
    checkpoints: Sequence[int]
    workers: Sequence[int]
    samples_each: int
    references: int
    delay: float


def growth(folder: Path, sizes: Sizes) -> Iterator[Growth]:
    """All runs, in an empty folder."""
    common = {"reference": "digits", "reference_samples": sizes.references, "workers": 1}
    common |= {"extractors": [sizes.extractor], "metrics": "losses,fid", "shard_size": 64}
    most = max([1, *sizes.checkpoints])
    if sizes.samples or sizes.checkpoints:
        common |= make_checkpoints(folder, most)
    paths = [str(path) for path in sorted((folder / "runs").glob("*"))]
    for count in sizes.samples:
        settings = {**common, "samples": count, "checkpoints": paths[:1]}
        cost = _cost(settings, folder / f"samples-{count}")
        yield Growth("samples", count, "its activations", _busy(cost, "generated".__eq__))
    for count in sizes.checkpoints:
        settings = {**common, "samples": sizes.samples_each, "checkpoints": paths[:count]}
        cost = _cost(settings, folder / f"checkpoints-{count}")
        yield Growth("checkpoints", count, "all of theirs", _busy(cost, _of_checkpoint))
        yield Growth("checkpoints", count, "the reference", _busy(cost, _REFERENCE.__contains__))
    if sizes.workers:
        yield from _with_workers(folder / "waiting", common, sizes)


def _with_workers(folder: Path, common: dict[str, Any], sizes: Sizes) -> Iterator[Growth]:
    folder.mkdir()
    common |= make_checkpoints(folder, max(sizes.workers), sizes.delay)
    for count in sizes.workers:
        settings = {**common, "samples": sizes.samples_each, "workers": count}
        cost = _cost(settings, folder / f"workers-{count}")
        seconds = (cost.last_end or 0.0) - (cost.first_end or 0.0)
        yield Growth("workers", count, "first shard to last", seconds)


def _cost(settings: dict[str, Any], out: Path) -> RunCost:
    score(settings, out)
    return last_cost(out)


def _of_checkpoint(kind: str) -> bool:
    return kind not in _REFERENCE


def _busy(cost: RunCost, is_counted: Callable[[str], bool]) -> float:
    return sum(shards.seconds for shards in cost.shards if is_counted(shards.kind))
