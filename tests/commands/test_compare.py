"""`vae-batch compare`: two runs side by side, or a refusal that names what differs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.models.toy_models import save_pair
from support.runs.serial_runs import score, settings_of
from typer.testing import CliRunner, Result

from vae_batch.cli import app


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["compare", *words], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def runs(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Output folders: of one checkpoint, of it and another one, and of another reference."""
    folder = tmp_path_factory.mktemp("compare")
    shutil.copytree(toy_folder / "runs/step-0001", folder / "models/step-0001")
    save_pair(folder / "models/step-0009", seed=9)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "one": ("step-0001", {}),
        "two": ("*", {}),
        "fewer": ("step-0001", {"reference_samples": 90}),
    }
    found = {}
    for name, (pattern, changed) in wanted.items():
        found[name] = str(folder / name)
        checkpoints = [str(folder / "models" / pattern)]
        base = {"samples": 60, "reference_samples": 40, "metrics": "losses"}
        settings = settings_of(checkpoints, toy_folder / "classifier.keras", folder / name)
        score(settings | base | changed)
    return found


def test_runs_stand_side_by_side_within_80_columns(runs: dict[str, str]) -> None:
    result = call(runs["one"], runs["two"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    # the first line names the folders, which may be long
    assert all(len(line) <= 80 for line in lines if "/" not in line)
    assert "…" not in result.stdout, "the end of a name tells checkpoints apart"
    tables = re.split(r"^(?=\S.*, n = \d+)", result.stdout, flags=re.MULTILINE)
    (elbo,) = (table for table in tables if table.startswith("ELBO"))
    found = re.findall(r"^ ([AB]) +(step-\d+) +\S+\d([*≈]?)", elbo, re.MULTILINE)
    assert {(run, name) for run, name, _ in found} == {
        *(("A", "step-0001"), ("B", "step-0001"), ("B", "step-0009"))
    }
    # the same checkpoint, scored twice: one is best and the other is not distinguishable
    marks = {(run, name): mark for run, name, mark in found}
    assert {marks["A", "step-0001"], marks["B", "step-0001"]} in ({"*", "≈"}, {""})
    assert "\x1b" not in result.stdout


def test_json_has_every_row(runs: dict[str, str]) -> None:
    rows = json.loads(call(runs["one"], runs["two"], "--json").stdout)
    assert {row["metric"] for row in rows} >= {"elbo", "reconstruction_nll"}


def test_other_conditions_are_refused_by_name(runs: dict[str, str]) -> None:
    result = call(runs["one"], runs["fewer"])
    assert result.exit_code == 2
    assert "n_reference (40, 90)" in result.stderr
    assert re.search(r"reference_sha256 \('[0-9a-f]{12}\.\.\.', ", result.stderr)
    assert result.stdout == ""


def test_a_run_is_not_compared_with_itself(runs: dict[str, str]) -> None:
    result = call(runs["one"], runs["one"] + "/")
    assert result.exit_code == 2
    assert "are the same run" in result.stderr
