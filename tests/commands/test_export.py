"""``vae-batch export``: a real run, read back by the libraries it was written for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import typer
from support.runs.serial_runs import rows_of, score
from typer.testing import CliRunner, Result

import vae_batch
from vae_batch.commands.report import export
from vae_batch.report.labels import slugs
from vae_batch.run.progress.events import ignore


def call(*words: str) -> Result:
    app = typer.Typer()
    app.command()(export)
    return CliRunner().invoke(app, list(words))


def test_a_run_goes_to_both(
    toy_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs pip install '.[mlflow]'")
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs pip install '.[tensorboard]'",
    )
    from tensorboard.util.tensor_util import make_ndarray

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    results = vae_batch.score(toy_settings, metrics="losses,fid", progress=ignore)
    words = (results.out, "--tensorboard", str(tmp_path / "logs"))
    words += ("--mlflow", str(tmp_path / "mlruns"), "--experiment", "toys")
    tables = call(results.out, "--markdown", "--latex")
    assert tables.stdout.count("step-0003") == 2
    assert "\\toprule" in tables.stdout
    first = call(*words)
    assert first.exit_code == 0, first.stderr
    assert "9 pictures" in first.stderr
    assert "1 run created, 0 replaced, 0 kept in experiment toys" in first.stderr
    assert first.stdout == ""
    assert "0 runs created, 0 replaced, 1 kept" in call(*words).stderr
    (folder,) = (tmp_path / "logs").iterdir()
    events = accumulators.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    assert [event.step for event in events.Tensors("elbo")] == [1, 2, 3]
    shown = [make_ndarray(event.tensor_proto) for event in events.Tensors("elbo")]
    np.testing.assert_allclose(shown, list(results.table["elbo"]), rtol=1e-6)
    figures = list((tmp_path / "mlruns").rglob("artifacts/figures/samples-*.png"))
    assert len(figures) == 3


def test_statistics_give_the_fid_of_the_row(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    """By the formula that pytorch-fid evaluates; nothing but the files is read."""
    rows = rows_of(score({**toy_settings, "metrics": "fid"}))
    exported = call(toy_settings["out"], "--statistics", str(tmp_path / "statistics"))
    assert exported.exit_code == 0, exported.stderr
    assert "statistics: 4 files" in exported.stderr
    files = {path.stem: dict(np.load(path)) for path in (tmp_path / "statistics").iterdir()}
    names = slugs(rows)
    (extractor,) = slugs(row["extractor"] for row in rows.values()).values()
    real = files[f"reference-{extractor}"]
    for label, row in rows.items():
        fake = files[f"{names[label]}-{extractor}"]
        assert fake["mu"].dtype == fake["sigma"].dtype == np.float64
        assert fake["sigma"].shape == 2 * fake["mu"].shape
        assert (int(fake["n"]), int(real["n"])) == (150, 100)
        shift = fake["mu"] - real["mu"]
        # A feature that is constant in one of the sets adds nothing to the root's trace.
        varies = (np.diag(fake["sigma"]) > 0) & (np.diag(real["sigma"]) > 0)
        inside = np.ix_(varies, varies)
        root = scipy.linalg.sqrtm(fake["sigma"][inside] @ real["sigma"][inside])
        traces = np.trace(fake["sigma"]) + np.trace(real["sigma"]) - 2 * np.trace(root).real
        plain = shift @ shift + traces
        assert plain == pytest.approx(row["fid"], rel=1e-6)
        for name in ("protocol", "weights_sha256"):
            assert str(fake[name]) == str(real[name]) == row[name]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    nowhere = call(str(tmp_path))
    assert nowhere.exit_code == 2
    assert "--wandb DIR, --statistics FOLDER, --markdown or --latex" in nowhere.stderr
    nothing = call(str(tmp_path), "--tensorboard", str(tmp_path / "logs"))
    assert nothing.exit_code == 2
    assert "holds no scored rows" in nothing.stderr
    assert not (tmp_path / "logs").exists()
