"""A driver killed on the way, and a job submitted to a cluster: the same scores every time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters.ray_head import connected, ray_head
from support.stores import score_rows

from vae_batch.storage import Store, read_score_rows

pytestmark = pytest.mark.slow

JOBS = Path(__file__).parents[3] / "jobs"
_WAIT = 240.0


def write_spec(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
    return path


def numbers(out: str) -> list[dict[str, Any]]:
    return score_rows.numbers(read_score_rows(Store.open(out)), "checkpoint", "fingerprint")


def receipts(out: Path) -> dict[Path, int]:
    """Receipts of shards by their time of writing."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("part-0*.receipt.json")}


def start(spec: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(JOBS / "score.py"), str(spec)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(driver: subprocess.Popen[bytes], out: Path, shards: int) -> None:
    """SIGKILL the driver as soon as so many shards have receipts."""
    deadline = time.monotonic() + _WAIT
    while len(receipts(out)) < shards:
        assert driver.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def test_two_kills_lose_nothing_and_move_no_bit(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = toy_settings | {"samples": 300, "shard_size": 8, "workers": 1}
    settings["metrics"] = "losses,fid"
    quiet = write_spec(
        tmp_path / "quiet.toml", settings | {"out": str(tmp_path / "q"), "workers": 0}
    )
    assert start(quiet).wait(_WAIT) == 0
    out = tmp_path / "killed"
    spec = write_spec(tmp_path / "spec.toml", settings | {"out": str(out)})
    survived: dict[Path, int] = {}
    for shards in (20, 80):
        kill_when(start(spec), out, shards)
        before = receipts(out)
        assert all(before[path] == written for path, written in survived.items())
        survived = before
    status = subprocess.run(
        [sys.executable, "-m", "vae_batch.cli", "status", str(out), "--json"],
        capture_output=True, check=True,
    )  # fmt: skip
    rows = json.loads(status.stdout)["rows"]
    assert {row["status"] for row in rows} >= {"running"}
    assert start(spec).wait(_WAIT) == 0
    after = receipts(out)
    assert len(survived) >= 80
    assert {path: after[path] for path in survived} == survived, "a finished shard was redone"
    assert numbers(str(out)) == numbers(str(tmp_path / "q"))


@pytest.fixture
def cluster_dashboard() -> Iterator[str]:
    """Address of the job API of a head node on this machine."""
    with ray_head() as address:
        yield address


def test_a_submitted_job_writes_the_scores_of_a_local_run(
    toy_settings: dict[str, Any], toy_folder: Path, tmp_path: Path, cluster_dashboard: str
) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    local = write_spec(tmp_path / "local.toml", toy_settings | {"out": str(tmp_path / "l")})
    assert start(local).wait(_WAIT) == 0
    work = tmp_path / "work"
    shutil.copytree(toy_folder, work)
    for part in ("jobs", "vae_batch"):
        shutil.copytree(JOBS.parent / part, work / part)
    submitted = {"checkpoints": ["runs"], "extractors": ["classifier.keras"], "workers": 1}
    write_spec(work / "spec.toml", toy_settings | submitted | {"out": str(tmp_path / "s")})

    client = connected(JobSubmissionClient, cluster_dashboard)
    job = client.submit_job(
        entrypoint=f"{sys.executable} jobs/score.py spec.toml",
        runtime_env={"working_dir": str(work)},
    )
    deadline = time.monotonic() + _WAIT
    while not client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
        time.sleep(1)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, client.get_job_logs(job)
    assert numbers(str(tmp_path / "s")) == numbers(str(tmp_path / "l"))
