"""A disk that fills up or cannot be written: a sentence, exit code 2, and nothing done is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs.driver_processes import numbers, receipts, write_spec
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.report.figures import INDEX
from vae_batch.run.output.verify import verify_output

_PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """A file system of its own, of few pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> None:
        mounted = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        done = subprocess.run(mounted, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def change(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    found = SmallDisk(tmp_path / "disk")
    found.folder.mkdir()
    yield found
    found.unmount()


def score(settings: dict[str, Any], spec: Path) -> tuple[int, str]:
    """Exit code and stderr of ``vae-batch score``."""
    done = CliRunner().invoke(app, ["score", str(write_spec(spec, settings))])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stderr


def write_few_files(rows: Any, galleries: Any, write: Any, *_: Any) -> list[str]:
    """Stands for figures, which would be drawn again at every size of the disk."""
    files = {"a.png": bytes(3 * _PAGE), "b.png": bytes(3 * _PAGE), INDEX: b'{"figures": []}'}
    for name, content in files.items():
        write(name, content)
    return [*files]


def pages_used(folder: Path) -> int:
    return sum(-(-path.stat().st_size // _PAGE) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_full_disk_costs_time_and_nothing_else(
    toy_settings: dict[str, Any],
    tmp_path: Path,
    disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is full while images, shards, reductions, rows, comparisons or the page are written."""
    monkeypatch.setattr("vae_batch.report.figures.writing.write_figures", write_few_files)
    quiet = toy_settings | {"out": str(tmp_path / "quiet"), "metrics": "losses,fid,kid"}
    assert score(quiet, tmp_path / "quiet.toml")[0] == 0
    needed = pages_used(tmp_path / "quiet")
    settings = quiet | {"out": str(disk.folder)}
    disk.mount(f"size={2 * _PAGE}")
    said, done = [], receipts(disk.folder)
    for percent in (2, 10, 25, 40, 55, 65, 75, 85, 92, 96, 99):
        disk.change(f"size={max(3, needed * percent // 100) * _PAGE}")
        code, stderr = score(settings, tmp_path / "full.toml")
        if code == 2:
            said.append(stderr)
            assert "No space left on device" in stderr
            assert "same command again" in stderr or "cannot be used" in stderr
        now = receipts(disk.folder)
        assert {path: now[path] for path in done} == done, "a finished shard was redone"
        done = now
    assert len(said) >= 8
    assert len(done) > 10
    disk.change(f"size={4 * needed * _PAGE}")
    code, stderr = score(settings, tmp_path / "full.toml")
    assert code == 0, stderr
    assert numbers(disk.folder) == numbers(tmp_path / "quiet")
    assert verify_output(str(disk.folder)).bad == ()
    assert (disk.folder / "report.html").exists()
    assert not list(disk.folder.rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(
    toy_settings: dict[str, Any], tmp_path: Path, disk: SmallDisk
) -> None:
    disk.mount("size=8m,ro")
    for out in (disk.folder, disk.folder / "new"):
        code, stderr = score(toy_settings | {"out": str(out)}, tmp_path / "spec.toml")
        assert code == 2
        assert "Read-only file system" in stderr
        assert str(disk.folder) in stderr
        assert "shards" not in stderr
    assert not list(disk.folder.iterdir())


@pytest.mark.slow
def test_a_finished_run_that_became_read_only_is_refused_and_stays(
    toy_settings: dict[str, Any],
    tmp_path: Path,
    disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vae_batch.report.figures.writing.write_figures", write_few_files)
    disk.mount("size=64m")
    settings = toy_settings | {"out": str(disk.folder), "metrics": "losses,fid"}
    assert score(settings, tmp_path / "spec.toml")[0] == 0
    disk.change("ro")
    before = receipts(disk.folder), numbers(disk.folder)
    code, stderr = score(settings, tmp_path / "spec.toml")
    assert code == 2
    assert "Read-only file system" in stderr
    for command in ("report", "rescore"):
        flags = ["--metrics", "kid"] if command == "rescore" else []
        done = CliRunner().invoke(app, [command, str(disk.folder), *flags])
        assert done.exit_code == 2, done.stderr
        assert "Read-only file system" in done.stderr
    assert (receipts(disk.folder), numbers(disk.folder)) == before
