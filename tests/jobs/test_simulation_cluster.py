"""The simulated cluster: closed forms, laws, and the replay of a real run."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Work, main, resized, simulate, work_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs.serial_runs import score, settings_of

from vae_batch.plan import Unit


def equal(count: int, seconds: float = 1.0) -> Work:
    """Shards of the reference alone."""
    return Work(((seconds,) * count,), (0.0,))


def of_checkpoints(*counts: int, loads: float = 0.0, warm_up: float = 0.0) -> Work:
    """No reference, and checkpoints with shards of 1 s."""
    shards = ((), *((1.0,) * count for count in counts))
    return Work(shards, (0.0, *[loads] * len(counts)), warm_up)


@pytest.mark.parametrize(
    ("shards", "workers", "seconds", "idle"),
    [
        (10, 1, 10.0, 0.0),
        (12, 4, 3.0, 0.0),
        (10, 4, 3.0, 1 / 6),  # 10 of 12 worker seconds
        (3, 8, 1.0, 5 / 8),
    ],
)
def test_equal_shards(shards: int, workers: int, seconds: float, idle: float) -> None:
    found = simulate(equal(shards), Cluster(workers))
    assert found.makespan == pytest.approx(seconds)
    assert found.idle_share == pytest.approx(idle)
    assert found.busy == pytest.approx(shards)


def test_workers_stay_with_a_checkpoint_and_load_it_once() -> None:
    together = simulate(of_checkpoints(2, 2, loads=5.0), Cluster(1))
    assert (together.makespan, together.loading) == (pytest.approx(14), pytest.approx(10))
    # Two workers have one checkpoint each; of a single one, both load it.
    each = simulate(of_checkpoints(2, 2, loads=5.0), Cluster(2))
    assert (each.makespan, each.loading) == (pytest.approx(7), pytest.approx(10))
    both = simulate(of_checkpoints(2, loads=5.0), Cluster(2))
    assert (both.makespan, both.loading) == (pytest.approx(6), pytest.approx(10))


def test_a_worker_that_has_finished_helps_where_most_is_left() -> None:
    """Checkpoints of 1, 4 and 9 shards: the first two workers end with the third's shards."""
    found = simulate(of_checkpoints(1, 4, 9), Cluster(3))
    assert found.makespan == pytest.approx(5)


def test_workers_warm_up_once() -> None:
    assert simulate(of_checkpoints(3, warm_up=2.0), Cluster(1)).makespan == pytest.approx(2 + 3)


def test_a_faster_device_shortens_shards_and_not_what_is_loaded() -> None:
    work = resized(of_checkpoints(4, loads=3.0), checkpoints=1, speedup=4.0)
    assert simulate(work, Cluster(1)).makespan == pytest.approx(3 + 4 / 4)
    assert resized(work, checkpoints=3, speedup=1.0).count == 12


def test_losses_are_those_of_their_seed_and_rate() -> None:
    """A worker that is lost once in 10 s on average: 400 worker seconds of life lose about 40."""
    cluster = Cluster(4, losses_per_hour=360.0, replacement=3.0)
    work = equal(400)
    found = [simulate(work, cluster, seed) for seed in range(20)]
    assert found == [simulate(work, cluster, seed) for seed in range(20)]
    assert len({run.makespan for run in found}) == 20
    lives = sum(run.busy for run in found) / 10
    assert sum(run.losses for run in found) == pytest.approx(lives, rel=0.15)
    for run in found:
        # A loss costs a part of a shard of 1 s; all 400 are computed.
        assert 0 < run.recomputed < run.losses
        assert run.busy == pytest.approx(400 + run.recomputed)
        assert run.makespan > 100
    without = simulate(work, dataclasses.replace(cluster, losses_per_hour=0.0), 3)
    assert (without.losses, without.recomputed, without.makespan) == (0, 0.0, pytest.approx(100))


