"""What is declared for one checkpoint redoes that one, and leaves the others' files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.autoencoder.saved_vaes import SavedVae, save_vae
from support.runs.serial_runs import Row, files_of, rows_of, score, settings_of

from vae_batch.commands.spec_flags import spec_of
from vae_batch.plan import InputError
from vae_batch.run.progress.status import run_status

UNCLEAR = ("unclear_head", "unclear_likelihood")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedVae]:
    from support.models.toy_models import save_classifier

    folder = tmp_path_factory.mktemp("declared")
    save_classifier(folder / "classifier.keras")
    return {shape: save_vae(shape, folder) for shape in ("pair", *UNCLEAR)}


def settings(saved: dict[str, SavedVae], out: Path, **more: Any) -> dict[str, Any]:
    classifier = Path(saved["pair"].path).parent / "classifier.keras"
    return settings_of([vae.path for vae in saved.values()], classifier, out, **more)


def toml_of(values: dict[str, Any], path: Path) -> Path:
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items() if k != "per_checkpoint"]
    for pattern, declared in values.get("per_checkpoint", {}).items():
        lines += ["", f"[per_checkpoint.{json.dumps(pattern)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in declared.items()]
    path.write_text("\n".join(lines))
    return path


def from_toml(values: dict[str, Any], path: Path) -> dict[str, Row]:
    """Rows of the run that a TOML file asks for."""
    return rows_of(score(spec_of([str(toml_of(values, path))], {}).model_dump()))


def test_a_declaration_after_a_failure_redoes_that_checkpoint_alone(
    saved: dict[str, SavedVae], tmp_path: Path
) -> None:
    out, spec = tmp_path / "out", tmp_path / "spec.toml"
    values = settings(saved, out)
    first = from_toml(values, spec)
    pair = first[saved["pair"].path]
    asked = {
        "unclear_head": "declare --second-head logvar, log_std or std",
        "unclear_likelihood": "declare --likelihood bernoulli",
    }
    for shape, words in asked.items():
        row = first[saved[shape].path]
        assert (row["status"], row["elbo"]) == ("failed", None)
        assert words in row["reason"]
    declared: dict[str, dict[str, Any]] = {}
    for shape in UNCLEAR:
        before = files_of(out)
        declared[f"*/{shape}"] = dict(saved[shape].declared)
        rows = from_toml(values | {"per_checkpoint": declared}, spec)
        row, after = rows[saved[shape].path], files_of(out)
        assert (row["status"], row["reason"]) == ("scored", None)
        np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)
        # The pair's row was not written again, nor was any file of it or of the reference.
        assert rows[saved["pair"].path] == pair
        # (A checkpoint that fails again has its traceback written again.)
        kept = {
            name: time
            for name, time in before.items()
            if "/" in name and not name.startswith("tracebacks/")
        }
        assert {name: after[name] for name in kept} == kept
        new = {name for name in after.keys() - before.keys() if "/" in name}
        assert new
        assert all(shape.replace("_", "-") in name for name in new)


@pytest.mark.parametrize(
    ("shape", "flag"), [("unclear_head", "second_head"), ("unclear_likelihood", "likelihood")]
)
def test_the_flag_that_a_failure_asks_for(
    saved: dict[str, SavedVae], tmp_path: Path, shape: str, flag: str
) -> None:
    """Given for the failed checkpoint alone; the other's row stays in the table."""
    out = tmp_path / "out"
    values = settings({name: saved[name] for name in ("pair", shape)}, out)
    spec = toml_of(values, tmp_path / "spec.toml")
    rows = rows_of(score(spec_of([str(spec)], {}).model_dump()))
    pair, failed = rows[saved["pair"].path], rows[saved[shape].path]
    assert failed["status"] == "failed"
    assert f"--{flag.replace('_', '-')}" in failed["reason"]
    before = files_of(out)
    toml_of(values | {"checkpoints": [saved[shape].path]}, spec)
    mended = rows_of(score(spec_of([str(spec)], {flag: saved[shape].declared[flag]}).model_dump()))
    assert set(mended) == {saved[shape].path}
    np.testing.assert_allclose(mended[saved[shape].path]["elbo"], pair["elbo"], rtol=1e-6)
    after = files_of(out)
    kept = {name: time for name, time in before.items() if "/checkpoint=pair" in name}
    assert kept
    assert {name: after[name] for name in kept} == kept
    assert {row.status for row in run_status(str(out))} == {"scored"}


def test_a_key_that_no_checkpoint_has_is_bad_input(
    saved: dict[str, SavedVae], tmp_path: Path
) -> None:
    values = settings(saved, tmp_path / "out", per_checkpoint={"*": {"likelyhood": "bernoulli"}})
    with pytest.raises(InputError, match=r"per_checkpoint '\*': likelyhood: .* keys may be likel"):
        spec_of([str(toml_of(values, tmp_path / "spec.toml"))], {})
