"""The command ``verify``: bad files on stdout, a count on stderr, 3 when there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from support.runs.serial_runs import score
from typer.testing import CliRunner, Result

from vae_batch.commands.verify import verify


def call(*words: str) -> Result:
    app = typer.Typer()
    app.command()(verify)
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def settings(toy_settings: dict[str, Any], toy_folder: Path) -> dict[str, Any]:
    checkpoint = str(toy_folder / "runs/step-0001")
    return toy_settings | {"checkpoints": [checkpoint], "metrics": "losses"}


def test_bad_files_are_named_and_mended(settings: dict[str, Any]) -> None:
    out = settings["out"]
    score(settings)
    sound = call(out)
    assert (sound.exit_code, sound.stdout) == (0, "")
    assert "0 damaged, 0 not finished" in sound.stderr
    (path, *_) = sorted(Path(out).glob("losses/*/part-0*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    damaged = call(out)
    assert damaged.exit_code == 3
    assert damaged.stdout.startswith(f"{path}: has another digest than its receipt says")
    assert "1 damaged" in damaged.stderr
    assert "--mend" in damaged.stderr
    mended = call(out, "--mend", "--json")
    assert mended.exit_code == 3
    found = json.loads(mended.stdout)
    assert [file["path"] for file in found["bad"]] == [str(path)]
    assert (found["mended"], found["unfinished"]) == (True, 0)
    assert json.loads(call(out, "--json").stdout)["unfinished"] == 1
    assert score(settings).shards_computed == 1
    assert call(out).exit_code == 0


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    refused = call(str(tmp_path))
    assert refused.exit_code == 2
    assert "holds no run" in refused.stderr
