"""Runs whose workers compute nothing, and counts of what is asked of the store."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.stores import score_rows

from vae_batch.plan import EvaluationSpec
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, read_score_rows

_STUB = runpy.run_path(str(Path(__file__).parents[3] / "jobs/benchmarks/stub_workers.py"))

FEATURES = 3


def make_run(folder: Path, checkpoints: int, shards: int, references: int = 12) -> EvaluationSpec:
    """A spec of stub checkpoints with shards of 3 samples."""
    size = _STUB["Size"](shards, shard_size=3, references=references, features=FEATURES)
    return _STUB["make_files"](folder, checkpoints, size)


def stub_executor() -> Any:
    """Counts its shards."""
    return _STUB["StubExecutor"](FEATURES)


def drive(spec: EvaluationSpec, executor: Any = None) -> RunSummary:
    return run(prepare(spec, ignore), executor or stub_executor(), ignore)


def drive_and_compare(spec: EvaluationSpec) -> list[dict[str, Any]]:
    drive(spec)
    return compare_run(spec.out)


def numbers(out: str) -> list[dict[str, Any]]:
    """The score table but for its times."""
    return score_rows.numbers(read_score_rows(Store.open(out)))


def count_requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is asked of stores from now on, by method."""
    asked: Counter[str] = Counter()

    def counting(name: str, method: Any) -> Any:
        def call(store: Store, *arguments: Any) -> Any:
            asked[name] += 1
            return method(store, *arguments)

        return call

    for name in ("read", "write", "exists", "sizes", "folders", "delete"):
        monkeypatch.setattr(Store, name, counting(name, getattr(Store, name)))
    return asked
