"""What was computed before a failure stays in the row; the failure leaves its traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from support.runs.serial_runs import score, settings_of

from vae_batch.metrics.catalogue import METRICS
from vae_batch.run.execute import worker as shard_worker
from vae_batch.storage import Reason, ScoreRow, Store, read_score_rows

LOSSES = [column for column, metric in METRICS.items() if metric.group == "losses"]


def missing_key(*arguments: Any, **more: Any) -> NoReturn:
    raise KeyError("deep inside")


@pytest.fixture
def settings(toy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """One checkpoint; losses, latents, FID, Inception Score and KID."""
    checkpoint, classifier = toy_folder / "runs/step-0001", toy_folder / "classifier.keras"
    metrics = "losses,latents,fid,inception_score,kid"
    return settings_of([str(checkpoint)], classifier, tmp_path / "out", metrics=metrics, beta=1.0)


@pytest.fixture
def intact(settings: dict[str, Any], tmp_path: Path) -> ScoreRow:
    """The row of a run in which nothing fails."""
    (row,) = score(settings | {"out": str(tmp_path / "intact")}).rows
    assert row.status == "scored"
    return row


def row_in(settings: dict[str, Any]) -> ScoreRow:
    (row,) = read_score_rows(Store.open(settings["out"]))
    return row


def traceback_of(row: ScoreRow, settings: dict[str, Any]) -> str:
    assert row.traceback is not None
    return (Path(settings["out"]) / row.traceback).read_text()


def test_a_failed_stage_of_samples_leaves_the_losses(
    settings: dict[str, Any], intact: ScoreRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_worker, "activations_of_generated", missing_key)
    assert score(settings).failed == 1
    row = row_in(settings)
    assert row.status == "failed"
    assert row.reason == Reason("unexpected", "KeyError: 'deep inside'")
    assert 'raise KeyError("deep inside")' in traceback_of(row, settings)
    for column in (*LOSSES, "active_units", "mutual_information"):
        assert row.score(column) == intact.score(column), column
    assert row.value("elbo") is not None
    for column in ("fid", "fid_corrected", "inception_score", "kid"):
        assert row.score(column).reason == row.reason, column
    assert row.score("mse").reason == intact.score("mse").reason, "it was not requested"
    monkeypatch.undo()
    assert score(settings).failed == 0
    assert row_in(settings).scores == intact.scores, "the next run computes what is missing"


def test_a_checkpoint_that_cannot_be_loaded_has_one_reason_for_all(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.keras"
    bad.write_text("no model")
    score(settings | {"checkpoints": [str(bad)]})
    row = row_in(settings)
    assert row.reason is not None
    assert row.reason.code == "checkpoint_error"
    assert {row.score(column).reason for column in (*LOSSES, "fid", "kid")} == {row.reason}


@pytest.mark.parametrize(
    ("function", "lost"),
    [
        # Within a metric, between two metrics of a stage, and before the first one.
        ("samples.inception_score_of_splits", ("inception_score", "inception_score_corrected")),
        ("samples._corrected", ("fid_corrected", "fid_low", "fid_high")),
        ("samples.bias_dominated", ("fid_corrected", "fid_low", "fid_high")),
        ("manifolds._refuse_few_for_subsets", ("kid", "kid_subsets")),
        ("latents.standard_normals", ("mutual_information", "marginal_kl")),
    ],
)
def test_a_metric_that_raises_an_unforeseen_error_costs_no_other(
    function: str,
    lost: tuple[str, ...],
    settings: dict[str, Any],
    intact: ScoreRow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"vae_batch.run.scoring.{function}", missing_key)
    assert score(settings).failed == 1
    row = row_in(settings)
    assert row.reason == Reason("unexpected", "it cannot be scored: KeyError: 'deep inside'")
    assert "in missing_key" in traceback_of(row, settings)
    for column in lost:
        assert row.score(column).reason == Reason("unexpected", "KeyError: 'deep inside'"), column
    kept = {column for column, score in row.scores.items() if score == intact.score(column)}
    assert {*LOSSES, "mse", "fid", "active_units"} <= kept
    assert kept.isdisjoint(lost)
    assert ({"inception_score", "kid", "mutual_information"} - set(lost)) <= kept
    monkeypatch.undo()
    assert score(settings).failed == 0
    assert row_in(settings).scores == intact.scores
