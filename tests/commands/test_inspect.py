"""``vae-batch inspect``: what was found, how it was decided, what is missing, and a proof."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from models.autoencoder.saved_vaes import SHAPES, SavedVae, save_vae
from models.formats import hostile_files
from models.formats.same_vae import KINDS
from models.formats.saved_kinds import saved_kinds
from support.models.broken_checkpoints import BROKEN
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.plan import make_spec

HEADING = "# as lines of a spec (TOML):"
SUBJECTS = ("parts", "decoder output", "posterior", "second head", "prior", "value range")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *words])


def toml_of(result: Result) -> dict[str, Any]:
    """The lines that were printed, read as TOML."""
    _, heading, lines = result.stdout.partition(HEADING)
    return tomllib.loads(lines) if heading else {}


def names_of_kinds() -> str:
    return f"checkpoints = {json.dumps([vae.path for vae in saved_kinds().values()])}\n"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What is said of every kind, each declared as it has to be."""
    lines = ["trust = true", names_of_kinds()]
    for vae in saved_kinds().values():
        if vae.reading.declared:
            lines.append(f"[per_checkpoint.{json.dumps(vae.path)}]")
            lines += [f"{key} = {json.dumps(v)}" for key, v in vae.reading.declared.items()]
    spec = tmp_path_factory.mktemp("declared") / "spec.toml"
    spec.write_text("\n".join(lines))
    return call(str(spec), "--reference", "digits")


@pytest.fixture(params=["--reference=digits", None])
def reference(request: pytest.FixtureRequest) -> list[str]:
    return [request.param] if request.param else []


@pytest.fixture(scope="module")
def of_kinds(
    printed: Result, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Findings by path, as JSON, under the lines that were printed."""
    spec = tmp_path_factory.mktemp("pasted") / "spec.toml"
    spec.write_text(names_of_kinds() + printed.stdout.partition(HEADING)[2])
    result = call(str(spec), "--json")  # without a reference, noise is tried
    assert result.exit_code == 0, result.stdout
    return {found["checkpoint"]["label"]: found for found in json.loads(result.stdout)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_understood(of_kinds: dict[str, dict[str, Any]], kind: str) -> None:
    saved = saved_kinds()[kind]
    found = of_kinds[saved.path]
    assert found["refusal"] is None
    assert dict(found["checkpoint"]["files"]) == saved.files
    description = found["description"]
    assert description["format"] == saved.format
    assert (description["latent_shape"], description["image_shape"]) == ([3], [8, 8, 1])
    assert (description["output"], description["second_head"]) == ("logits", "logvar")
    assert set(SUBJECTS) <= {decision["subject"] for decision in description["decisions"]}
    encoded, decoded = found["proofs"]
    tried = "noise (no --reference was given)"
    assert encoded.startswith(f"encoded one image of {tried}: mean -")
    assert decoded.startswith("decoded one sample: pixels ")
    assert found["declare"] == {
        **saved.reading.declared,
        "trust": True,
        "likelihood": "bernoulli",
        "model_range": "0..1",
        "second_head": "logvar",
    }


def test_what_is_printed_of_every_kind(printed: Result) -> None:
    assert printed.exit_code == 0
    saved = saved_kinds().values()
    for vae in saved:
        assert f"{vae.path}\n" in printed.stdout or f"{vae.path}  step " in printed.stdout
    assert printed.stdout.count("  second head     log-variance") == len(KINDS)
    assert printed.stdout.count("  encoded one image of digits: mean ") == len(KINDS)
    assert printed.stdout.count("  decoded one sample: pixels ") == len(KINDS)
    lines = toml_of(printed)
    assert lines["trust"] is True
    assert set(lines["per_checkpoint"]) == {vae.path for vae in saved}


@pytest.fixture(scope="module")
def saved_shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedVae]:
    folder = tmp_path_factory.mktemp("shapes")
    return {shape: save_vae(shape, folder) for shape in SHAPES}


def flags_of(vae: SavedVae) -> list[str]:
    return [f"--{key.replace('_', '-')}={value}" for key, value in vae.declared.items()]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_understood(
    saved_shapes: dict[str, SavedVae], reference: list[str], shape: str
) -> None:
    vae = saved_shapes[shape]
    result = call(vae.path, *flags_of(vae), *reference)
    assert result.exit_code == 0, result.stdout
    lines = toml_of(result)["per_checkpoint"][vae.path]
    assert vae.declared.items() <= lines.items() or (shape == "padded" and not reference)
    make_spec({"checkpoints": ["x"], "reference": "digits", "per_checkpoint": {"x": lines}})
    words = " ".join(result.stdout.split())
    assert ("encoded one image" in words) == (shape not in ("decoder_alone", "plain_in_one"))
    assert ("decoded one sample" in words) == (
        shape not in ("encoder_alone", "plain", "plain_in_one")
    )
    assert ("reconstructed one image" in words) == (shape in ("plain", "plain_in_one"))
    assert ("no prior" in words) == (shape in ("plain", "plain_in_one"))
    assert ("holds a decoder alone" in words) == (shape == "decoder_alone")
    assert ("holds an encoder alone" in words) == (shape == "encoder_alone")


@pytest.mark.parametrize("form", ["one_hot", "integer"])
def test_conditional_vaes_are_tried_with_labels(
    saved_shapes: dict[str, SavedVae], reference: list[str], form: str
) -> None:
    vae = saved_shapes[f"conditional_{form}"]
    (found,) = json.loads(call(vae.path, "--json", *reference).stdout)
    classes = 10 if reference or form == "one_hot" else 2  # of integers, noise takes two
    expected = f"{form.replace('_', '-')} labels, {classes} classes"
    assert found["description"]["condition"] == expected


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_vae_are_refused(tmp_path: Path, name: str) -> None:
    make, words = BROKEN[name]
    make(tmp_path / name)
    result = call(str(tmp_path / name), "--reference", "digits")
    assert result.exit_code == 3
    for part in ("refused: ", *words):
        assert part in result.stdout
    assert HEADING not in result.stdout
    assert "Traceback" not in result.stderr


def test_a_mixed_folder_as_json(tmp_path: Path, saved_shapes: dict[str, SavedVae]) -> None:
    """One bad file does not hide what was found of the others."""
    shutil.copytree(saved_shapes["pair"].path, tmp_path / "runs/pair")
    marker = tmp_path / "ran"
    hostile_files.malicious_lambda(tmp_path / "runs/code.keras", marker)
    hostile_files.huge_weight(tmp_path / "runs/giant.keras")
    result = call(str(tmp_path / "runs"), "--json")
    assert result.exit_code == 3
    found = {Path(f["checkpoint"]["label"]).name: f for f in json.loads(result.stdout)}
    assert set(found) == {"pair", "code.keras", "giant.keras"}
    assert found["pair"]["description"]["format"] == "keras"
    for name, words in {"code.keras": "is a Python Lambda", "giant.keras": "111.8 GiB"}.items():
        assert found[name]["description"] is None
        assert words in found[name]["refusal"]
    assert found["code.keras"]["declare"] == {"trust": True}
    assert found["giant.keras"]["declare"] == {}
    assert not marker.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere/*.keras"], "no checkpoint matches nowhere"),
        (["a.keras", "--likelihood", "gaussian"], "needs its scale"),
        (["a.keras", "--second-head", "variance"], "--second-head = 'variance'"),
        (["missing.toml"], "missing.toml does not exist"),
    ],
)
def test_bad_input_gives_exit_code_2(words: list[str], sentence: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""
