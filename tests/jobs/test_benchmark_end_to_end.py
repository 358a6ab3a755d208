"""The end-to-end benchmark: every contender finds the same scores, and its table is right."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import end_to_end
import end_to_end_runs
import pytest
import typer

PYTHON = os.environ.get("VAE_BATCH_PEERS_PYTHON", "")


@pytest.fixture
def task(tmp_path: Path) -> Any:
    """A task of three checkpoints that do not exist."""
    checkpoints = tuple(tmp_path / name for name in "abc")
    weights = tmp_path / "inception.weights.h5"
    return end_to_end.Task(checkpoints, "digits", 20, 30, 10, 0, tmp_path, weights)


def test_each_number_of_checkpoints_has_its_rounds() -> None:
    assert end_to_end.read_counts("1,3,10", "2") == {1: 2, 3: 2, 10: 2}
    assert end_to_end.read_counts("1,10", "3,1") == {1: 3, 10: 1}
    for counts, rounds in (("1,3,10", "2,1"), ("0,3", "1"), ("1", "0")):
        with pytest.raises(typer.BadParameter, match="from 1 up"):
            end_to_end.read_counts(counts, rounds)


def test_contenders_come_with_what_they_are_compared_with_and_need() -> None:
    assert end_to_end.chosen_contenders(None, False) == ["ours-keras", "book"]
    assert end_to_end.chosen_contenders(["ours-keras-known"], False) == [
        *("ours-keras", "ours-keras-known")
    ]
    peers = ["ours-2015", "png-export", "pytorch-fid", "torch-fidelity"]
    assert end_to_end.chosen_contenders(None, True) == ["ours-keras", "book", *peers]
    assert end_to_end.chosen_contenders(["pytorch-fid"], True) == peers[:3]
    with pytest.raises(typer.BadParameter, match="needs --peers-python"):
        end_to_end.chosen_contenders(["torch-fidelity"], False)
    with pytest.raises(typer.BadParameter, match="expected ours-keras"):
        end_to_end.chosen_contenders(["books"], False)


def test_one_run_tells_the_time_of_every_number_of_checkpoints() -> None:
    answers = [(2.0, {"fid": 1.0}), (3.5, {"fid": 2.0}), (5.0, {"fid": 3.0})]
    assert end_to_end_runs._after([1, 3], answers) == [
        end_to_end_runs.Reached(1, 2.0, ({"fid": 1.0},)),
        end_to_end_runs.Reached(3, 5.0, ({"fid": 1.0}, {"fid": 2.0}, {"fid": 3.0})),
    ]
    with pytest.raises(RuntimeError, match="4 checkpoints but 3 answers"):
        end_to_end_runs._after([4], answers)


def test_ratios_rates_and_deviations(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds with one checkpoint, of which the first is also one with three."""
    begun: list[tuple[str, list[int]]] = []

    def contender(name: str, factor: float, fid: float) -> Any:
        def run(_: Any, counts: Sequence[int]) -> list[Any]:
            begun.append((name, list(counts)))
            slower = len(begun)  # the machine slows down: ratios of a round do not change much
            scores = {"fid": fid, "kl": 4.0}
            return [end_to_end_runs.Reached(k, factor * k * slower, (scores,) * k) for k in counts]

        return end_to_end.Contender(name, "ours-keras", run)

    monkeypatch.setitem(end_to_end.CONTENDERS, "ours-keras", contender("ours-keras", 1.0, 8.0))
    monkeypatch.setitem(end_to_end.CONTENDERS, "book", contender("book", 3.0, 8.0 + 2**-10))
    said: list[str] = []
    measured = end_to_end.measure(task, ["ours-keras", "book"], {1: 2, 3: 1}, said.append)
    assert begun == [
        *(("ours-keras", [1, 3]), ("book", [1, 3]), ("ours-keras", [1]), ("book", [1]))
    ]
    assert len(said) == 6
    rows = {
        (row["contender"], row["checkpoints"]): row
        for row in end_to_end.rows_of(measured, task, None)
    }
    ours, book = rows["ours-keras", 1], rows["book", 1]
    # Ours took 1 x 1 and 1 x 3 s, the book 3 x 2 and 3 x 4 s: ratios 6 and 4.
    assert (ours["seconds"], book["seconds"], book["ours_is_times_as_fast"]) == (2.0, 9.0, 5.0)
    assert book["seconds_of_rounds"] == [6.0, 12.0]
    assert ours["images_per_second"] == (1 * 20 + 30) / 2.0
    assert rows["book", 3]["images_per_second"] == (3 * 20 + 30) / 18.0
    assert rows["book", 3]["fid"] == [8.0 + 2**-10] * 3
    assert book["relative_deviation"] == {"fid": 2**-13, "kl": 0.0}
    assert book["inception_score"] == [None]


def run(path: Path, *words: str) -> Any:
    command = [sys.executable, end_to_end.__file__, *words, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    return json.loads(path.read_text())


SMALL = ["--reference", "digits", "--samples", "32", "--references", "32", "--workers", "0"]


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.skipif(not PYTHON, reason="takes minutes: only where VAE_BATCH_PEERS_PYTHON is set")
def test_ours_and_the_book_find_the_same(toy_folder: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--runs", str(toy_folder / "runs"), "--counts", "2"]
    table = run(tmp_path / "table.json", *words, "--only", "book")
    rows = {row["contender"]: row for row in table["rows"]}
    assert set(rows) == {"ours-keras", "book"}
    scores = {"fid", "inception_score", "reconstruction_nll", "kl"}
    for row in rows.values():
        assert row["checkpoints"] == 2
        assert row["seconds"] > 0
        for score in scores:
            assert len({*row[score]}) == 2
            assert all(math.isfinite(value) for value in row[score])
        assert set(row["relative_deviation"]) == scores
        assert all(off < 1e-5 for off in row["relative_deviation"].values())
    assert 0 < rows["ours-keras"]["drawing_seconds"] < rows["ours-keras"]["seconds"]


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.skipif(not PYTHON, reason="VAE_BATCH_PEERS_PYTHON is not set")
def test_peers_find_the_same_fid(toy_folder: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--runs", str(toy_folder / "runs"), "--counts", "2"]
    words += ["--peers-python", PYTHON, "--only", "pytorch-fid", "--only", "torch-fidelity"]
    table = run(tmp_path / "table.json", *words)
    rows = {row["contender"]: row for row in table["rows"]}
    assert set(rows) == {"ours-2015", "png-export", "pytorch-fid", "torch-fidelity"}
    assert rows["pytorch-fid"]["relative_deviation"]["fid"] < 1e-5
    assert rows["torch-fidelity"]["relative_deviation"]["fid"] < 1e-5
    assert rows["torch-fidelity"]["relative_deviation"]["inception_score"] < 1e-5
    assert rows["pytorch-fid"]["fid"][0] != rows["torch-fidelity"]["fid"][0]  # another resize
