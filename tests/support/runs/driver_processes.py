"""Drivers as processes of their own, which tests stop, race and kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.stores import score_rows

from vae_batch.storage import Store, read_score_rows

JOBS = Path(__file__).parents[3] / "jobs"

#: The main job without figures and page, which take half of a small run's time.
SCORE = Path(__file__).with_name("score_job.py")

#: Seconds that any of them may take on a busy machine.
PATIENCE = 600.0


def write_spec(path: Path, settings: Mapping[str, Any]) -> Path:
    """A TOML spec of flat settings."""
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
    return path


def start(spec: Path, *flags: str) -> subprocess.Popen[str]:
    """The main job on a spec, without a page; what it says is read with ``communicate``."""
    return subprocess.Popen(
        [sys.executable, str(SCORE), str(spec), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr."""
    _, said = driver.communicate(timeout=PATIENCE)
    return driver.returncode, said


def receipts(out: Path) -> dict[str, int]:
    """Receipts of shards by their time of writing."""
    found = sorted(out.rglob("part-0*.receipt.json"))
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in found}


def wait_for_receipts(driver: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until a run that is under way has finished so many shards."""
    deadline = time.monotonic() + PATIENCE
    while len(receipts(out)) < count:
        if driver.poll() is not None:
            raise AssertionError(f"the run ended before {count} shards: {driver.communicate()}")
        if time.monotonic() > deadline:
            driver.kill()
            raise AssertionError(f"the run does not get on: {driver.communicate()}")
        time.sleep(0.01)


def numbers(out: Path) -> list[dict[str, Any]]:
    """Rows of the score table, but for the time of scoring."""
    return score_rows.numbers(read_score_rows(Store.open(str(out))))
