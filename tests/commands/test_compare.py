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
from vae_batch.metrics.catalogue import METRICS


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


def test_the_verdict_comes_first_and_the_metric_may_be_named(runs: dict[str, str]) -> None:
    first = call(runs["one"], runs["two"]).stdout.replace("\n", " ")
    assert first.startswith(("Best by ELBO: step-", "No single best of 3: "))
    assert "step-0001 of A and step-0001 of B" in first or "next is step-" in first
    chosen = call(runs["one"], runs["two"], "--select", "reconstruction_nll").stdout
    assert METRICS["reconstruction_nll"].short in chosen.partition("A is ")[0]
    for name, said in (
        ("fid_corrected", "--select fid_corrected: no checkpoint has a value of it"),
        ("nonsense", "nonsense"),
    ):
        refused = call(runs["one"], runs["two"], "--select", name)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_checkpoints_stand_by_run_or_the_best_first_in_equal_decimals(
    runs: dict[str, str],
) -> None:
    def rows(*words: str) -> list[tuple[str, str, str]]:
        shown = call(runs["one"], runs["two"], *words).stdout
        elbo = re.split(r"^(?=\S.*, n = \d+)", shown, flags=re.MULTILINE)
        (table,) = (part for part in elbo if part.startswith("ELBO"))
        return re.findall(r"^ ([AB]) +(step-\d+) +(\S+\d)", table, re.MULTILINE)

    assert [(run, name) for run, name, _ in rows()] == [
        *(("A", "step-0001"), ("B", "step-0001"), ("B", "step-0009"))
    ]
    scores = [text.replace("\N{MINUS SIGN}", "-") for *_, text in rows("--sort")]
    values = [float(text) for text in scores]
    assert values == sorted(values, reverse=True)
    assert len({len(text.partition(".")[2]) for text in scores}) == 1


def test_short_names_do_not_break_the_words_of_the_verdict(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"samples": 60, "reference_samples": 40, "metrics": "losses"}
    for seed, name in enumerate(("e", "n")):
        save_pair(tmp_path / name, seed=seed)
        score(settings_of([name], toy_folder / "classifier.keras", tmp_path / f"out-{name}") | base)
    said = call("out-e", "out-n").stdout.partition("A is ")[0].replace("\n", " ")
    assert re.match(r"Best by ELBO: [en] of [AB], |No single best of 2: ", said), said
    assert "e of A" in said
    assert "n of B" in said
    assert re.search("difference from the best|not distinguishable by ELBO", said)
