"""The lines that ``inspect`` prints of a refused checkpoint, pasted into a spec, make it score."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.autoencoder.saved_vaes import save_vae
from models.formats.saved_kinds import saved_kinds
from support.runs.serial_runs import Row, rows_of, score, settings_of
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.commands.inspect import toml_lines
from vae_batch.commands.spec_flags import spec_of
from vae_batch.models.checkpoints import Checkpoint
from vae_batch.models.inspection import Inspection
from vae_batch.plan import make_spec

HEADING = "# as lines of a spec (TOML):"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models.toy_models import save_classifier

    path = tmp_path_factory.mktemp("pasted") / "extractor.keras"
    save_classifier(path)
    return path


@pytest.fixture(scope="module")
def pair(classifier: Path) -> Row:
    return scored("", [saved_kinds()["keras_pair"].path], classifier, classifier.parent / "pair")


def refused(*words: str) -> str:
    """The lines printed of a refused checkpoint."""
    result = CliRunner().invoke(app, ["inspect", *words, "--reference", "digits"])
    assert result.exit_code == 3, result.stdout
    assert "  refused: " in result.stdout
    return result.stdout.partition(HEADING)[2]


def scored(lines: str, checkpoints: list[str], classifier: Path, folder: Path) -> Row:
    """The row of one checkpoint under a spec that ends with these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    values = settings_of(checkpoints, classifier, folder / "out")
    spec = folder / "spec.toml"
    own = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    spec.write_text("\n".join([*own, lines]))
    (row,) = rows_of(score(spec_of([str(spec)], {}).model_dump())).values()
    assert (row["status"], row["reason"]) == ("scored", None)
    return row


def test_an_unknown_likelihood(classifier: Path, pair: Row, tmp_path: Path) -> None:
    vae = save_vae("unclear_likelihood", tmp_path)
    lines = refused(vae.path)
    assert 'likelihood = "bernoulli"  # or "gaussian" with sigma = "optimal" or a number' in lines
    row = scored(lines, [vae.path], classifier, tmp_path)
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)
    other = lines.replace('"bernoulli"', '"gaussian"\nsigma = "optimal"')
    values = {"checkpoints": ["x"], "reference": "digits", **tomllib.loads(other)}
    assert make_spec(values).reading_of(vae.path).sigma == "optimal"


def test_an_ambiguous_second_head(classifier: Path, pair: Row, tmp_path: Path) -> None:
    vae = save_vae("unclear_head", tmp_path)
    lines = refused(vae.path)
    assert 'second_head = "logvar"  # or "log_std"\n' in lines
    row = scored(lines, [vae.path], classifier, tmp_path / "first")
    assert row["second_head"] == "logvar"
    assert abs(row["kl"] / pair["kl"] - 1) > 0.01
    other = lines.replace('= "logvar"', '= "log_std"')
    row = scored(other, [vae.path], classifier, tmp_path / "other")
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)


def test_another_size(classifier: Path, pair: Row, tmp_path: Path) -> None:
    vae = save_vae("padded", tmp_path)
    lines = refused(vae.path)
    assert 'input_fit = "pad"  # or "resize"\n' in lines
    row = scored(lines, [vae.path], classifier, tmp_path)
    expected = pair["reconstruction_nll"] + 80 * np.log(2)
    np.testing.assert_allclose(row["reconstruction_nll"], expected, rtol=1e-6)


def test_another_range_beside_what_was_given(classifier: Path, tmp_path: Path) -> None:
    vae = save_vae("bytes", tmp_path)
    lines = refused(vae.path, "--likelihood", "gaussian", "--sigma", "50")
    assert tomllib.loads(lines)["per_checkpoint"][vae.path] == vae.declared
    assert scored(lines, [vae.path], classifier, tmp_path)["model_range"] == "0..255"


def test_weights_without_a_builder(classifier: Path, pair: Row, tmp_path: Path) -> None:
    path = saved_kinds()["weights"].path
    lines = refused(path)
    assert "trust = true" in lines
    lines = lines.replace("package.module:function", "support.models.toy_builders:keras_vae")
    row = scored(lines, [path], classifier, tmp_path)
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)


def test_a_builder_without_trust(tmp_path: Path) -> None:
    """What was given by a flag stands beside what was missing."""
    path = saved_kinds()["weights"].path
    lines = tomllib.loads(refused(path, "--builder", "support.models.toy_builders:keras_vae"))
    assert lines["trust"] is True
    assert lines["per_checkpoint"][path] == {"builder": "support.models.toy_builders:keras_vae"}


def test_a_lambda_without_trust(classifier: Path, pair: Row, tmp_path: Path) -> None:
    path = saved_kinds()["tf_keras_lambda"].path
    row = scored(refused(path), [path], classifier, tmp_path)
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)


def test_endpoints_of_other_names(classifier: Path, pair: Row, tmp_path: Path) -> None:
    """The one with the larger input is thought to take images."""
    path = saved_kinds()["saved_model_signatures"].path
    row = scored(refused(path), [path], classifier, tmp_path)
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)


def test_a_class_of_the_users(
    classifier: Path, pair: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module lies in the working directory, and is imported only with trust."""
    monkeypatch.chdir(tmp_path)
    save_with_own_class(tmp_path)
    lines = refused("runs")
    assert tomllib.loads(lines) == {
        "trust": True,
        "per_checkpoint": {"runs": {"custom_objects": "package.module"}},
    }
    lines = lines.replace("package.module", "shifting_layers")
    row = scored(lines, ["runs"], classifier, tmp_path)
    np.testing.assert_allclose(row["elbo"], pair["elbo"], rtol=1e-6)


def save_with_own_class(folder: Path) -> None:
    """The pair, its decoder behind a layer that Keras does not know."""
    import keras
    from support.models.toy_models import make_decoder, make_encoder

    body = (
        "import keras\n\nclass Shift(keras.layers.Layer):\n    def call(self, x): return x + 0.0\n"
    )
    (folder / "shifting_layers.py").write_text(body)
    namespace: dict[str, Any] = {"__name__": "shifting_layers"}
    exec(body, namespace)
    latents = keras.Input((3,))
    decoder = keras.Model(latents, make_decoder(5)(namespace["Shift"]()(latents)))
    (folder / "runs").mkdir()
    make_encoder(5).save(folder / "runs/encoder.keras")
    decoder.save(folder / "runs/decoder.keras")


Declare = dict[str, object]


@pytest.mark.parametrize(
    "label", ["runs/[a] *?.keras", 'a "b"\\c', "s3://bucket/é/模型-😀.keras", "tab\tand\x7f"]
)
def test_any_label_is_a_pattern_of_itself(label: str) -> None:
    lines = toml_lines([_inspection(label, {"likelihood": "bernoulli"})])
    values = {"checkpoints": ["x"], "reference": "digits", **tomllib.loads("\n".join(lines))}
    assert make_spec(values).reading_of(label).likelihood == "bernoulli"
    assert make_spec(values).reading_of(label + "x").likelihood is None


def test_keys_of_the_whole_spec_come_first_and_once() -> None:
    lines = toml_lines(
        [
            _inspection("a", {"second_head": "std", "trust": True, "memory_cap": 20.0}),
            _inspection("b", {"trust": True, "memory_cap": 12.0}),
            _inspection("c", {}),
        ]
    )
    assert tomllib.loads("\n".join(lines)) == {
        "trust": True,
        "memory_cap": 20.0,
        "per_checkpoint": {"a": {"second_head": "std"}},
    }


def _inspection(label: str, declare: Declare) -> Inspection:
    return Inspection(Checkpoint(label, None, (), ""), refusal="no", declare=declare)
