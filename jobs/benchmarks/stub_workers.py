"""Workers that compute nothing: they write ready contents with receipts, to measure the driver.

Planning, writing, reducing, scoring and reading are the job's own code. No image is decoded and no
network loaded, so a thousand checkpoints take minutes.
"""

from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import EvaluationSpec, Shard, Unit, make_spec
from vae_batch.run.execute.executor import Handle, SerialExecutor, Task
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.storage import encode_arrays, encode_columns, holds_arrays, write_with_receipt

_VARIANTS = 16
"""Number of different contents, which checkpoints share."""

_LATENTS = 2
_CLASSES = 4
_CHECKPOINT_BYTES = 20_000


@dataclass(frozen=True)
class Size:
    """How much there is to plan."""

    shards: int
    shard_size: int
    references: int
    features: int

    @property
    def samples(self) -> int:
        """Generated samples per checkpoint."""
        return self.shards * self.shard_size


class StubExecutor(SerialExecutor):
    """Writes ready contents with receipts, and counts its own time."""

    description = "a stub"

    def __init__(self, features: int) -> None:
        """Stand in for an extractor with this number of features."""
        self._features = features
        self.seconds = self.cpu_seconds = 0.0
        self.shards = 0

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        """See ``Executor.run_shards``."""
        for unit, shard in tasks:
            yield self._apart(self._write, config, unit, shard)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Handle:  # noqa: ANN401
        """See ``Executor.submit``; arguments are pickled as on a cluster, in the driver's time."""
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return self._apart(super().submit, function, *arguments)

    def _write(self, config: WorkerConfig, unit: Unit, shard: Shard) -> ShardOutcome:
        store = config.stores.holding(unit)
        variant = sum((unit.checkpoint or "").encode()) % _VARIANTS
        content = _content(unit.kind, holds_arrays(unit), len(shard), variant, self._features)
        write_with_receipt(store, unit, shard.name, content, rows=len(shard), device="cpu")
        self.shards += 1
        return ShardOutcome(unit.path, shard, "done", seconds=0.01, device="cpu")

    def _apart(self, work: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        clock, cpu = time.perf_counter(), time.process_time()
        try:
            return work(*arguments)
        finally:
            self.seconds += time.perf_counter() - clock
            self.cpu_seconds += time.process_time() - cpu


@functools.cache
def _content(kind: str, are_arrays: bool, rows: int, variant: int, features: int) -> bytes:
    """Make a shard's file; variants differ a little in quality."""
    rng = np.random.default_rng([rows, variant])
    if kind == "description":
        shape, likelihood = (8, 8, 1), "bernoulli"
        return Description(
            "keras", (_LATENTS,), shape, "0..1", likelihood, "logits", "logvar", None, None
        ).to_json()
    if kind == "gallery":
        return encode_arrays({"samples": rng.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)})
    if kind in ("reference", "generated", "reconstructed"):
        scores = np.exp(rng.normal(size=(rows, _CLASSES)))
        return encode_columns(
            {
                "features": rng.normal(0.05 * variant, 1.0, (rows, features)).astype(np.float32),
                "probabilities": (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),
            }
        )
    if kind != "losses" or are_arrays:
        raise ValueError(f"no stub of kind {kind!r}")
    mean, logvar = rng.normal(size=(2, rows, _LATENTS)).astype(np.float32)
    nll = rng.gamma(9.0, 1.0 + 0.1 * variant, rows)
    losses = {"reconstruction_nll": nll, "kl": rng.gamma(4.0, 1.0, rows), "mse": nll / 100}
    return encode_columns({"mean": mean, "logvar": logvar, **losses, "ssim": rng.random(rows)})


def make_files(folder: Path, checkpoints: int, size: Size) -> EvaluationSpec:
    """Make stub checkpoints, reference images, and the spec of their run.

    Inception with random weights is identified without its network, which is never loaded.
    """
    rng = np.random.default_rng(0)
    (folder / "runs").mkdir(parents=True)
    for step in range(checkpoints):
        (folder / f"runs/step-{step:05d}.keras").write_bytes(rng.bytes(_CHECKPOINT_BYTES))
    np.save(folder / "real.npy", rng.integers(0, 256, (size.references, 8, 8, 1), dtype=np.uint8))
    return make_spec(
        {
            "checkpoints": [str(folder / "runs")],
            "reference": str(folder / "real.npy"),
            "extractors": ["inception-random"],
            "samples": size.samples,
            "shard_size": size.shard_size,
            "batch_size": 32,
            "splits": 2,
            "workers": 0,
            "metrics": "losses,fid,kid",
            "out": str(folder / "out"),
        }
    )