def test_a_lost_worker_loads_again_what_it_had() -> None:
    """The shard that it was lost with is computed again, 7 s later, after warm-up and loading."""
    work = of_checkpoints(2, loads=5.0, warm_up=2.0)
    cluster = Cluster(1, losses_per_hour=36.0, replacement=7.0)
    seeds = (seed for seed in range(2000) if simulate(work, cluster, seed).losses == 1)
    found = simulate(work, cluster, next(seeds))
    assert found.makespan == pytest.approx(found.busy + 7)
    assert 7 < found.loading <= 14


def test_an_idle_worker_takes_the_shard_of_a_lost_one() -> None:
    """Two workers and one shard: whoever is lost with it, the other computes it at once."""
    cluster = Cluster(2, losses_per_hour=360.0, replacement=1000.0)
    found = [simulate(equal(1, 5.0), cluster, seed) for seed in range(50)]
    taken = [run for run in found if run.recomputed and run.losses == 1]
    assert taken
    for run in taken:
        assert run.makespan == pytest.approx(run.recomputed + 5)


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.lists(st.floats(0.01, 20), min_size=1, max_size=40),
    workers=st.integers(1, 9),
)
def test_laws(seconds: list[float], workers: int) -> None:
    shards = tuple(tuple(seconds[place::3]) for place in range(3))
    found = simulate(Work(shards, (0.0,) * 3), Cluster(workers))
    total = sum(seconds)
    assert found.makespan >= max(max(seconds), total / workers) - 1e-6 * total
    assert found.makespan <= total * (1 + 1e-6)
    assert -1e-9 <= found.idle_share < 1


def test_more_workers_and_fewer_shards_are_never_slower() -> None:
    took = [simulate(equal(60), Cluster(k)).makespan for k in range(1, 30)]
    assert all(more <= fewer + 1e-9 for fewer, more in pairwise(took))
    counts = [simulate(equal(n), Cluster(7)).makespan for n in range(1, 60)]
    assert all(less <= more + 1e-9 for less, more in pairwise(counts))


def unit(kind: Any, checkpoint: str | None, samples: int) -> Unit:
    return Unit(f"{kind}/{checkpoint}", kind, "f", samples, 10, checkpoint)


def test_loading_is_separated_from_computing() -> None:
    """Three checkpoints: shards of 1 s, loading 2 s, 0.5 s more for each first generated shard.

    The first shard of all takes 7 s more, the first load 4 s and the first generated shard 3 s.
    """
    measured: dict[Unit, list[float]] = {unit("reference", None, 20): [8.0, 1.0]}
    for place, name in enumerate("abc"):
        late = place == 0
        measured[Unit(f"description/{name}", "description", "f", 1, 1, name)] = [2.0 + 4.0 * late]
        measured[unit("generated", name, 25)] = [1.5 + 3.0 * late, 1.0, 0.5]
    work = work_of(measured)
    assert work.shards == ((1.0, 1.0), *[(0.0, 1.0, 1.0, 0.5)] * 3)
    assert work.loads == (0.0, 2.5, 2.5, 2.5)
    assert work.warm_up == pytest.approx(7 + 4 + 3)
    # One worker takes what the receipts say.
    total = sum(map(sum, measured.values()))
    assert simulate(work, Cluster(1)).makespan == pytest.approx(total)


def test_a_real_run_is_replayed(toy_folder: Path, tmp_path: Path) -> None:
    score(settings_of([str(toy_folder / "runs")], toy_folder / "classifier.keras", tmp_path / "o"))
    main(
        str(tmp_path / "o"),
        workers="1,2,1000",
        checkpoints=30,
        losses_per_hour=60,
        json_path=tmp_path / "cluster.json",
    )
    rows = {row["workers"]: row for row in json.loads((tmp_path / "cluster.json").read_text())}
    calm = [rows[count]["makespan_without_losses"] for count in (1, 2, 1000)]
    assert calm == sorted(calm, reverse=True)
    assert rows[1]["makespan"] >= calm[0]
    assert 0 <= rows[1]["idle_share"] < rows[1000]["idle_share"] < 1
