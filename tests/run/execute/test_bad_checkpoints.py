"""Bad and hostile files among healthy ones: each costs its row and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.autoencoder.saved_vaes import save_vae
from models.formats import hostile_files
from models.formats.saved_kinds import saved_kinds
from support.models.broken_checkpoints import BROKEN
from support.runs.serial_runs import TimedExecutor, rows_of, score, settings_of
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.plan import make_spec
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore

#: Hostile files by name, with what their reasons say.
HOSTILE = {
    "code.keras": "layer 'innocent' is a Python Lambda, whose code would be run",
    "giant.keras": "111.8 GiB of weights or more, but the file holds 256 bytes",
    "bomb.keras": "is a zip bomb",
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models.toy_models import save_classifier

    path = tmp_path_factory.mktemp("bad") / "extractor.keras"
    save_classifier(path)
    return path


def save_hostile(folder: Path, marker: Path) -> None:
    hostile_files.malicious_lambda(folder / "code.keras", marker)
    hostile_files.huge_weight(folder / "giant.keras")
    hostile_files.zip_bomb(folder / "bomb.keras", size=1 << 28)


def healthy(folder: Path) -> list[str]:
    """Six of different kinds; the paths by which they are scored."""
    saved = saved_kinds()
    names = {
        "zip.keras": saved["keras_single"].path,
        "old.h5": saved["tf_keras_ops"].path,
        "older.keras": saved["tf_keras_zip_ops"].path,
        "graph": saved["saved_model"].path,
        "pair": saved["h5_pair"].path,
        "half": save_vae("decoder_alone", folder.parent).path,
    }
    for name, path in names.items():
        copy = shutil.copytree if Path(path).is_dir() else shutil.copy
        copy(path, folder / name)
    return [str(folder / name) for name in names]


@pytest.mark.usefixtures("no_report")
def test_a_mixed_folder_of_twelve(classifier: Path, tmp_path: Path) -> None:
    """Through the command: six are scored, six fail with a sentence, and the exit code is 3."""
    folder, marker = tmp_path / "runs", tmp_path / "ran"
    folder.mkdir()
    good = healthy(folder)
    save_hostile(folder, marker)
    for name in ("pointer.keras", "page.h5", "cut.keras"):
        BROKEN[name][0](folder / name)
    words = ["score", str(folder), "--json"]
    for name, value in settings_of([], classifier, tmp_path / "out").items():
        if name != "checkpoints":
            given = value[0] if isinstance(value, list) else str(value)
            words += [f"--{name.replace('_', '-').replace('extractors', 'extractor')}", given]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.stderr
    rows = {row["checkpoint"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 12
    assert {label for label, row in rows.items() if row["status"] == "scored"} == set(good)
    whole = [rows[label] for label in good[:-1]]
    for row in whole:
        np.testing.assert_allclose(row["elbo"], whole[0]["elbo"], rtol=1e-6)
    assert rows[good[-1]]["elbo"] is None
    np.testing.assert_allclose([rows[label]["fid"] for label in good], whole[0]["fid"], rtol=1e-6)
    for name, words_of_reason in HOSTILE.items():
        assert words_of_reason in rows[str(folder / name)]["reason"]
    for name in ("pointer.keras", "page.h5", "cut.keras"):
        for part in BROKEN[name][1]:
            assert part in rows[str(folder / name)]["reason"]
            assert part in result.stderr
    assert not marker.exists()


def test_every_sort_of_file_that_is_no_vae(classifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name, (make, _) in BROKEN.items():
        make(folder / name)
    rows = rows_of(score(settings_of([str(folder)], classifier, tmp_path / "out")))
    assert set(rows) == {str(folder / name) for name in BROKEN}
    for name, (_, words) in BROKEN.items():
        row = rows[str(folder / name)]
        assert row["status"] == "failed"
        assert row["fid"] is None
        assert str(folder / name) in row["reason"] or name == "diverged.keras"
        for part in words:
            assert part in row["reason"]


def test_hostile_files_cost_seconds_and_one_row_each(classifier: Path, tmp_path: Path) -> None:
    folder, marker = tmp_path / "runs", tmp_path / "ran"
    folder.mkdir()
    save_hostile(folder, marker)
    hostile_files.huge_activation(folder / "copies.keras")
    hostile_files.hdf5_bomb(folder / "sparse.keras")
    executor = TimedExecutor()
    summary = score(settings_of([str(folder)], classifier, tmp_path / "out"), executor)
    reasons = {Path(row.checkpoint).name: row.reason.text for row in summary.rows}
    expected = {**HOSTILE, "copies.keras": "layer 'copies' makes 149", "sparse.keras": "90.95 TiB"}
    assert set(reasons) == set(expected)
    for name, words in expected.items():
        assert words in reasons[name]
    assert summary.failed == 5
    costs = {name: cost for name, cost in executor.seconds.items() if name != "None"}
    assert len(costs) == 5
    assert max(costs.values()) < 60
    assert not marker.exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_hostile_files_through_ray(classifier: Path, tmp_path: Path) -> None:
    """Workers stay alive: the healthy checkpoint beside them is scored."""
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    folder, marker = tmp_path / "runs", tmp_path / "ran"
    folder.mkdir()
    save_hostile(folder, marker)
    shutil.copy(saved_kinds()["keras_single"].path, folder / "zip.keras")
    settings: dict[str, Any] = settings_of([str(folder)], classifier, tmp_path / "out", workers=1)
    spec = make_spec(settings)
    plan = prepare(spec, ignore)
    with RayExecutor(spec) as executor:
        summary = run(plan, executor, ignore)
    rows = {Path(row.checkpoint).name: row for row in summary.rows}
    assert rows.pop("zip.keras").status == "scored"
    assert set(rows) == set(HOSTILE)
    for name, words in HOSTILE.items():
        assert rows[name].status == "failed"
        assert words in rows[name].reason.text
    assert not marker.exists()
