"""A run that dies before any of its writes, and is started again, ends in the same table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.runs.stub_runs import (
    drive_and_compare,
    make_run,
    numbers,
    stub_executor,
)

from vae_batch.plan import EvaluationSpec
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.run.progress.status import run_status
from vae_batch.storage import GATHERED, Store, read_comparisons, read_score_rows


class Killed(BaseException):
    """What no handler of errors sees, as SIGKILL."""


class Mortal:
    """Lets stores write so often, then none of them any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
        self.left = writes
        write = Store.write

        def dying(store: Store, path: str, content: bytes) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1
            write(store, path, content)

        monkeypatch.setattr(Store, "write", dying)


def files(out: str) -> dict[str, bytes]:
    """What a run leaves, but for its record, which names the folder, and what holds times.

    Gathered receipts may be missing after a crash: they save time and say nothing new.
    """
    other = ("run.json", GATHERED, "scores.parquet", "scores.csv", "comparisons.parquet")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in Path(out).rglob("*")
        if path.is_file() and path.name not in other and not path.name.endswith(".receipt.json")
    }


def dies(spec: EvaluationSpec, monkeypatch: pytest.MonkeyPatch, writes: int) -> bool:
    """Run with so many writes; whether that was too few."""
    with monkeypatch.context() as dying:
        Mortal(dying, writes)
        try:
            drive_and_compare(spec)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("begins", ["new", "without rows"])
def test_no_crash_between_two_writes_moves_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    """From a new folder, and from one in which all shards are done and no row is."""
    spec = make_run(tmp_path, checkpoints=2, shards=2, references=3)
    compared, expected = drive_and_compare(spec), numbers(spec.out)
    left, cells = files(spec.out), csv_of(spec.out)
    assert [row["status"] for row in expected] == ["scored", "scored"]
    assert len(compared) > 4
    shutil.copytree(spec.out, tmp_path / "without rows")
    (tmp_path / "without rows/scores.parquet").unlink()
    (tmp_path / "new").mkdir()
    is_dead, writes = True, 0
    while is_dead:
        again = spec.model_copy(update={"out": str(tmp_path / f"out-{writes}")})
        shutil.copytree(tmp_path / begins, again.out)
        is_dead = dies(again, monkeypatch, writes)
        assert drive_and_compare(again) == compared
        assert numbers(again.out) == expected
        assert csv_of(again.out) == cells
        assert files(again.out) == left
        shutil.rmtree(again.out)
        writes += 1
    # Per checkpoint: files and receipts of 2 + 3 shards, of a reduction and of influences.
    assert writes > (28 if begins == "new" else 10)


def csv_of(out: str) -> list[list[str]]:
    """Cells of the CSV but for times, which are 25 characters long and begin with the year."""
    lines = Store.open(out).read("scores.csv").decode().splitlines()
    return [[cell for cell in line.split(",") if "+00:00" not in cell] for line in lines]


def test_a_row_that_was_written_survives_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that wait are lost, and computed again; those in the table are not."""
    spec = make_run(tmp_path, checkpoints=5, shards=4)
    executor = stub_executor()
    submit, scored = executor.submit, []

    def dying(timed, function, *arguments):
        if function.__name__ == "score_row":
            if len(scored) == 4:
                raise Killed
            scored.append(arguments[1].key)
        return submit(timed, function, *arguments)

    monkeypatch.setattr(executor, "submit", dying)
    with pytest.raises(Killed):
        run(prepare(spec, ignore), executor, ignore)
    written = {
        row.checkpoint: row.provenance.scored_at for row in read_score_rows(Store.open(spec.out))
    }
    assert 1 <= len(written) <= 4  # the first at once, the others in the next second
    assert [row.status for row in run_status(spec.out)].count("scored") == len(written)
    resumed = stub_executor()
    run(prepare(spec, ignore), resumed, ignore)
    after = {
        row.checkpoint: row.provenance.scored_at for row in read_score_rows(Store.open(spec.out))
    }
    assert len(after) == 5
    assert {name: after[name] for name in written} == written
    assert executor.shards + resumed.shards == 4 + 5 * (4 + 4 + 2)  # nothing is done twice


def test_comparisons_are_those_of_the_table_after_any_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two files of the comparisons leaves no CSV behind for good."""
    spec = make_run(tmp_path, checkpoints=2, shards=4)
    drive_and_compare(spec)
    out = Store.open(spec.out)
    intact = out.read("comparisons.csv")
    out.write("comparisons.csv", b"of another table")
    out.delete("comparisons.parquet")
    assert dies(spec, monkeypatch, writes=2)  # the record, the CSV
    drive_and_compare(spec)
    assert out.read("comparisons.csv") == intact
    assert len(read_comparisons(out)) > 0
