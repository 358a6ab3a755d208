"""A driver killed on the way, and a job submitted to a cluster: the same scores every time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters.ray_head import connected, ray_head, retried
from support.runs.driver_processes import (
    JOBS,
    PATIENCE,
    numbers,
    receipts,
    start,
    wait_for_receipts,
    write_spec,
)
from support.runs.serial_runs import score

from vae_batch.run.progress.status import run_status

pytestmark = pytest.mark.slow


def kill_when(driver: subprocess.Popen[str], out: Path, shards: int) -> None:
    """SIGKILL the driver as soon as so many shards have receipts."""
    wait_for_receipts(driver, out, shards)
    driver.kill()
    driver.communicate()


def test_two_kills_lose_nothing_and_move_no_bit(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    few = {"checkpoints": [f"{toy_settings['checkpoints'][0]}/step-000[12]"]}
    settings = toy_settings | few | {"shard_size": 4, "workers": 1, "metrics": "losses,fid"}
    score(settings | {"out": str(tmp_path / "quiet"), "workers": 0})
    out = tmp_path / "killed"
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": str(out)})
    survived: dict[str, int] = {}
    for shards in (10, 60):
        kill_when(start(spec), out, shards)
        before = receipts(out)
        assert all(before[path] == written for path, written in survived.items())
        survived = before
    assert {row.status for row in run_status(str(out))} >= {"running"}
    score(settings | {"out": str(out), "workers": 0})
    after = receipts(out)
    assert len(survived) >= 60
    assert {path: after[path] for path in survived} == survived, "a finished shard was redone"
    assert numbers(out) == numbers(tmp_path / "quiet")


@pytest.fixture
def cluster_dashboard() -> Iterator[str]:
    """Address of the job API of a head node on this machine."""
    with ray_head() as address:
        yield address


@pytest.mark.long
def test_a_submitted_job_writes_the_scores_of_a_local_run(
    toy_settings: dict[str, Any], toy_folder: Path, tmp_path: Path, cluster_dashboard: str
) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    settings = toy_settings | {"metrics": "losses,fid"}
    score(settings | {"out": str(tmp_path / "local")})
    work = tmp_path / "work"
    shutil.copytree(toy_folder, work)
    for part in ("jobs", "vae_batch"):
        compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(JOBS.parent / part, work / part, ignore=compiled)
    submitted = {"checkpoints": ["runs"], "extractors": ["classifier.keras"], "workers": 1}
    write_spec(work / "spec.toml", settings | submitted | {"out": str(tmp_path / "job")})

    client = connected(JobSubmissionClient, cluster_dashboard)
    job = retried(  # "No available agent to submit job, please try again later"
        lambda: client.submit_job(
            entrypoint=f"{sys.executable} jobs/score.py spec.toml",
            runtime_env={"working_dir": str(work)},
        ),
        RuntimeError,
    )
    deadline = time.monotonic() + PATIENCE
    while not client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, client.get_job_logs(job)
    own = ("checkpoint", "fingerprint")  # a fingerprint holds the checkpoint's path
    submitted_rows, local_rows = (
        [{name: row[name] for name in row if name not in own} for row in numbers(tmp_path / out)]
        for out in ("job", "local")
    )
    assert submitted_rows == local_rows
