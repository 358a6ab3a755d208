"""The benchmarks run and print what they promise; their figures are not tested."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import delayed_decoder
import extraction
import frechet
import pytest
import real_runs
import scale
import scoring
import typer
from measuring import metered, peak_memory
from support.runs.serial_runs import score

BENCHMARKS = Path(scoring.__file__).parent

#: Stands for ``contenders.py``: a process that takes no time per image.
STUB_CONTENDER = """
import json, sys
print("libraries may print first")
name, batch = sys.argv[2], int(sys.argv[3])
print(json.dumps({"ready": True, "mean": 0.5, "peak_bytes": 2**30}), flush=True)
seconds = {"ours": 1.0, "tf.function": 1.5, "predict": 3.0, "predict+onednn": 2.0}[name]
for line in sys.stdin:
    done = {"seconds": seconds, "cpu": 2 * seconds, "peak_bytes": 2**31}
    print(json.dumps(done), flush=True)
"""


def test_peak_memory_is_the_process_s_own() -> None:
    """What this process holds counts for none that it starts; what they hold counts for them."""
    held = b"x" * (1 << 30)
    hold = "held = b'x' * (256 << 20)"
    seen = f"from measuring import peak_memory as p; print(p()); {hold}; print(p())"
    command = [sys.executable, "-c", seen]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    fresh, later = map(int, done.stdout.split())
    assert fresh + (200 << 20) < later < len(held) < peak_memory()
    *_, small = metered([sys.executable, "-c", ""])
    *_, large = metered([sys.executable, "-c", hold])
    assert small + 200 / 1024 < large < 1
    with pytest.raises(subprocess.CalledProcessError, match="status 3"):
        metered([sys.executable, "-c", "raise SystemExit(3)"])


def test_frechet(tmp_path: Path) -> None:
    frechet.main(dimension=96, samples=64, rounds=1, json_path=tmp_path / "table.json")
    rows = json.loads((tmp_path / "table.json").read_text())
    assert {row["contender"] for row in rows} >= {"scipy.linalg.sqrtm"}
    assert {row["case"] for row in rows} == {
        *("full rank, d = 96", "both n = 64", "n = 64, full reference")
    }
    assert all(row["relative_error"] < 1e-5 for row in rows)
    with pytest.raises(typer.BadParameter, match="samples < 64, found 64"):
        frechet.main(dimension=64, samples=64)


def test_scoring(tmp_path: Path) -> None:
    sizes = {"samples": 120, "dimension": 24, "classes": 5, "groups": "losses,fid"}
    scoring.main(**sizes, json_path=tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["size"]["samples"] == table["size"]["references"] == 120
    rows = {row["part"]: row for row in table["rows"]}
    for part in ("first row, with the reference's parts", "further row", "  fid alone"):
        assert rows[part]["seconds"] > 0
    peaks = [row["peak_memory_gib"] for row in table["rows"]]
    assert peaks == sorted(peaks)
    assert peaks[0] > 0.05
    assert "  kid alone" not in rows


def test_extraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 images are two batches of 32; medians, ratios and shares follow from the answers."""
    stub = tmp_path / "stub.py"
    stub.write_text(STUB_CONTENDER)
    monkeypatch.setattr(extraction, "_CONTENDERS", str(stub))
    monkeypatch.setattr(extraction, "multiply_add_peak", lambda: 1000.0)
    extraction.main(images=48, rounds=2, json_path=tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())
    rows = {row["contender"]: row for row in table["rows"]}
    assert list(rows) == ["ours", "tf.function", "predict", "predict+onednn"]
    assert [row["images_per_second"] for row in rows.values()] == [64, 64 / 1.5, 64 / 3, 32]
    assert [row["ours_is_times_as_fast"] for row in rows.values()] == [1, 1.5, 3, 2]
    assert rows["ours"]["share_of_peak"] == pytest.approx(64 * 11.4 / 1000)
    assert rows["ours"]["cpu_seconds_per_image"] == 2 / 64
    assert rows["predict"]["peak_memory_gib"] == 2


@pytest.mark.slow
@pytest.mark.long
def test_contenders_extract() -> None:
    script = Path(extraction.__file__).with_name("contenders.py")
    for name in ("ours", "tf.function"):
        command = [sys.executable, str(script), "extract", name, "8", "28", ""]
        done = subprocess.run(command, input="8\n", capture_output=True, text=True, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert [*answers[0]["shape"]] == [8, 2048]
        assert answers[1]["seconds"] > 0
        assert 0.2 < answers[1]["peak_bytes"] / 2**30 < 3


@pytest.mark.slow
@pytest.mark.long
def test_scale(tmp_path: Path) -> None:
    small = {"shards": 2, "shard_size": 8, "references": 16, "features": 4}
    scale.main(checkpoints="1,2", **small, json_path=tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())
    phases = [row["phase"] for row in table["rows"] if row["checkpoints"] == 2]
    assert phases == [
        *("plan", "drive", "compare", "report", "score, first repeat", "score, nothing to do"),
        *("status, all done", "status, rows lost", "resumed, rows lost"),
    ]
    assert set(table["exponents"]) == set(phases)
    assert all(0.05 < row["peak_memory_gib"] < 1 for row in table["rows"])


def test_growth_of_real_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in this process, without Ray.

    Four shards of two batches, each of which sleeps 0.2 s, end after the reference.
    """

    def finish(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        if command[1] == "-m":
            assert command[2:4] == ["vae_batch.cli", "score"]
            score(tomllib.loads(Path(command[4]).read_text()) | {"workers": 0})
        else:
            monkeypatch.setattr(sys, "argv", command[1:])
            delayed_decoder.main()

    monkeypatch.setattr(real_runs, "finish", finish)
    sizes: dict[str, Any] = {"references": 32, "samples_each": 256, "delay": 0.2}
    scale.main(checkpoints="", workers="1", **sizes, json_path=tmp_path / "table.json")
    table = json.loads((tmp_path / "table.json").read_text())
    (row,) = table["real"]
    assert (row["against"], row["size"]) == ("workers", 1)
    assert row["seconds"] > 3 * 2 * 0.2
    assert table["rows"] == []


def test_exponents() -> None:
    points = [("square", n, 3.0 * n**2) for n in (1, 2, 5)] + [("flat", n, 7.0) for n in (1, 9)]
    found = scale.exponents([*points, ("alone", 4, 1.0)])
    assert found == {"square": pytest.approx(2), "flat": pytest.approx(0)}
