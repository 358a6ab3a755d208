"""Nothing fails without a trace: a sentence, a traceback file, exit code 3, kept scores."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from support.models.deadly import IN_DRIVER, FailingStore
from support.runs.serial_runs import score
from typer.testing import CliRunner

from vae_batch.cli import app
from vae_batch.plan import make_spec
from vae_batch.run.execute import worker as shard_worker
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.failures import failure_of, write_traceback
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import Event, RowFailed, UnitFailed, ignore
from vae_batch.storage import Store, read_score_rows


def deep_key_error(*_: object) -> Any:
    return {}["missing statistic"]


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    return toy_settings | {"metrics": "losses,fid"}


def check_row(out: Path, row: Any) -> None:
    """The row of a checkpoint whose samples raised a KeyError; its losses are kept."""
    assert row.status == "failed"
    assert row.reason is not None
    assert (row.reason.code, row.reason.text) == ("unexpected", "KeyError: 'missing statistic'")
    assert row.value("elbo") is not None
    assert row.value("fid") is None
    assert row.traceback is not None
    assert row.traceback.startswith("tracebacks/")
    text = (out / row.traceback).read_text()
    assert "Traceback (most recent call last)" in text
    assert "KeyError: 'missing statistic'" in text


def test_a_key_error_in_a_stage_costs_its_scores_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    healthy = score(settings | {"out": settings["out"] + "-healthy"})
    generated = shard_worker.activations_of_generated

    def fails_for_one(config: Any, vae: Any, extractor: Any, shard: Any) -> Any:
        if "step-0002" in shard.unit:
            return deep_key_error()
        return generated(config, vae, extractor, shard)

    monkeypatch.setattr(shard_worker, "activations_of_generated", fails_for_one)
    events: list[Event] = []
    with caplog.at_level(logging.ERROR, "vae_batch"):
        summary = run(prepare(make_spec(settings), ignore), SerialExecutor(), events.append)
    assert [row.status for row in summary.rows] == ["scored", "failed", "scored"]
    row = summary.rows[1]
    check_row(Path(settings["out"]), row)
    assert row.value("elbo") == healthy.rows[1].value("elbo")
    (failed,) = [event for event in events if isinstance(event, RowFailed)]
    assert failed.traceback == row.traceback
    (unit,) = [event for event in events if isinstance(event, UnitFailed)]
    assert unit.unit.kind == "generated"
    assert any("deep_key_error" in str(record.exc_text or "") for record in caplog.records)
    # Failing again in the same way changes no table, so that no report is drawn again.
    table = Path(settings["out"], "scores.parquet")
    written = table.read_bytes()
    monkeypatch.setattr("vae_batch.run.scoring.row.now", lambda: "2030-01-01T00:00:00+00:00")
    run(prepare(make_spec(settings), ignore), SerialExecutor(), ignore)
    assert table.read_bytes() == written
    monkeypatch.undo()
    assert [row.status for row in score(settings).rows] == ["scored"] * 3


def test_the_command_ends_with_3_and_names_the_file(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_worker, "activations_of_generated", deep_key_error)
    words = ["score", settings["checkpoints"][0] + "/step-0001"]
    given = {k: v for k, v in settings.items() if k not in ("checkpoints", "extractors")}
    for name, value in (given | {"extractor": settings["extractors"][0]}).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3, result.output
    (row,) = read_score_rows(Store.open(settings["out"]))
    check_row(Path(settings["out"]), row)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_sends_its_traceback(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    monkeypatch.setenv(IN_DRIVER, "1")
    spec = make_spec(settings | {"workers": 1})
    plan = prepare(spec, ignore)
    stores = dataclasses.replace(plan.stores, out=FailingStore(plan.stores.out.root))
    plan = dataclasses.replace(plan, stores=stores)
    with RayExecutor(spec) as executor:
        summary = run(plan, executor, ignore)
    assert [row.status for row in summary.rows] == ["failed", "scored", "scored"]
    check_row(Path(settings["out"]), summary.rows[0])


def test_a_traceback_is_written_once_under_a_safe_name(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    try:
        deep_key_error()
    except KeyError as error:
        failure = failure_of(error)
    label = "s3://bucket/runs a/step-1.keras?endpoint_override=secret"
    names = {write_traceback(store, label, failure.traceback) for _ in range(2)}
    (name,) = names
    assert (tmp_path / name).read_text() == failure.traceback
    assert "secret" not in name
    assert Path(name).name.startswith("s3_bucket_runs_a_step-1.keras-")
