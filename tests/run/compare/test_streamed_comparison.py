"""Comparisons in bounded memory are those of all scores at once."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_batch.metrics import PairedScore, comparison_table
from vae_batch.run.compare.streaming import Compared, ScoreReader, compare_streamed

N = 40


def make_rows() -> dict[str, dict[str, PairedScore]]:
    """Checkpoints of two folders and of none; one lacks a metric, one has it of fewer images."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=N)
    scores = {}
    for number, name in enumerate(["a/1", "b/1", "a/2", "alone", "a/3", "b/2"]):
        values = noise + 0.1 * rng.normal(size=N) + [0.0, 0.4, 0.02, 0.4, 0.2, 0.01][number]
        fid = PairedScore(5.0 - number, rng.normal(size=N))
        scores[name] = {"mse": PairedScore.from_values(values), "fid": fid}
    del scores["alone"]["fid"]
    scores["a/3"]["fid"] = PairedScore(0.1, rng.normal(size=N - 1))
    return scores


def row(name: str) -> Any:
    return SimpleNamespace(row=SimpleNamespace(checkpoint=name, key=(name, "e")))


def compare(
    scores: dict[str, dict[str, PairedScore]], room: int, reads: Counter[str] | None = None
) -> list[tuple[str, list[Compared]]]:
    def read(row: Any) -> dict[str, PairedScore]:
        if reads is not None:
            reads[row.row.checkpoint] += 1
        return scores[row.row.checkpoint]

    rows = [row(name) for name in scores]
    reader = ScoreReader(read, room)
    return list(compare_streamed(rows, ["mse", "fid"], lambda row, metric: "all alike", reader))


@pytest.mark.parametrize("room", [0, 3 * 2 * N * 8, 2**20])
def test_tables_are_those_of_all_scores_at_once(room: int) -> None:
    """Against `comparison_table` over the group, and over each folder for the steps."""
    scores = make_rows()
    found = compare(scores, room)
    assert [(metric, [c.line.checkpoint for c in table]) for metric, table in found] == [
        ("mse", ["a/1", "b/1", "a/2", "alone", "a/3", "b/2"]),
        ("fid", ["a/1", "b/1", "a/2", "b/2"]),
        ("fid", ["a/3"]),  # of another number of images
    ]
    for metric, table in found:
        group = {c.line.checkpoint: scores[c.line.checkpoint][metric] for c in table}
        expected = {line.checkpoint: line for line in comparison_table(group, "lower")}
        (best,) = (name for name, line in expected.items() if line.is_best)
        folders: dict[str, dict[str, PairedScore]] = {}
        for name, score in group.items():
            folders.setdefault(name.rpartition("/")[0], {})[name] = score
        for members in folders.values():
            previous = [None, *members]
            for line, before in zip(comparison_table(members, "lower"), previous, strict=False):
                (compared,) = (c for c in table if c.line.checkpoint == line.checkpoint)
                whole = expected[line.checkpoint]
                assert compared.previous == before
                assert compared.line.against_previous == line.against_previous
                assert compared.line.previous_p == line.previous_p
                assert compared.line.verdict == line.verdict
                for name in ("value", "is_best", "level_with_best", "against_best", "best_p"):
                    assert getattr(compared.line, name) == getattr(whole, name)
                assert compared.best == best


def test_without_room_rows_are_read_twice_and_the_best_once_more() -> None:
    reads: Counter[str] = Counter()
    compare(make_rows(), 2**20, reads)
    assert set(reads.values()) == {1}
    reads.clear()
    compare(make_rows(), 0, reads)
    assert sum(reads.values()) == 6 + 6 + 3  # three groups have a best


def test_scores_that_no_sample_tells_apart_are_not_compared() -> None:
    """Equal influences of unequal scores have no error: the group, or the step, is left out."""
    same = PairedScore(1.0, np.ones(3) - 1.0)
    scores = {"a/1": {"fid": same}, "a/2": {"fid": PairedScore(2.0, same.influence)}}
    assert compare(scores, 0) == [("fid", [])]
    rng = np.random.default_rng(0)
    alike = rng.normal(size=N)
    scores = {
        "best": {"fid": PairedScore(0.0, rng.normal(size=N))},
        "a/1": {"fid": PairedScore(1.0, alike)},
        "a/2": {"fid": PairedScore(2.0, alike)},
    }
    ((_, table),) = compare(scores, 0)
    assert [c.line.checkpoint for c in table] == ["best", "a/1", "a/2"]
    assert all(c.line.against_previous is None for c in table)
    assert table[2].line.against_best is not None


def test_a_file_that_goes_between_two_looks_costs_its_row() -> None:
    scores = make_rows()
    seen: Counter[str] = Counter()

    def read(row: Any) -> dict[str, PairedScore]:
        name = row.row.checkpoint
        seen[name] += 1
        return {} if name == "a/2" and seen[name] > 1 else scores[name]

    tables = dict(
        compare_streamed(
            [row(name) for name in scores], ["mse"], lambda row, metric: 0, ScoreReader(read, 0)
        )
    )
    assert [c.line.checkpoint for c in tables["mse"]] == ["a/1", "b/1", "alone", "a/3", "b/2"]
