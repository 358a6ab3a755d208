"""The benchmarks run and print what they promise; their figures are no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

JOBS = Path(__file__).parents[2] / "jobs"


def run(job: str, path: Path, *words: str) -> Any:
    command = [sys.executable, str(JOBS / job), *words, "--json", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip()
    return json.loads(path.read_text())


def test_frechet(tmp_path: Path) -> None:
    words = ["--dimension", "96", "--samples", "64", "--rounds", "1"]
    rows = run("benchmark_frechet.py", tmp_path / "table.json", *words)
    assert {row["contender"] for row in rows} >= {"scipy.linalg.sqrtm"}
    assert all(row["relative_error"] < 1e-5 for row in rows)


def test_scoring(tmp_path: Path) -> None:
    words = ["--samples", "120", "--dimension", "24", "--classes", "5", "--groups", "losses,fid"]
    table = run("benchmark_scoring.py", tmp_path / "table.json", *words)
    assert table["size"]["samples"] == table["size"]["references"] == 120
    rows = {row["part"]: row for row in table["rows"]}
    for part in ("first row, with the reference's parts", "further row", "  fid alone"):
        assert rows[part]["seconds"] > 0
        assert 0.05 < rows[part]["peak_memory_gib"] < 1
    assert "  kid alone" not in rows


@pytest.mark.slow
def test_extraction(tmp_path: Path) -> None:
    words = ["--images", "8", "--batch", "8", "--rounds", "1"]
    words += ["--only", "ours", "--only", "tf.function"]
    result = run("benchmark_extraction.py", tmp_path / "table.json", *words)
    rows = {row["contender"]: row for row in result["rows"]}
    assert set(rows) == {"ours", "tf.function"}
    assert rows["ours"]["ours_is_times_as_fast"] == 1
    for row in rows.values():
        assert row["images_per_second"] > 0
        assert 0.2 < row["peak_memory_gib"] < 3


@pytest.mark.slow
def test_scale(tmp_path: Path) -> None:
    words = ["--checkpoints", "2,4", "--shards", "2", "--shard-size", "8", "--references", "16"]
    table = run("benchmark_scale.py", tmp_path / "table.json", *words)
    phases = [row["phase"] for row in table["rows"] if row["checkpoints"] == 4]
    assert phases == [
        *("plan", "drive", "compare", "report", "score, first repeat", "score, nothing to do"),
        *("status, all done", "status, rows lost", "resumed, rows lost"),
    ]
    assert set(table["exponents"]) == set(phases)
    assert all(0.05 < row["peak_memory_gib"] < 1 for row in table["rows"])


@pytest.mark.slow
def test_growth_of_real_runs(tmp_path: Path) -> None:
    """Four shards of two batches, each of which waits 0.2 s, end after the reference."""
    words = ["--checkpoints", "", "--references", "32", "--samples-each", "256", "--delay", "0.2"]
    table = run("benchmark_scale.py", tmp_path / "table.json", *words, "--workers", "1")
    (row,) = table["real"]
    assert (row["against"], row["size"]) == ("workers", 1)
    assert 4 * 0.2 < row["seconds"] < 60
    assert table["rows"] == []


def test_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(JOBS)
    from benchmark_scale import exponents

    points = [("square", n, 3.0 * n**2) for n in (1, 2, 5)] + [("flat", n, 7.0) for n in (1, 9)]
    found = exponents([*points, ("alone", 4, 1.0)])
    assert found == {"square": pytest.approx(2), "flat": pytest.approx(0)}
