"""The nightly job as cron starts it: twice at once, for nothing, and with bad input."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import PATIENCE

from vae_batch.nightly.history import read_history
from vae_batch.nightly.night import run_night
from vae_batch.plan import make_spec
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store

JOB = Path(__file__).parents[2] / "jobs" / "nightly.py"


def write_spec(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
    return path


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def settings(toy_settings: dict[str, Any], toy_folder: Path) -> dict[str, Any]:
    for path in (toy_folder / "runs").rglob("*"):
        os.utime(path, (time.time() - 300,) * 2)
    return toy_settings | {"metrics": "losses,fid", "samples": 90, "stable_for": 60.0}


@pytest.mark.slow
def test_two_nights_at_once_are_one(settings: dict[str, Any], tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "nightly.toml", settings)
    words = [str(JOB), str(spec), "--json", "--date", "2026-08-03"]
    nights = [start(*words), start(*words)]
    said = [night.communicate(timeout=PATIENCE) for night in nights]
    assert [night.returncode for night in nights] == [0, 0], said
    summaries = [json.loads(out) for out, _ in said]
    assert summaries[0] == summaries[1]
    done = [bool(re.search(r"^night of 2026-08-03: already done$", e, re.M)) for _, e in said]
    assert sorted(done) == [False, True], "one did it, the other waited and found it done"
    assert "in use by run night of 2026-08-03" in said[done.index(True)][1]
    rows = read_history(Store.open(settings["out"]))
    assert [row.row.step for row in rows] == [1, 2, 3]
    receipts = list(Path(settings["out"]).rglob("part-0*.receipt.json"))
    images = [path for path in receipts if "/uint8-" in path.as_posix()]
    assert summaries[0]["shards_computed"] == len(receipts) - len(images), "no shard twice"


def test_an_idle_night_starts_neither_ray_nor_tensorflow(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_batch.report.bundle.write_report", lambda _: [])
    run_night(make_spec(settings), datetime.date(2026, 8, 3), ignore)
    spec = write_spec(tmp_path / "nightly.toml", settings | {"workers": 2})
    night = start("-X", "importtime", str(JOB), str(spec), "--date", "2026-08-04")
    page, errors = night.communicate(timeout=PATIENCE)
    assert night.returncode == 0, errors
    assert page.startswith("# Night of 2026-08-04: nothing new\n")
    imported = set(re.findall(r"\|\s+(\w+)$", errors, re.M))
    assert "pyarrow" in imported
    assert not imported & {"ray", "tensorflow", "keras", "matplotlib"}


def test_bad_input_ends_with_a_sentence_and_2(settings: dict[str, Any], tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "nightly.toml", settings)
    spec.write_text(spec.read_text() + "\ntolerance = {fidd = 1.0}\n")
    night = start(str(JOB), str(spec))
    page, errors = night.communicate(timeout=PATIENCE)
    assert (night.returncode, page) == (2, "")
    assert "fidd is no metric; expected one of " in errors
    assert "Traceback" not in errors
    assert not Path(settings["out"]).exists()
