"""What a real run tells the simulated cluster, and what is predicted from it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.runs.serial_runs import settings_of

from vae_batch.evaluation import evaluate
from vae_batch.plan import Unit, make_spec
from vae_batch.run.cost.cost_file import LightCost, RunCost, ShardCost
from vae_batch.run.output.run_record import RecordedRow
from vae_batch.run.progress.display import Silent

JOBS = Path(__file__).parents[2] / "jobs"
sys.path.insert(0, str(JOBS))

from cluster_calibration import Calibration, calibration_of, split_first, workload_of  # noqa: E402
from cluster_model import REFERENCE, Cluster, SimulatedTask, Workload  # noqa: E402
from cluster_prediction import (  # noqa: E402
    FURTHER_CHECKPOINT,
    Spread,
    machine_cluster,
    predict,
    with_losses,
    without_contention,
)
from cluster_simulation import simulate  # noqa: E402


def test_a_unit_tells_what_its_first_shard_took_more() -> None:
    """10 rows at 0.2 s a row are 2 s, of which the first took 5: 3 s more."""
    warm, more = split_first([(10, 5.0), (10, 2.0), (5, 1.0), (10, 2.4)])
    assert warm == pytest.approx([2.0, 2.0, 1.0, 2.4])
    assert more == pytest.approx(3.0)
    assert split_first([(10, 5.0)]) == ([5.0], 0.0)
    assert split_first([(10, 1.0), (10, 2.0)]) == ([1.0, 2.0], 0.0)


def unit(kind: Any, name: str | None, samples: int) -> Unit:
    return Unit(f"{kind}/{name}", kind, "f", samples, 10, name, "e" if kind != "losses" else None)


def recorded(name: str) -> RecordedRow:
    units = {
        "reference": unit("reference", None, 20),
        "description": Unit(f"description/{name}", "description", "f", 1, 1, name),
        "generated": unit("generated", name, 30),
    }
    return RecordedRow(name, "e", "f", units)


def measured_run(workers: int = 1, cores: int = 2) -> Calibration:
    """Three checkpoints: shards of 1 s, loading 2 s, 0.5 s more for each first generated shard.

    The first shard of all takes 7 s more, the first load 4 s and the first generated shard 3 s.
    """
    seconds = {("reference/None", 0): 8.0, ("reference/None", 10): 1.0}
    for number, name in enumerate("abc"):
        late = number == 0
        seconds |= {
            (f"description/{name}", 0): 2.0 + 4.0 * late,
            (f"generated/{name}", 0): 1.5 + 3.0 * late,
            (f"generated/{name}", 10): 1.0,
            (f"generated/{name}", 20): 1.0,
        }
    total = sum(seconds.values())
    cost = RunCost(
        at="",
        devices="",
        workers=workers,
        cores=cores,
        phases={"plan": 3.0, "start": 5.0, "work": 60.0, "compare": 1.0, "report": 2.0},
        first_end=14.0,
        first_seconds=8.0,
        last_end=14.0 + (total - 8.0) + 13 * 0.1,
        shards=(ShardCost("generated", "e", "cpu", len(seconds), 1, 1, total),),
        light=(LightCost("reduce_unit", 4, 2.0), LightCost("score_row", 3, 9.0)),
        planned_seconds=None,
        planned_size=0.0,
    )
    return calibration_of([recorded(name) for name in "abc"], seconds, cost)


def test_calibration_separates_loading_from_work() -> None:
    found = measured_run()
    assert found.warm_up == pytest.approx(7 + 4 + 3)
    assert found.loads == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert found.first["generated"] == pytest.approx(0.5)
    assert found.seconds["generated/a", 0] == pytest.approx(1.0)
    assert (found.reduction, found.score) == (0.5, 3.0)
    assert (found.boot, found.starting, found.planning, found.after) == (6.0, 5.0, 3.0, 3.0)
    assert found.between == pytest.approx(0.1 * 13 / 13)


def test_the_measured_run_is_predicted_from_itself() -> None:
    """Without light tasks and gaps, one worker takes what its receipts say."""
    bare = dataclasses.replace(measured_run(), between=0.0, reduction=0.0, score=0.0, boot=0.0)
    workload = workload_of(bare, 3)
    found = simulate(workload, Cluster(1))
    assert found.seconds == pytest.approx(bare.measured_busy)
    # Twice the checkpoints: three more loads and first shards, and no second warm-up.
    twice = simulate(workload_of(bare, 6), Cluster(1))
    assert twice.seconds - found.seconds == pytest.approx(3 * (2 + 1.5 + 1 + 1))
    prediction = predict(bare, workload, Cluster(1), 6)
    around = 5 + 3 + 3 + 3 * FURTHER_CHECKPOINT
    assert prediction.makespan == pytest.approx(bare.measured_busy + around)


def test_shards_are_listed_checkpoint_by_checkpoint() -> None:
    workload = workload_of(measured_run(), 2)
    kinds = [(task.checkpoint, task.kind) for task in workload.tasks]
    first, second = (0, "generated"), (1, "generated")
    reference, described = (REFERENCE, "reference"), "description"
    assert kinds == [
        *(reference, reference),
        *((0, described), first, first, first),
        *((1, described), second, second, second),
    ]
    assert len(workload.reductions) == 3
    assert [len(units) for units, _ in workload.rows] == [3, 3]


def test_contention_is_taken_out_of_what_was_measured() -> None:
    """The cleaned calibration, simulated as the run was, is as busy as the run."""
    measured = measured_run()
    clean = without_contention(measured, parallel=1.0)
    assert sum(clean.seconds.values()) < sum(measured.seconds.values())
    cluster = machine_cluster(clean, 1, 2, 1.0)
    again = simulate(workload_of(clean, 3), cluster)
    assert again.busy == pytest.approx(measured.measured_busy, rel=0.02)
    assert again.light_busy == pytest.approx(measured.light_busy, rel=0.05)
    assert without_contention(measured_run(workers=0), 1.0).seconds == measured.seconds


def test_workers_of_a_machine_are_those_of_the_engine() -> None:
    """Of 2 cores, one worker has 2 threads, two and four have one each."""
    found = [machine_cluster(measured_run(), workers, 2, 1.0) for workers in (1, 2, 4)]
    assert [(c.threads, c.measured_threads, c.light_slots) for c in found] == [
        *((2, 2, 1), (1, 2, 1), (1, 2, 1)),
    ]


def test_losses_are_told_with_their_spread() -> None:
    """Linear between neighbours: of 0 to 10, 5 % is 0.5."""
    assert Spread.of(list(range(11))) == Spread(5.0, 0.5, 9.5)
    shards = [SimulatedTask(REFERENCE, "reference", 0, 1.0)] * 50
    workload, cluster = Workload(shards), Cluster(2, losses_an_hour=200.0, replacement=5.0)
    found = predict(measured_run(), workload, cluster, 3)
    lossy = with_losses(found, workload, cluster, range(9))
    assert found.losses is None
    assert lossy.work == found.work == pytest.approx(25)
    assert lossy.longer is not None
    assert 0 <= lossy.longer.low <= lossy.longer.median <= lossy.longer.high


def test_a_real_run_is_replayed(toy_folder: Path, tmp_path: Path) -> None:
    """From its own receipts and cost: more workers are not slower, and all is in the file."""
    given = settings_of([str(toy_folder / "runs")], toy_folder / "classifier.keras", tmp_path / "o")
    summary = evaluate(make_spec(given), Silent()).summary
    assert summary.cost is not None
    words = ["--workers", "1,2,1000", "--checkpoints", "30", "--losses-per-hour", "60"]
    words += ["--repeats", "3", "--json", str(tmp_path / "cluster.json")]
    command = [sys.executable, str(JOBS / "simulate_cluster.py"), str(tmp_path / "o"), *words]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "1,000" in printed
    table = json.loads((tmp_path / "cluster.json").read_text())
    rows = {row["workers"]: row for row in table["rows"]}
    assert rows[1]["makespan"] > rows[2]["makespan"] > rows[1000]["makespan"]
    assert rows[1]["idle_share"] < rows[1000]["idle_share"] < 1
    assert table["calibration"]["shard_seconds_as_measured"] < summary.cost.worker_seconds
    assert table["settings"]["checkpoints"] == 30
