"""Measure the time and memory of scoring a row, without extraction, on synthetic stored files.

    python jobs/benchmarks/scoring.py --samples 10000 --dimension 2048 --json scoring.json

Units of two checkpoints and one reference are written with receipts, as workers write them. Then
the job's own code reduces and scores them in a fresh process. The first row of a process also
prepares what all rows share of the reference.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from measuring import in_fresh_process, write_json
from threadpoolctl import threadpool_limits

from vae_batch.metrics import METRICS
from vae_batch.metrics.catalogue import DEFAULT_GROUPS
from vae_batch.models.autoencoder.description import Description
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.extractors.extractor import ExtractorIdentity
from vae_batch.plan import Shard, Unit, make_spec
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.checkpoint_job import CheckpointJob
from vae_batch.run.planning.units import units_of_row
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.scoring.row import scores_of
from vae_batch.run.scoring.stored import RowParts, reduce_unit
from vae_batch.run.stages.pixel_statistics import picture_statistics
from vae_batch.storage import encode_arrays, encode_columns, holds_arrays, write_with_receipt

Arrays = dict[str, npt.NDArray[Any]]

_CHECKPOINTS = 2
_MIXED = 256
"""Directions in which activations vary, besides independent noise."""


@dataclass(frozen=True)
class Size:
    """How much there is to score."""

    samples: int
    references: int
    dimension: int
    classes: int
    latents: int
    side: int
    draws: int


@dataclass(frozen=True)
class Timing:
    """One row of the table; a group's times are those of a row with that group alone.

    Attributes:
      part: What was done.
      seconds: By the clock.
      cpu_seconds: Of this process: what the clock would show on an idle machine, as reductions
        and scores run in one thread.
      peak_memory_gib: The most that the process has held so far.
    """

    part: str
    seconds: float
    cpu_seconds: float
    peak_memory_gib: float


def make_parts(out: str, size: Size, groups: tuple[str, ...]) -> list[RowParts]:
    """What the rows of two checkpoints are made of; nothing is written yet."""
    spec = make_spec(
        {
            "checkpoints": ["synthetic"],
            "reference": "synthetic",
            "samples": size.samples,
            "batch_size": 32,
            "iwae_draws": size.draws,
            "metrics": groups,
            "out": out,
        }
    )
    shape = (size.side, size.side, 1)
    reference = ReferenceFacts(
        "synthetic", "test", "0" * 64, size.references, shape, (), None, spec.shard_size
    )
    extractor = ExtractorIdentity(
        "synthetic", None, "1" * 64, "none", size.dimension, size.classes, None, "none", "none"
    )
    parts = []
    for step in range(_CHECKPOINTS):
        checkpoint = Checkpoint(f"step-{step}", step, (), f"{step:064d}")
        job = CheckpointJob(checkpoint, spec.reading_of(checkpoint.label), ())
        units = units_of_row(spec, reference, job, extractor)
        parts.append(RowParts(RunStores.of(spec), units, spec, job.reading, None))
    return parts


def write_units(out: str, size: Size) -> None:
    """Write every shard of every unit, seeded by its path and range."""
    units = {
        u.path: (p, u) for p in make_parts(out, size, DEFAULT_GROUPS) for u in p.units.values()
    }
    for parts, unit in units.values():
        for shard in unit.shards():
            content = _content(unit, shard, size)
            store = parts.stores.holding(unit)
            write_with_receipt(store, unit, shard.name, content, rows=len(shard), device="cpu")


def _content(unit: Unit, shard: Shard, size: Size) -> bytes:
    seed = [*unit.path.encode(), shard.start]
    rng, rows = np.random.default_rng(seed), len(shard)
    if unit.kind == "description":
        image = (size.side, size.side, 1)
        return Description(
            "keras", (size.latents,), image, "0..1", "bernoulli", "logits", "logvar", None, None
        ).to_json()
    arrays: Arrays
    match unit.kind:
        case "losses":
            arrays = _losses(rng, rows, size)
        case "importance":
            arrays = _importance(rng, rows, size)
        case "pictures" | "reference_pictures":
            arrays = _pictures(rng, rows, size)
        case "gallery":
            arrays = {"samples": np.zeros((1, size.side, size.side, 1), np.uint8)}
        case _:
            arrays = _activations(rng, rows, size, quality=0.0 if unit.checkpoint is None else 0.1)
    arrays = {"index": np.arange(shard.start, shard.stop), **arrays}
    return encode_arrays(arrays) if holds_arrays(unit) else encode_columns(arrays)


def _activations(rng: np.random.Generator, rows: int, size: Size, quality: float) -> Arrays:
    """Rectified and correlated, as pooled activations are; ``quality`` shifts them."""
    mixing = np.random.default_rng(0).normal(size=(_MIXED, size.dimension)) / np.sqrt(_MIXED)
    hidden = rng.normal(quality, 1.0, (rows, _MIXED)) @ mixing
    features = np.maximum(hidden + rng.normal(0.3, 0.3, hidden.shape), 0.0)
    scores = np.exp(rng.normal(0.0, 2.0, (rows, size.classes)))
    return {
        "features": features.astype(np.float32),
        "probabilities": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),
    }


def _losses(rng: np.random.Generator, rows: int, size: Size) -> Arrays:
    mean, logvar = rng.normal(size=(2, rows, size.latents)).astype(np.float32)
    positive = {
        name: rng.gamma(9.0, scale, rows)
        for name, scale in {
            "reconstruction_nll": 9.0,
            "reconstruction_nll_at_mean": 8.0,
            "mse": 1e-3,
            "mae": 1e-2,
            "psnr": 2.0,
            "reconstruction_sharpness": 100.0,
        }.items()
    }
    kl = 0.5 * (mean.astype(np.float64) ** 2 + np.expm1(logvar) - logvar).sum(axis=1)
    ssim = rng.uniform(0.5, 1.0, rows)
    return {"mean": mean, "logvar": logvar - 3.0, "kl": kl, "ssim": ssim, **positive}


def _importance(rng: np.random.Generator, rows: int, size: Size) -> Arrays:
    shape = (rows, size.draws)
    return {
        "log_ratio": rng.normal(-20.0, 2.0, shape),
        "reconstruction_nll": rng.normal(80.0, 2.0, shape),
    }


def _pictures(rng: np.random.Generator, rows: int, size: Size) -> Arrays:
    pixels = rng.integers(0, 256, (rows, size.side, size.side, 1), dtype=np.uint8)
    return {**picture_statistics(pixels), "path_change": rng.gamma(2.0, 1.0, rows)}


def measure(out: str, size: Size, groups: tuple[str, ...]) -> Iterator[Timing]:
    """Score both rows with all groups, then the second with each group alone."""
    first, second = make_parts(out, size, groups)
    yield _timed("before anything", lambda: None)
    reference = first.units["reference"]
    yield _timed("reduction of the reference", lambda: _reduce(first, reference))
    yield _timed("reductions of the first row", lambda: _reduce_own(first))
    yield _timed("first row, with the reference's parts", lambda: _score(first))
    yield _timed("reductions of a further row", lambda: _reduce_own(second))
    yield _timed("further row", lambda: _score(second))
    for group in groups:
        alone = make_parts(out, size, (group,))[1]
        yield _timed(f"  {group} alone", lambda parts=alone: _score(parts))


def _reduce_own(parts: RowParts) -> None:
    for kind in ("generated", "reconstructed"):
        if kind in parts.units:
            _reduce(parts, parts.units[kind])


def _reduce(parts: RowParts, unit: Unit) -> None:
    splits = parts.spec.splits if unit.kind == "generated" else 1
    if reduce_unit(parts.stores.holding(unit), unit, splits) is not None:
        raise OSError(f"{unit.path} is damaged")


def _score(parts: RowParts) -> None:
    with threadpool_limits(1):
        scores = scores_of(parts).sheet.close()
    for column, score in scores.items():
        if METRICS[column].group in parts.spec.metrics and score.reason is not None:
            print(f"    undefined: {column}: {score.reason.text}", flush=True)


def _timed(part: str, work: Callable[[], None]) -> Timing:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Timing(part, seconds, cpu_seconds, peak)


def main(
    samples: Annotated[int, typer.Option(help="Generated images.")] = 10000,
    references: Annotated[
        int | None, typer.Option(help="Reference images (default: as many).")
    ] = None,
    dimension: Annotated[int, typer.Option(help="Activation dimensions.")] = 2048,
    classes: Annotated[int, typer.Option(help="Classes of the extractor.")] = 1008,
    latents: Annotated[int, typer.Option(help="Latent dimensions.")] = 32,
    side: Annotated[int, typer.Option(help="Height and width in pixels.")] = 28,
    draws: Annotated[int, typer.Option(help="Importance draws per image.")] = 64,
    groups: Annotated[str, typer.Option(help="Groups of metrics.")] = ",".join(DEFAULT_GROUPS),
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Measure reducing and scoring, and print one table."""
    size = Size(samples, references or samples, dimension, classes, latents, side, draws)
    timings = []
    print(f"{'part':40s} {'seconds':>8s} {'of CPU':>8s} {'peak GiB':>9s}")
    with tempfile.TemporaryDirectory() as out:
        write_units(out, size)
        # A fresh process, so that memory is that of scoring alone.
        for row in in_fresh_process(measure, out, size, tuple(groups.split(","))):
            timings.append(row)
            times = f"{row.seconds:8.2f} {row.cpu_seconds:8.2f}"
            print(f"{row.part:40s} {times} {row.peak_memory_gib:9.2f}", flush=True)
    write_json({"size": asdict(size), "rows": [asdict(row) for row in timings]}, json_path)


if __name__ == "__main__":
    typer.run(main)
