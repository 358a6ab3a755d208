"""The commands: words in, tables on stdout, sentences on stderr, exit codes out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import vae_batch
from vae_batch.cli import app
from vae_batch.commands.spec_flags import FLAGS, choices_of
from vae_batch.plan import EvaluationSpec


def call(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(words), env=env)


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings as the words a user types."""
    words = [*settings["checkpoints"], "--extractor", *settings["extractors"]]
    for name, value in settings.items():
        if name not in ("checkpoints", "extractors"):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def test_every_spec_field_is_a_flag() -> None:
    help_text = re.sub(r"\x1b\[[0-9;]*m", "", call("score", "--help").output)
    command = {p.name: p for p in _score_parameters()}
    assert "Usage" in help_text
    for name in EvaluationSpec.model_fields:
        if name not in ("checkpoints", "per_checkpoint", "stable_for", "tolerance"):
            assert "--" + name.replace("_", "-") in command[name].opts
            assert command[name].help
    assert "--extractor" in command["extractors"].opts


def test_help_says_all_that_a_flag_takes() -> None:
    """Also what a renderer may take for markup, such as ``[race]``."""
    text = call("score", "-h", env={"COLUMNS": "400"}).output
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    for name, field in EvaluationSpec.model_fields.items():
        if name in FLAGS:
            assert field.description in text
            assert all(choice in text for choice in choices_of(name)), name
    assert "table [race] of" in text
    assert set(choices_of("labels")) == {"one-hot", "integer", "concatenated"}
    assert {"fid_corrected", "kid", "elbo"} <= set(choices_of("select"))


def test_choices_complete_in_a_shell() -> None:
    parameters = {p.name: p for p in _score_parameters()}
    for name, begun, words in [
        ("likelihood", "ga", ["gaussian"]),
        ("metrics", "reconstruction_", ["reconstruction_fid"]),
        ("select", "fid", ["fid_corrected"]),
    ]:
        found = parameters[name].shell_complete(None, begun)
        assert [item.value for item in found] == words


def test_commands_are_grouped_and_a_newcomer_sees_the_first_ones_first() -> None:
    text = call("-h").output
    places = [
        text.index(f" {word} ") for word in ("Start here", "demo", "score", "watch", "report")
    ]
    assert places == sorted(places)
    assert text.index("Start here") < text.index("Before a run") < text.index("After a run")


def test_the_version_is_a_flag() -> None:
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"{vae_batch.__version__}\n")


@pytest.mark.parametrize("module", ["vae_batch", "vae_batch.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    words = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"{vae_batch.__version__}\n"


def _score_parameters() -> list[Any]:
    import typer

    group = typer.main.get_command(app)
    return group.commands["score"].params  # type: ignore[attr-defined]


@pytest.mark.usefixtures("no_report")
def test_flags_and_toml_score_the_same(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    toy_settings["metrics"] = "losses,fid"
    by_flags = call("score", *flags(toy_settings), "--json")
    assert by_flags.exit_code == 0, by_flags.stderr
    rows = json.loads(by_flags.stdout)
    assert [row["step"] for row in rows] == [1, 2, 3]
    spec = tmp_path / "spec.toml"
    spec.write_text(
        "\n".join(f"{name} = {json.dumps(value)}" for name, value in toy_settings.items())
    )
    by_file = call("score", str(spec), "--out", str(tmp_path / "toml"), "--json")
    for one, other in zip(rows, json.loads(by_file.stdout), strict=True):
        assert {**one, "scored_at": ""} == {**other, "scored_at": ""}


def test_table_report_and_status(toy_settings: dict[str, Any]) -> None:
    toy_settings["metrics"] = "losses,fid,inception_score"
    out = Path(toy_settings["out"])
    scored = call("score", *flags(toy_settings))
    assert scored.exit_code == 0
    assert "step-0003" in scored.stdout
    assert "page:" in scored.stderr
    assert "page:" not in scored.stdout
    assert (out / "scores.csv").read_text().count("\n") == 4
    pictures = sorted(path.name for path in (out / "figures").iterdir())
    (out / "report.html").unlink()
    again = call("report", str(out))
    assert again.exit_code == 0
    assert (out / "report.html").stat().st_size > 10_000
    assert sorted(path.name for path in (out / "figures").iterdir()) == pictures
    for kind in ("samples", "reconstructions", "interpolation", "traversal"):
        assert sum(name.startswith(kind) and name.endswith(".png") for name in pictures) == 3
    status = json.loads(call("status", str(out), "--json").stdout)
    assert (status["state"], status["progress"]["scored"]) == ("finished", 3)
    rows = [(row["status"], row["done"], row["total"]) for row in status["rows"]]
    assert rows == [("scored", 9, 9)] * 3


@pytest.mark.usefixtures("no_report")
def test_failed_checkpoints_give_exit_code_3(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad-0009.keras").write_bytes(b"PK")
    toy_settings["checkpoints"] = [*toy_settings["checkpoints"], str(tmp_path / "bad-0009.keras")]
    toy_settings["metrics"] = "losses,fid"
    result = call("score", *flags(toy_settings))
    assert result.exit_code == 3
    assert "is a text file, not a model" in result.stderr
    assert "bad-0009" in result.stdout
    status = json.loads(call("status", toy_settings["out"], "--json").stdout)
    assert status["counts"] == {"scored": 3, "failed": 1}
    told = call("status", toy_settings["out"]).stdout
    assert f"failed: {tmp_path}/bad-0009.keras is a text file" in told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reference": "mnits"}, "mnits"),
        ({"samples": 5, "splits": 10}, "splits is 10 but only 5 samples"),
        ({"seed": -1}, "seed = -1"),
        ({"likelihood": "gauss"}, "likelihood = 'gauss'"),
        ({"extractors": ["inception"]}, "unknown extractor 'inception'"),
    ],
)
def test_bad_input_gives_exit_code_2_and_a_sentence(
    toy_settings: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    result = call("score", *flags(toy_settings | change))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_unknown_flag_names_the_nearest() -> None:
    result = call("score", "a.keras", "--sample", "5")
    assert result.exit_code == 2
    assert "--samples" in result.stderr


@pytest.mark.parametrize("command", ["report", "status"])
def test_a_folder_without_a_run(command: str, tmp_path: Path) -> None:
    result = call(command, str(tmp_path))
    assert result.exit_code == 2
    assert "holds no" in result.stderr


@pytest.mark.usefixtures("no_report")
def test_nothing_left_to_score_starts_no_cluster(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("score", *flags(toy_settings), "--json").exit_code == 0
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # where no cluster answers
    again = call("score", *flags(toy_settings | {"workers": 1}), "--json")
    assert again.exit_code == 0, again.stderr
    assert "0 shards computed" in again.stderr
