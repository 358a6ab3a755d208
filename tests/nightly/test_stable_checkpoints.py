"""A checkpoint is scored when nobody writes to it any more: files, pairs, folders, stores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs as arrow_fs

from vae_batch.models.checkpoints import Checkpoint, find_checkpoints
from vae_batch.nightly.night_plan import FileState, file_state, find_unfinished


def written(path: Path, ago: float, size: int = 10) -> Path:
    """A file of so many bytes that was changed so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    when = time.time() - ago
    os.utime(path, (when, when))
    return path


def no_sleep(seconds: float) -> None:
    assert 0 <= seconds <= 1


def reasons(
    checkpoints: list[Checkpoint],
    stable_for: float = 60.0,
    sleep: Callable[[float], None] = no_sleep,
) -> dict[str, str]:
    found, _ = find_unfinished(checkpoints, stable_for, time.time(), sleep)
    return {Path(one.checkpoint).name: one.why for one in found}


def test_a_file_is_finished_when_it_has_not_changed_for_long_enough(tmp_path: Path) -> None:
    written(tmp_path / "old.keras", ago=61)
    written(tmp_path / "young.keras", ago=30)
    found = find_checkpoints([str(tmp_path)])
    assert list(reasons(found)) == ["young.keras"]
    assert "changed 30 s before this night began, less than 60 s" in reasons(found)["young.keras"]
    assert reasons(found, stable_for=20) == {}


def test_of_a_pair_both_halves_count(tmp_path: Path) -> None:
    written(tmp_path / "step-1/encoder.keras", ago=100)
    written(tmp_path / "step-1/decoder.keras", ago=5)
    written(tmp_path / "step-2/encoder.keras", ago=100)
    written(tmp_path / "step-2/decoder.keras", ago=100)
    found = find_checkpoints([str(tmp_path)])
    assert len(found) == 2
    assert list(reasons(found)) == ["step-1"]


def test_of_a_saved_model_the_newest_file_counts_however_deep(tmp_path: Path) -> None:
    written(tmp_path / "vae/saved_model.pb", ago=100)
    variables = written(tmp_path / "vae/variables/variables.data-00000-of-00001", ago=100)
    found = find_checkpoints([str(tmp_path)])
    assert reasons(found) == {}
    written(variables, ago=3)
    assert list(reasons(found)) == ["vae"]


def test_a_file_that_grows_without_a_new_time_is_not_finished(tmp_path: Path) -> None:
    path = written(tmp_path / "a.keras", ago=500, size=10)
    found = find_checkpoints([str(path)])

    def grow(seconds: float) -> None:
        written(path, ago=500, size=25)
        os.utime(path, (before.st_atime, before.st_mtime))

    before = path.stat()
    assert reasons(found, sleep=grow) == {
        "a.keras": "its files are growing or changing (10, then 25 bytes)"
    }


def test_what_was_written_while_this_night_read_it_is_not_finished(tmp_path: Path) -> None:
    """Hashing took two minutes, and the file changed in them: its hash may be of neither."""
    path = written(tmp_path / "a.keras", ago=60)
    found = find_checkpoints([str(path)])
    began = time.time() - 120
    assert [u.checkpoint for u in find_unfinished(found, 0.0, began, no_sleep)[0]] == [str(path)]


def test_a_time_ahead_of_the_clock_is_named_as_that(tmp_path: Path) -> None:
    path = written(tmp_path / "a.keras", ago=-7200)
    why = reasons(find_checkpoints([str(path)]))["a.keras"]
    assert "7200 s ahead of this machine's clock" in why


def test_a_file_that_is_gone_is_left(tmp_path: Path) -> None:
    path = written(tmp_path / "a.keras", ago=100)
    found = find_checkpoints([str(path)])
    path.unlink()
    assert "gone" in reasons(found)["a.keras"]


def test_without_a_time_to_wait_everything_written_before_is_finished(tmp_path: Path) -> None:
    path = written(tmp_path / "a.keras", ago=0.01)
    assert reasons(find_checkpoints([str(path)]), stable_for=0.0) == {}


def test_no_checkpoints_cost_no_wait() -> None:
    def never(seconds: float) -> None:
        raise AssertionError("nothing to look at")

    assert find_unfinished([], 60.0, time.time(), never) == ([], {})


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that s3:// URIs lead to."""
    store = arrow_fs.SubTreeFileSystem(str(tmp_path), arrow_fs.LocalFileSystem())
    monkeypatch.setattr(
        "vae_batch.nightly.night_plan.open_filesystem", lambda uri: (store, uri.path)
    )
    return tmp_path


def at(*paths: str) -> Checkpoint:
    """A checkpoint of these objects."""
    roles = ("model",) if len(paths) == 1 else ("decoder", "encoder")
    files = tuple((role, f"s3://b/{path}") for role, path in zip(roles, paths, strict=True))
    return Checkpoint(paths[0], None, files, "0" * 64)


def test_objects_count_by_the_time_of_the_last_one(bucket: Path) -> None:
    written(bucket / "a.keras", ago=100, size=7)
    written(bucket / "dec.keras", ago=100)
    written(bucket / "enc.keras", ago=2)
    written(bucket / "saved/saved_model.pb", ago=100)
    written(bucket / "saved/variables/variables.index", ago=2)
    checkpoints = [at("a.keras"), at("dec.keras", "enc.keras"), at("saved"), at("missing.keras")]
    assert list(reasons(checkpoints)) == ["dec.keras", "saved", "missing.keras"]
    assert file_state(at("a.keras")).size == 7


def test_a_store_without_times_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_batch.nightly.night_plan.file_state", lambda _: FileState(None, 10, 1))
    assert reasons([at("a.keras")]) == {}
