"""The Ray executor keeps the serial twin's contract, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from deadly import DeadlyCheckpoint

from vae_batch.plan import make_spec
from vae_batch.run.driver import RunSummary, prepare, run
from vae_batch.run.executor import SerialExecutor
from vae_batch.run.progress import Silent

pytestmark = pytest.mark.usefixtures("ray_cluster")


def score(settings: dict[str, Any]) -> RunSummary:
    from vae_batch.run.on_ray.executor import RayExecutor

    spec = make_spec(settings)
    plan = prepare(spec, Silent())
    with RayExecutor(spec) as executor:
        return run(plan, executor, Silent())


def numbers(summary: RunSummary) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "scored_at"} for row in summary.rows]


def test_one_process_one_worker_and_two_write_the_same_bits(toy_settings: dict[str, Any]) -> None:
    plan = prepare(make_spec(toy_settings), Silent())
    expected = numbers(run(plan, SerialExecutor(), Silent()))
    for workers in (1, 2):
        changes = {"workers": workers, "out": f"{toy_settings['out']}-{workers}"}
        assert numbers(score(toy_settings | changes)) == expected


def test_bad_checkpoints_cost_one_row(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad-0009.keras").write_bytes(b"no zip")
    checkpoints = [*toy_settings["checkpoints"], str(tmp_path / "bad-0009.keras")]
    summary = score(toy_settings | {"checkpoints": checkpoints, "workers": 2})
    assert [row["status"] for row in summary.rows] == ["scored"] * 3 + ["failed"]
    assert "is a text file, not a model" in summary.rows[3]["reason"]


@pytest.mark.slow
def test_a_shard_that_kills_its_worker_is_given_up(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray alone would retry it for ever; the rest of the run goes on."""
    from vae_batch.run.on_ray.executor import RayExecutor

    monkeypatch.setenv("VAE_BATCH_TEST_DRIVER", "1")
    spec = make_spec(toy_settings | {"workers": 1})
    plan = prepare(spec, Silent())
    first, *others = plan.rows
    deadly = DeadlyCheckpoint(**vars(first.checkpoint))
    subject = dataclasses.replace(first.subject, checkpoint=deadly)
    plan = dataclasses.replace(plan, rows=(dataclasses.replace(first, subject=subject), *others))
    with RayExecutor(spec) as executor:
        summary = run(plan, executor, Silent())
    assert [row["status"] for row in summary.rows] == ["failed", "scored", "scored"]
    assert "took their worker down 3 times" in summary.rows[0]["reason"]
