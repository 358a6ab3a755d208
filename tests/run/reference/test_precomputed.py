"""References of statistics and of features, and candidates of features, that others computed."""

from __future__ import annotations

import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import Row, files_of, rows_of, score, settings_of
from support.stores.stored_rows import folders_of, stored
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.dry_run import dry_run
from vae_batch.metrics.catalogue import GROUPS, METRICS
from vae_batch.plan import InputError, make_spec
from vae_batch.run.output.verify import verify_output
from vae_batch.run.progress.events import ignore

GROUPS_OF_SAMPLES = "fid,fid_infinity,inception_score,kid,precision,diagnostics"
DECLARED = "as the toy run"


@pytest.fixture(scope="module")
def toys(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run on images, its exported statistics, and its features in files."""
    folder = tmp_path_factory.mktemp("precomputed")
    checkpoint = str(toy_folder / "runs/step-0002")
    settings = settings_of(
        [checkpoint],
        toy_folder / "classifier.keras",
        folder / "out",
        samples=200,
        metrics=f"{GROUPS_OF_SAMPLES},losses",
    )
    row = rows_of(score(settings))[checkpoint]
    words = ["export", str(folder / "out"), "--statistics", str(folder / "statistics")]
    assert CliRunner().invoke(app, words).exit_code == 0
    (exported,) = (folder / "statistics").glob("reference-*.npz")
    kept = folders_of(folder / "out", checkpoint)
    for name, kind in (("fake", "generated"), ("real", "reference")):
        columns = stored(kept[kind])
        np.savez(
            folder / f"{name}.npz",
            features=columns["features"],
            probabilities=columns["probabilities"],
        )
        np.save(folder / f"{name}.npy", columns["features"])
    return {
        "folder": folder,
        "settings": {**settings, "reference_samples": None, "reference": str(exported)},
        "images": settings,
        "checkpoint": checkpoint,
        "row": row,
        "exported": exported,
    }


def row_of(toys: dict[str, Any], out: Path, **more: Any) -> Row:
    (row,) = rows_of(score({**toys["settings"], "out": str(out), **more})).values()
    return row


def saved(path: Path, source: Path, *names: str, **more: Any) -> str:
    with np.load(source) as arrays:
        np.savez(path, **{name: arrays[name] for name in names}, **more)
    return str(path)


def test_exported_statistics_give_the_same_distance(toys: dict[str, Any], tmp_path: Path) -> None:
    row, images = row_of(toys, tmp_path / "a"), toys["row"]
    assert row["status"] == "scored"
    assert row["fid"] == pytest.approx(images["fid"], rel=1e-9)
    assert (row["reference_kind"], row["reference_is"]) == ("statistics", "population")
    assert row["reference_protocol"] == images["protocol"] == row["protocol"]
    assert row["n_reference"] == images["n_reference"] == 100
    population = {**toys["images"], "reference_is": "population", "out": str(tmp_path / "b")}
    (same,) = rows_of(score(population)).values()
    for column in ("fid_corrected", "fid_low", "fid_high", "fid_infinity"):
        assert row[column] == pytest.approx(same[column], rel=1e-6)
    for column in ("inception_score", "duplicate_rate", "latent_smoothness"):
        assert row[column] == images[column] is not None
    assert verify_output(str(tmp_path / "a")).bad == ()


def test_what_statistics_cannot_give_is_null_with_the_reason(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    row = row_of(toys, tmp_path / "a", metrics="all")
    codes = {name: row[f"{name}_reason"] for name, metric in METRICS.items() if row[name] is None}
    for column in ("elbo", "kl", "mse", "active_units", "reconstruction_fid", "sharpness_ratio"):
        assert "needs reference images; this reference holds statistics" in codes[column]
    for column in ("kid", "precision", "coverage", "near_duplicate_rate", "vendi_score_reference"):
        assert "needs the reference's features" in codes[column]
    assert '"elbo": "no_reference_images"' in row["reason_codes"]
    assert '"kid": "no_reference_activations"' in row["reason_codes"]
    assert not {GROUPS[m.group].name for n, m in METRICS.items() if row[n] is not None} - {
        "fid", "fid_infinity", "inception_score", "diagnostics"
    }  # fmt: skip


def test_statistics_of_other_tools_need_their_protocol_and_their_number(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    ttur = saved(tmp_path / "ttur.npz", toys["exported"], "mu", "sigma")
    with pytest.raises(InputError, match=r"ttur\.npz holds statistics.*--reference-protocol"):
        row_of(toys, tmp_path / "a", reference=ttur)
    assert not (tmp_path / "a").exists()
    more = {"reference": ttur, "reference_protocol": DECLARED}
    row = row_of(toys, tmp_path / "a", **more)
    assert row["fid"] == pytest.approx(toys["row"]["fid"], rel=1e-9)
    assert (row["n_reference"], row["reference_protocol"]) == (None, DECLARED)
    assert row["fid_corrected"] is None
    assert "declare it with --reference-samples" in row["fid_corrected_reason"]
    known = row_of(toys, tmp_path / "b", **more, reference_samples=100)
    assert known["n_reference"] == 100
    assert known["fid_corrected"] is not None
    with pytest.raises(InputError, match="says that its statistics are of 100 images"):
        row_of(toys, tmp_path / "c", reference_samples=99)


def test_statistics_of_adm_hold_images_that_are_not_used(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    extra = {"arr_0": np.zeros((3, 8, 8, 3), np.uint8), "mu_s": np.zeros(7)}
    adm = saved(tmp_path / "adm.npz", toys["exported"], "mu", "sigma", **extra)
    row = row_of(toys, tmp_path / "a", reference=adm, reference_protocol="adm")
    assert row["fid"] == pytest.approx(toys["row"]["fid"], rel=1e-9)
    assert "not used, since it holds statistics: arr_0, mu_s" in row["warnings"]


def test_a_pickle_is_refused_with_the_command_that_converts_it(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    with np.load(toys["exported"]) as arrays:
        fid = {name: arrays[name] for name in ("mu", "sigma")}
    path = tmp_path / "edm's.pkl"
    path.write_bytes(pickle.dumps({"num_images": 100, "fid": fid, "fd_dinov2": {}}))
    with pytest.raises(InputError, match="is a pickle") as refused:
        row_of(toys, tmp_path / "a", reference=str(path))
    command = re.search(r"python (-c .*), and give", str(refused.value))
    assert command is not None
    subprocess.run([sys.executable, *shlex.split(command[1])], check=True)
    converted = str(path.with_suffix(".npz"))
    row = row_of(toys, tmp_path / "a", reference=converted, reference_protocol="edm2")
    assert row["fid"] == pytest.approx(toys["row"]["fid"], rel=1e-9)
    assert row["n_reference"] == 100


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "features of 3 dimensions, but"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"sigma \(4, 4\)"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 2], [3, 4]])}, "is not symmetric"),
        ({"mu": np.array([np.nan, 0]), "sigma": np.eye(2)}, "finite"),
        ({"features": np.zeros((4, 3), np.float32)}, "features of 3 dimensions, but"),
        ({"features": np.zeros((4, 3, 2))}, "expected arrays"),
        ({"features": np.full((4, 3), np.nan)}, "row 0 of the features is not finite"),
    ],
)
def test_unusable_files_are_refused_before_anything_is_written(
    toys: dict[str, Any], tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    more = {"reference": str(tmp_path / "bad.npz"), "reference_protocol": DECLARED}
    with pytest.raises(InputError, match=said) as refused:
        row_of(toys, tmp_path / "out", **more)
    assert "bad.npz" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_statistics_of_other_weights_are_refused(toys: dict[str, Any], tmp_path: Path) -> None:
    other = saved(
        tmp_path / "other.npz", toys["exported"], "mu", "sigma", "protocol", weights_sha256="0" * 64
    )
    with pytest.raises(InputError, match="was made with weights_sha256 0000"):
        row_of(toys, tmp_path / "out", reference=other)


def features(toys: dict[str, Any], out: Path, fake: str, real: str, **more: Any) -> Row:
    settings = {
        "checkpoints": [str(toys["folder"] / fake)],
        "reference": str(toys["folder"] / real),
    }
    return row_of(toys, out, **settings, reference_protocol=DECLARED, metrics="all", **more)


def test_features_have_the_scores_of_the_images_that_they_are_of(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    row, images = features(toys, tmp_path / "a", "fake.npz", "real.npz"), toys["row"]
    assert row["status"] == "scored"
    assert (row["extractor"], row["protocol"]) == ("precomputed", DECLARED)
    assert (row["reference_kind"], row["reference_is"]) == ("features", "sample")
    assert (row["n_generated"], row["n_reference"]) == (200, 100)
    for column, metric in METRICS.items():
        if metric.group == "memorisation":
            assert "--training" in row[f"{column}_reason"]
        elif metric.per_extractor and column != "reconstruction_fid":
            assert [row[c] for c in metric.columns] == [images[c] for c in metric.columns], column
        else:
            assert row[column] is None
            assert "set of features" in row[f"{column}_reason"]
    assert row["kid"] is not None
    bare = row_of(
        toys,
        tmp_path / "b",
        checkpoints=[str(toys["folder"] / "fake.npy")],
        reference=str(toys["folder"] / "real.npy"),
    )
    assert (bare["protocol"], bare["reference_protocol"]) == ("not declared", None)
    assert "how its features were made is not known" in bare["warnings"]
    assert (bare["fid"], bare["kid"]) == (row["fid"], row["kid"])
    assert '"inception_score": "no_class_probabilities"' in bare["reason_codes"]


def test_features_stand_beside_images(toys: dict[str, Any], tmp_path: Path) -> None:
    fake = str(toys["folder"] / "fake.npz")
    both = [toys["checkpoint"], fake]
    of_images = {**toys["images"], "checkpoints": both, "out": str(tmp_path / "a")}
    rows = rows_of(score(of_images))
    assert rows[fake]["fid"] == rows[toys["checkpoint"]]["fid"] == toys["row"]["fid"]
    assert rows[fake]["extractor"] == rows[toys["checkpoint"]]["extractor"]
    real = {"reference": str(toys["folder"] / "real.npz"), "reference_protocol": DECLARED}
    of_features = {**toys["settings"], "checkpoints": both, **real, "out": str(tmp_path / "b")}
    rows = rows_of(score(of_features))
    for row in rows.values():
        assert (row["fid"], row["kid"]) == (toys["row"]["fid"], toys["row"]["kid"])
    assert '"elbo": "no_reference_images"' in rows[toys["checkpoint"]]["reason_codes"]
    np.save(tmp_path / "narrow.npy", np.zeros((9, 3), np.float32))
    narrow = {
        **of_images,
        "checkpoints": [str(tmp_path / "narrow.npy")],
        "out": str(tmp_path / "c"),
    }
    (row,) = rows_of(score(narrow)).values()
    assert row["status"] == "failed"
    assert "is of features of 3 dimensions, but" in row["reason"]


def test_a_part_of_features_is_a_recorded_draw(toys: dict[str, Any], tmp_path: Path) -> None:
    drawing = {"samples": 50, "reference_samples": 60, "reference_subset": "random"}
    row = features(toys, tmp_path / "a", "fake.npy", "real.npy", **drawing)
    assert row["generated_subset"] == "random 50 of 200"
    assert row["reference_subset"] == "random 60 of 100"
    assert (row["n_generated"], row["n_reference"]) == (50, 60)


def test_probabilities_must_be_a_softmax(toys: dict[str, Any], tmp_path: Path) -> None:
    values = np.ones((6, 4), np.float32)
    np.savez(tmp_path / "logits.npz", features=values, probabilities=3 * values)
    settings = {"checkpoints": [str(tmp_path / "logits.npz")], "metrics": "fid"}
    row = row_of(toys, tmp_path / "out", **settings)
    assert row["status"] == "failed"
    assert "row 0 of probabilities sums to 12" in row["reason"]
    assert "save a softmax" in row["reason"]


@pytest.mark.parametrize("real", ["statistics", "real.npz"])
def test_a_damaged_reference_is_written_again(
    toys: dict[str, Any], tmp_path: Path, real: str
) -> None:
    more = {"reference_protocol": DECLARED, "reference": str(toys["folder"] / real)}
    whole = row_of(toys, tmp_path / "out", **({} if real == "statistics" else more))
    for file in (tmp_path / "out/reference").rglob("part-*"):
        if file.suffix in (".npz", ".parquet"):
            file.write_bytes(b"damaged")
    (tmp_path / "out/scores.parquet").unlink()
    again = row_of(toys, tmp_path / "out", **({} if real == "statistics" else more))
    assert (again["status"], again["fid"]) == ("scored", whole["fid"])
    before = files_of(tmp_path / "out")
    row_of(toys, tmp_path / "out", **({} if real == "statistics" else more))
    after = files_of(tmp_path / "out")
    assert {n for n in after if after[n] != before.get(n) and n.startswith("reference/")} == set()


def test_a_dry_run_against_statistics_computes_nothing(
    toys: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**toys["settings"], "out": str(tmp_path / "out")}
    found = dry_run(make_spec(settings), ignore)
    assert found.rows == 1
    assert not (tmp_path / "out").exists()


def test_inspect_says_what_features_are(toys: dict[str, Any]) -> None:
    result = CliRunner().invoke(app, ["inspect", str(toys["folder"] / "fake.npz")])
    said = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.output
    assert "features 200 of" in said
    assert "no pixels it is a set of features, without images" in said
