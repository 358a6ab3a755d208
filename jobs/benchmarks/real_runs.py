"""Real runs of the command, for ``scale.py``: how work grows with samples, checkpoints and workers.

For samples and checkpoints, time is the seconds that workers spent on their shards, from the
receipts, so that pauses of the driver do not count. For workers, time is the clock from the first
finished shard to the last one. On a machine whose cores one worker can fill, more workers gain
nothing, so the decoders of these runs sleep, as a worker does that waits for its GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import finish, write_toml

from vae_batch.run.output.run_record import open_record
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import read_receipt

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Growth:
    """One run.

    Attributes:
        against: What was varied: ``samples``, ``checkpoints`` or ``workers``.
        size: Its value.
        what: The part of the run that was measured.
        seconds: Seconds of that part.
    """

    against: str
    size: int
    what: str
    seconds: float


@dataclass(frozen=True)
class Sizes:
    """What is varied, and what stays the same.

    Attributes:
        extractor: As for ``score``.
        samples: Numbers of generated images, of one checkpoint.
        checkpoints: Numbers of checkpoints, with ``samples_each``.
        workers: Numbers of workers, on as many checkpoints as the largest.
        samples_each: Generated images where they are not varied.
        references: Real images.
        delay: Seconds that a sleeping decoder takes per batch.
    """

    extractor: str
    samples: Sequence[int]
    checkpoints: Sequence[int]
    workers: Sequence[int]
    samples_each: int
    references: int
    delay: float


def growth(folder: Path, sizes: Sizes) -> Iterator[Growth]:
    """Do all runs, in an empty folder."""
    common: dict[str, Any] = {"reference": "digits", "reference_samples": sizes.references}
    common |= {"workers": 1, "metrics": "losses,fid", "shard_size": 64}
    common |= {"extractors": [sizes.extractor]}
    if sizes.samples or sizes.checkpoints:
        _train(folder / "runs", max([1, *sizes.checkpoints]))
    paths = [str(path) for path in sorted((folder / "runs").glob("*"))]
    for count in sizes.samples:
        settings = {**common, "samples": count, "checkpoints": paths[:1]}
        busy = _busy_seconds(settings, folder / f"samples-{count}")
        yield Growth("samples", count, "its activations", busy["generated"])
    for count in sizes.checkpoints:
        settings = {**common, "samples": sizes.samples_each, "checkpoints": paths[:count]}
        busy = _busy_seconds(settings, folder / f"checkpoints-{count}")
        reference = sum(busy.pop(kind, 0.0) for kind in ("reference", "reference_pictures"))
        yield Growth("checkpoints", count, "all of theirs", sum(busy.values()))
        yield Growth("checkpoints", count, "the reference", reference)
    if sizes.workers:
        yield from _with_workers(folder / "sleeping", common, sizes)


def _with_workers(folder: Path, common: Mapping[str, Any], sizes: Sizes) -> Iterator[Growth]:
    words = [str(folder), str(max(sizes.workers)), str(sizes.delay)]
    finish([sys.executable, str(_HERE / "delayed_decoder.py"), *words], _environment())
    settings = {**common, "checkpoints": [str(folder / "runs")], "samples": sizes.samples_each}
    settings |= {"extractors": [str(folder / "classifier.keras")]}
    settings |= {"custom_objects": ["delayed_decoder"], "trust": True}
    for count in sizes.workers:
        out = folder / f"workers-{count}"
        _score({**settings, "workers": count}, out)
        ends = [path.stat().st_mtime for path in out.rglob("part-0*.receipt.json")]
        yield Growth("workers", count, "first shard to last", max(ends) - min(ends))


def _train(folder: Path, count: int) -> None:
    """Train checkpoints of a small VAE on digits."""
    epochs = [word for number in range(count) for word in ("--epochs", str(number + 1))]
    words = ["--reference", "digits", "--out", str(folder), "--limit", "512", *epochs]
    finish([sys.executable, str(_HERE.parent / "train_vae.py"), *words], _environment())


def _busy_seconds(settings: Mapping[str, Any], out: Path) -> dict[str, float]:
    """Run the command, and sum the seconds of its shards by kind of unit."""
    _score(settings, out)
    record = open_record(str(out))
    stores = RunStores.of(record.spec)
    units = {unit.path: unit for row in record.rows for unit in row.units.values()}
    busy: dict[str, float] = {}
    for unit in units.values():
        for shard in unit.shards():
            receipt = read_receipt(stores.holding(unit), unit, shard.name)
            if receipt is not None:
                busy[unit.kind] = busy.get(unit.kind, 0.0) + receipt.seconds
    return busy


def _score(settings: Mapping[str, Any], out: Path) -> None:
    """Run ``vae-batch score`` with some settings into a folder."""
    spec = out.with_suffix(".toml")
    write_toml({**settings, "out": str(out)}, spec)
    finish([sys.executable, "-m", "vae_batch.cli", "score", str(spec)], _environment())


def _environment() -> dict[str, str]:
    """The environment with this folder among Python's, where workers find the sleeping decoder."""
    paths = [str(_HERE), str(_HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
