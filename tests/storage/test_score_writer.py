"""Rows that come fast are written together; the table is the one of rows written one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.stores.score_rows import score_row

from vae_batch.storage import ScoreRow, ScoreWriter, Store, read_score_rows, upsert_scores


def row(number: int, **more: Any) -> ScoreRow:
    return score_row(f"c{number}", number, **more)


class Clock:
    """Advances when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files in the order of their writing."""
    written: list[str] = []
    write = Store.write

    def noting(store: Store, path: str, content: bytes) -> None:
        written.append(path)
        write(store, path, content)

    monkeypatch.setattr(Store, "write", noting)
    return written


def test_rows_far_apart_are_written_as_they_come(tmp_path: Path, writes: list[str]) -> None:
    clock = Clock()
    writer = ScoreWriter(Store.open(str(tmp_path)), clock)
    for number in range(5):
        writer.add([row(number)])
        assert writer.is_due
        writer.write()
        assert not writer.is_due
        clock.now += 60
    assert writes.count("scores.parquet") == 5


def test_rows_in_a_burst_are_written_together(tmp_path: Path, writes: list[str]) -> None:
    """400 rows, 40 a second, are written once a second: in ten seconds ten times."""
    clock = Clock()
    store = Store.open(str(tmp_path / "burst"))
    writer = ScoreWriter(store, clock)
    for number in range(400):
        writer.add([row(number)])
        if writer.is_due:
            writer.write()
        clock.now += 0.025
    writer.write()
    assert 10 <= writes.count("scores.parquet") <= 12
    other = Store.open(str(tmp_path / "other"))
    upsert_scores(other, [row(number) for number in range(400)])
    for name in ("scores.parquet", "scores.csv"):
        assert store.read(name) == other.read(name)


def test_the_last_word_on_a_row_counts(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    writer = ScoreWriter(store, Clock())
    writer.add([row(1, fid=1.0), row(2)])
    writer.add([row(1, fid=2.0)])
    writer.write()
    assert [(found.step, found.value("fid")) for found in read_score_rows(store)] == [
        (1, 2.0),
        (2, None),
    ]


def test_rows_wait_until_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails once loses nothing that waits."""
    store = Store.open(str(tmp_path))
    writer = ScoreWriter(store, Clock())
    writer.add([row(1)])
    with monkeypatch.context() as broken:
        broken.setattr(Store, "write", _full)
        with pytest.raises(OSError, match="no space"):
            writer.write()
    assert writer.is_due
    writer.write()
    assert len(read_score_rows(store)) == 1


def test_no_rows_no_table(tmp_path: Path) -> None:
    writer = ScoreWriter(Store.open(str(tmp_path)), Clock())
    assert not writer.is_due
    writer.write()
    assert not list(tmp_path.iterdir())


def test_the_parquet_file_comes_last(tmp_path: Path, writes: list[str]) -> None:
    """What runs go on from; after a crash between the two, rows are written to both again."""
    upsert_scores(Store.open(str(tmp_path)), [row(1)])
    assert writes == ["scores.csv", "scores.parquet"]


def _full(store: Store, path: str, content: bytes) -> None:
    raise OSError("no space left on device")
