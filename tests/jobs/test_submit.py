"""Submitting a night: what is refused on the spot, and a real cluster with a token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.clusters.ray_head import ray_head
from support.runs.driver_processes import PATIENCE

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"


def submit(
    spec: Path, *flags: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """``jobs/submit.py`` with no other Ray settings than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, str(spec.parent / "jobs/submit.py"), str(spec), *flags],
        cwd=spec.parent,
        env={**kept, "HOME": str(spec.parent), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def spec(tmp_path: Path, toy_settings: dict[str, Any], toy_folder: Path) -> Path:
    """A spec in a project of its own, whose results lie outside of it."""
    work = tmp_path / "work"
    shutil.copytree(toy_folder, work)
    for part in ("jobs", "vae_batch"):
        shutil.copytree(ROOT / part, work / part, ignore=shutil.ignore_patterns("__pycache__"))
    settings = toy_settings | {
        "checkpoints": ["runs"],
        "extractors": ["classifier.keras"],
        "metrics": "losses,fid",
        "samples": 90,
        "stable_for": 0.0,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    path = work / "nightly.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no token for the Ray cluster: RAY_AUTH_TOKEN is not set and "),
        ({"RAY_AUTH_TOKEN": TOKEN}, "no job API at no address: expected --address"),
        (
            {"RAY_AUTH_MODE": "disabled", "RAY_API_SERVER_ADDRESS": "127.0.0.1:1"},
            "no job API at 127.0.0.1:1: expected --address",
        ),
    ],
)
def test_what_is_missing_is_said_at_once(
    spec: Path, environment: dict[str, str], message: str
) -> None:
    done = submit(spec, environment=environment)
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.long
def test_a_night_on_a_real_cluster_once_a_date_with_the_job_s_exit_code(spec: Path) -> None:
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with ray_head(own) as address:
        words = ["--address", address, "--python", sys.executable]
        first = ["--date", "2026-08-03"]
        deadline = time.monotonic() + 120
        while (done := submit(spec, *words, *first, environment=own)).returncode == 2:
            assert "no Ray job API answers at" in done.stderr, done.stderr
            assert time.monotonic() < deadline, done.stderr
        assert done.returncode == 0, done.stdout
        assert "vae-nightly-2026-08-03: submitted\n" in done.stderr
        assert "# Night of 2026-08-03: 3 new checkpoints scored\n" in done.stdout

        again = submit(spec, *words, *first, environment=own)
        assert (again.returncode, again.stdout) == (0, ""), again.stderr
        assert "vae-nightly-2026-08-03: already done\n" in again.stderr

        (spec.parent / "runs/step-0009.keras").write_bytes(b"PK\x03\x04 cut short")
        second = ["--date", "2026-08-04"]
        failed = submit(spec, *words, *second, environment=own)
        assert failed.returncode == 3, failed.stdout
        assert "## Failed" in failed.stdout
        resubmitted = submit(spec, *words, *second, environment=own)
        assert resubmitted.returncode == 3, resubmitted.stdout
        assert "vae-nightly-2026-08-04: submitted again\n" in resubmitted.stderr
        assert "night of 2026-08-04: already done" in resubmitted.stdout

        # The address wins over variables, which Ray itself would put first; a wrong token is
        # bad input.
        elsewhere = {**own, "RAY_ADDRESS": "http://127.0.0.1:9", "RAY_AUTH_TOKEN": "f" * 32}
        refused = submit(spec, *words, *first, environment=elsewhere)
        assert refused.returncode == 2
        assert "authentication token is invalid" in refused.stderr
        assert "f" * 32 not in refused.stderr
