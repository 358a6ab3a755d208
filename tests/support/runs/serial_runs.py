"""Small runs in this process over whatever checkpoints a test saved."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_batch.plan import make_spec
from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import ignore

Row = dict[str, Any]


class TimedExecutor(SerialExecutor):
    """Notes the seconds that each checkpoint costs, by identifier."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        units = {unit.path: str(unit.checkpoint) for unit, _ in tasks}
        began = time.monotonic()
        for outcome in super().run_shards(tasks, config):
            spent = time.monotonic() - began
            name = units[outcome.unit]
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            yield outcome
            began = time.monotonic()


def settings_of(
    checkpoints: Sequence[str], classifier: Path, out: Path, **more: Any
) -> dict[str, Any]:
    """Losses and FID on 100 digits, in several shards."""
    return {
        "checkpoints": list(checkpoints),
        "reference": "digits",
        "reference_samples": 100,
        "reference_subset": "first",
        "extractors": [str(classifier)],
        "samples": 150,
        "shard_size": 64,
        "batch_size": 16,
        "splits": 5,
        "workers": 0,
        "out": str(out),
        "metrics": "losses,fid",
        **more,
    }


def score(settings: Mapping[str, Any], executor: Any = None) -> RunSummary:
    plan = prepare(make_spec(dict(settings)), ignore)
    return run(plan, executor or SerialExecutor(), ignore)


def rows_of(summary: RunSummary) -> dict[str, Row]:
    """Records of the score table by checkpoint."""
    return {row.checkpoint: row.to_record() for row in summary.rows}


def files_of(out: Path) -> dict[str, int]:
    """Time of the last change of every stored file below a folder, in nanoseconds."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file()
    }
