"""The Ray executor keeps the serial twin's contract, bit for bit."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import support.runs.serial_runs as serial_runs
from support.models.deadly import IN_DRIVER, DeadlyCheckpoint, DeadlyStore, StuckCheckpoint
from support.stores import score_rows

from vae_batch.models.checkpoints import Checkpoint
from vae_batch.plan import make_spec
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.planning.run_plan import RunPlan
from vae_batch.run.progress.events import ignore

pytestmark = pytest.mark.usefixtures("ray_cluster")


def score(settings: dict[str, Any]) -> RunSummary:
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    spec = make_spec(settings)
    plan = prepare(spec, ignore)
    with RayExecutor(spec) as executor:
        return run(plan, executor, ignore)


def numbers(summary: RunSummary) -> list[dict[str, Any]]:
    return score_rows.numbers(summary.rows)


def test_two_workers_write_the_bits_of_one_process_and_a_bad_checkpoint_costs_its_row(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    """Every group of metrics, on several shards of everything."""
    (runs,) = toy_settings["checkpoints"]
    (tmp_path / "bad-0009.keras").write_bytes(b"no zip")
    settings = toy_settings | {
        "checkpoints": [f"{runs}/step-0001", f"{runs}/step-0003.keras", str(tmp_path / "bad*")],
        "training": "train",
        "training_samples": 120,
        "metrics": "all",
        "seed": 3,
        "beta": 2.5,
    }
    expected = numbers(serial_runs.score(settings))
    assert [row["status"] for row in expected] == ["scored", "scored", "failed"]
    assert "is a text file, not a model" in expected[2]["reason"]
    found = numbers(score(settings | {"workers": 2, "out": str(tmp_path / "ray")}))
    assert found[:2] == expected[:2]
    assert (found[2]["status"], found[2]["reason"]) == ("failed", expected[2]["reason"])


def score_with(plan: RunPlan) -> RunSummary:
    from vae_batch.run.execute.on_ray.executor import RayExecutor

    with RayExecutor(plan.spec) as executor:
        return run(plan, executor, ignore)


def replaced(plan: RunPlan, kind: type[Checkpoint]) -> RunPlan:
    """The plan with its first checkpoint as another kind."""
    first, *others = plan.rows
    checkpoint = kind(**vars(first.checkpoint))
    job = dataclasses.replace(first.job, checkpoint=checkpoint)
    return dataclasses.replace(plan, rows=(dataclasses.replace(first, job=job), *others))


@pytest.fixture
def in_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_DRIVER, "1")


@pytest.mark.long
@pytest.mark.slow
def test_workers_stay_within_an_outer_block(
    toy_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of other checkpoints, then its end; the rows are those of one process."""
    import ray

    from vae_batch.run.execute.on_ray import executor as ray_executor

    actors: list[Any] = []
    made = ray_executor.REMOTE_SHARD_ACTOR

    def options(**given: Any) -> Any:
        def remote() -> Any:
            actors.append(made.options(**given).remote())
            return actors[-1]

        return SimpleNamespace(remote=remote)

    monkeypatch.setattr(ray_executor, "REMOTE_SHARD_ACTOR", SimpleNamespace(options=options))
    (runs,) = toy_settings["checkpoints"]
    few = toy_settings | {"metrics": "losses,fid"}
    settings = few | {"workers": 2, "out": str(tmp_path / "ray")}
    with ray_executor.RayExecutor(make_spec(settings)) as executor:
        for name in ("step-0001", "step-0003.keras"):
            plan = prepare(make_spec(settings | {"checkpoints": [f"{runs}/{name}"]}), ignore)
            with executor:
                found = run(plan, executor, ignore)
    assert len(actors) == 2
    both = few | {"checkpoints": [f"{runs}/step-0001", f"{runs}/step-0003.keras"]}
    assert numbers(found)[-1:] == numbers(serial_runs.score(both))[-1:]
    for actor in actors:
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(actor.stuck.remote())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("in_driver")
def test_a_checkpoint_that_kills_its_worker_is_given_up(toy_settings: dict[str, Any]) -> None:
    """Ray alone would retry it for ever; the rest of the run goes on."""
    few = {"metrics": "losses,fid", "workers": 2}
    plan = prepare(make_spec(toy_settings | few), ignore)
    summary = score_with(replaced(plan, DeadlyCheckpoint))
    assert [row.status for row in summary.rows] == ["failed", "scored", "scored"]
    assert re.search(r"took \d+ workers down", summary.rows[0].reason.text)
    assert summary.rows[0].reason.code == "worker_lost"
    # Each of two workers may meet it once; then two deaths more are enough, or three at a time.
    assert 3 <= summary.faults["workers lost"] <= 5


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("in_driver")
def test_a_stuck_checkpoint_is_given_up_and_says_so(toy_settings: dict[str, Any]) -> None:
    settings = toy_settings | {"workers": 2, "shard_timeout": 600.0, "metrics": "losses,fid"}
    plan = prepare(make_spec(settings), ignore)
    summary = score_with(replaced(plan, StuckCheckpoint))
    assert [row.status for row in summary.rows] == ["failed", "scored", "scored"]
    reason = summary.rows[0].reason.text
    assert summary.rows[0].reason.code == "timeout"
    # A third time, unless it was beside another when the third one's time was over.
    assert re.search("took longer than shard_timeout, 600 s, [34] times", reason)
    assert 3 <= summary.faults["shards stuck"] <= 4  # the other worker may be in its own


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("in_driver")
def test_a_neighbour_in_flight_is_never_blamed(toy_settings: dict[str, Any]) -> None:
    """The second checkpoint's writes kill the worker that computes shards of the third beside."""
    settings = toy_settings | {"workers": 1, "shard_size": 16, "metrics": "losses,fid"}
    plan = prepare(make_spec(settings), ignore)
    stores = dataclasses.replace(plan.stores, out=DeadlyStore(plan.stores.out.root))
    summary = score_with(dataclasses.replace(plan, stores=stores))
    assert [row.status for row in summary.rows] == ["scored", "failed", "scored"]
    assert "losses" in summary.rows[1].reason.text
    assert re.search(r"took \d+ workers down", summary.rows[1].reason.text)
    assert summary.rows[1].reason.code == "worker_lost"
    assert summary.faults["workers lost"] >= 3
