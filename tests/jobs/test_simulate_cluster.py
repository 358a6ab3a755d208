"""The simulated cluster: closed forms and laws."""

from __future__ import annotations

import dataclasses
import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

JOBS = Path(__file__).parents[2] / "jobs"
sys.path.insert(0, str(JOBS))

from cluster_model import REFERENCE, Cluster, SimulatedTask, Workload  # noqa: E402
from cluster_simulation import simulate  # noqa: E402


def equal(count: int, seconds: float = 1.0) -> Workload:
    """So many shards of one reference unit."""
    return Workload([SimulatedTask(REFERENCE, "reference", 0, seconds)] * count)


def of_checkpoints(*order: int, loads: float = 0.0, warm_up: float = 0.0) -> Workload:
    """Shards of 1 s, of checkpoints in this order; each checkpoint is one unit."""
    tasks = [SimulatedTask(n, "losses", n, 1.0) for n in order]
    return Workload(tasks, dict.fromkeys(order, loads), warm_up)


@pytest.mark.parametrize(
    ("shards", "workers", "seconds", "idle"),
    [
        (10, 1, 10.0, 0.0),
        (12, 4, 3.0, 0.0),
        (10, 4, 3.0, 1 / 6),  # 10 of 12 worker seconds
        (3, 8, 1.0, 0.0),  # no more workers than shards are started
    ],
)
def test_equal_shards(shards: int, workers: int, seconds: float, idle: float) -> None:
    found = simulate(equal(shards), Cluster(workers))
    assert found.seconds == found.shards_end == pytest.approx(seconds)
    assert found.idle_share == pytest.approx(idle)
    assert found.busy == pytest.approx(shards)


def test_shards_in_hand_stay_with_their_worker() -> None:
    """Six shards are three for each of two workers: the long one's neighbours wait behind it."""
    tasks = [SimulatedTask(REFERENCE, "reference", 0, s) for s in (10.0, 1.0, 1.0, 1.0, 1.0, 1.0)]
    found = simulate(Workload(tasks), Cluster(2))
    assert found.seconds == pytest.approx(12)
    assert found.idle_share == pytest.approx(1 - 15 / 24)


def test_workers_share_cores() -> None:
    """Four workers of one thread on two cores run at half speed: 8 core seconds take 4."""
    found = simulate(equal(8), Cluster(4, cores=2))
    assert found.seconds == pytest.approx(4)
    assert found.busy == pytest.approx(16)  # each shard takes 2 s
    assert simulate(equal(8), Cluster(2, cores=2)).seconds == pytest.approx(4)
    assert simulate(equal(8), Cluster(1, cores=2)).seconds == pytest.approx(8)


def test_threads_shorten_the_parallel_share() -> None:
    """Measured with 2 threads: of 1 s, 0.6 is divided among them, so one thread takes 1.6 s."""
    with_one = Cluster(1, cores=2, threads=1, measured_threads=2, parallel=0.6)
    assert simulate(equal(5), with_one).seconds == pytest.approx(8)
    # With two, the same 1.6 core seconds are done in 1 s.
    with_two = dataclasses.replace(with_one, threads=2)
    assert with_two.computing(1.0) == pytest.approx((1.0, 1.6))
    assert simulate(equal(5), with_two).seconds == pytest.approx(5)


def test_a_light_task_takes_its_core_from_the_shards() -> None:
    """A shard of 2 threads and a light task want 3 of 2 cores, so both run at 2/3.

    The first unit ends at 1 s. Its reduction of 1 s then takes 1.5 s, until 2.5; of the second
    shard 1 s of 2 is done by then, and the other second runs alone: 3.5 s.
    """
    tasks = [
        SimulatedTask(REFERENCE, "reference", 0, 1.0),
        SimulatedTask(REFERENCE, "reference", 1, 2.0),
    ]
    workload = Workload(tasks, reductions={0: 1.0})
    cluster = Cluster(1, cores=2, threads=2, measured_threads=2)
    found = simulate(workload, cluster)
    assert found.seconds == pytest.approx(3.5)
    assert found.light_busy == pytest.approx(1.5)


def test_a_row_is_scored_when_its_units_are_reduced() -> None:
    """Shards end at 1 s; two reductions of 2 s in one slot at 5 s, the score of 3 s at 8 s."""
    tasks = [SimulatedTask(0, "generated", 0, 1.0), SimulatedTask(0, "reconstructed", 1, 1.0)]
    workload = Workload(tasks, reductions={0: 2.0, 1: 2.0}, rows=[(frozenset({0, 1}), 3.0)])
    assert simulate(workload, Cluster(2)).seconds == pytest.approx(8)
    assert simulate(workload, Cluster(2, light_slots=2)).seconds == pytest.approx(6)


def test_workers_stay_with_a_checkpoint_and_load_it_once() -> None:
    together = simulate(of_checkpoints(0, 0, 1, 1, loads=5.0), Cluster(1))
    assert (together.seconds, together.loading) == (pytest.approx(14), pytest.approx(10))
    mixed = simulate(of_checkpoints(0, 1, 2, 0, loads=5.0), Cluster(1))
    assert mixed.loading == pytest.approx(15)
    # Two workers have a checkpoint each; where there is one alone, both load it.
    each = simulate(of_checkpoints(0, 0, 1, 1, loads=5.0), Cluster(2))
    assert (each.seconds, each.loading) == (pytest.approx(7), pytest.approx(10))
    both = simulate(of_checkpoints(0, 0, loads=5.0), Cluster(2))
    assert (both.seconds, both.loading) == (pytest.approx(6), pytest.approx(10))


def test_workers_start_and_warm_up() -> None:
    """Booting takes 4 s, then 2 s once, then a shard a second."""
    found = simulate(of_checkpoints(0, 0, 0, warm_up=2.0), Cluster(1, boot=4.0))
    assert found.seconds == pytest.approx(4 + 2 + 3)
    assert found.idle_share == pytest.approx(4 / 9)
    # Of four that start on two cores, the half that is no waiting takes twice as long.
    assert simulate(equal(4, 0.0), Cluster(4, cores=2, boot=4.0)).seconds == pytest.approx(2 + 4)


def test_a_driver_hands_out_no_faster_than_it_can() -> None:
    """0.1 s for each of 100 shards: the last one is begun at 10 s, however many workers wait."""
    found = simulate(equal(100, 0.5), Cluster(1000, dispatch=0.1))
    assert found.seconds == pytest.approx(10.5)
    assert found.idle_share == pytest.approx(1 - 50 / (100 * 10.5))


def test_a_faster_device_shortens_shards_and_not_what_is_loaded() -> None:
    workload = of_checkpoints(0, 0, 0, 0, loads=3.0)
    assert simulate(workload, Cluster(1, speedup=4.0)).seconds == pytest.approx(3 + 4 / 4)


def test_devices_need_no_core_and_loading_does() -> None:
    """Four workers, each of two shards on a device of its own, load for 3 s on two cores in 6 s."""
    cluster = Cluster(4, cores=2, has_device=True)
    assert simulate(equal(8), cluster).seconds == pytest.approx(2)
    workload = of_checkpoints(*[0] * 8, loads=3.0)
    assert simulate(workload, cluster).seconds == pytest.approx(6 + 2)
    waiting = dataclasses.replace(cluster, loading_cores=0.0)
    assert simulate(workload, waiting).seconds == pytest.approx(3 + 2)


def test_losses_are_those_of_their_seed_and_rate() -> None:
    """A worker that is lost once in 10 s on average: 400 worker seconds of life lose about 40."""
    cluster = Cluster(4, losses_an_hour=360.0, replacement=3.0, boot=1.0)
    workload = equal(400)
    found = [simulate(workload, cluster, seed) for seed in range(20)]
    assert found == [simulate(workload, cluster, seed) for seed in range(20)]
    assert len({run.seconds for run in found}) == 20
    lives = sum(run.busy for run in found) / 10
    assert sum(run.losses for run in found) == pytest.approx(lives, rel=0.15)
    for run in found:
        # What is lost is part of a shard of 1 s; all 400 are done all the same.
        assert 0 < run.recomputed < run.losses
        assert run.busy == pytest.approx(400 + run.recomputed)
        assert run.seconds > 101
    without = simulate(workload, dataclasses.replace(cluster, losses_an_hour=0.0), 3)
    assert (without.losses, without.recomputed, without.seconds) == (0, 0.0, pytest.approx(101))


def test_a_lost_worker_loads_again_what_it_had() -> None:
    """The shard that it was lost with begins anew, 7 s later, with warm-up and load before it."""
    workload = of_checkpoints(0, 0, loads=5.0, warm_up=2.0)
    cluster = Cluster(1, losses_an_hour=3600 / 100, replacement=7.0)
    seed = next(seed for seed in range(2000) if simulate(workload, cluster, seed).losses == 1)
    found = simulate(workload, cluster, seed)
    assert found.loading == pytest.approx(14)
    assert found.seconds == pytest.approx(found.busy + 7)


def test_cores_and_devices_agree_where_nobody_waits() -> None:
    workload = of_checkpoints(*(n // 7 for n in range(63)), loads=2.0, warm_up=3.0)
    apart = simulate(workload, Cluster(5, boot=1.0, dispatch=0.01, between=0.02))
    shared = simulate(workload, Cluster(5, cores=500, boot=1.0, dispatch=0.01, between=0.02))
    for name in ("seconds", "busy", "loading", "idle_share"):
        assert getattr(apart, name) == pytest.approx(getattr(shared, name))


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.lists(st.floats(0.01, 20), min_size=1, max_size=40),
    workers=st.integers(1, 9),
    cores=st.sampled_from([1.0, 2.0, 4.0, math.inf]),
)
def test_laws(seconds: list[float], workers: int, cores: float) -> None:
    tasks = [SimulatedTask(n % 3, "losses", n, s) for n, s in enumerate(seconds)]
    found = simulate(Workload(tasks), Cluster(workers, cores=cores))
    total = sum(seconds)
    close = 1e-6 * total
    assert found.seconds >= max(seconds) - close
    assert found.seconds >= total / min(workers, cores) - close
    assert found.seconds <= total + close
    assert -1e-9 <= found.idle_share < 1


@pytest.mark.parametrize("cores", [2.0, math.inf])
def test_more_workers_and_fewer_shards_are_never_slower(cores: float) -> None:
    took = [simulate(equal(60), Cluster(k, cores=cores)).seconds for k in range(1, 30)]
    assert all(more <= fewer + 1e-9 for fewer, more in pairwise(took))
    counts = [simulate(equal(n), Cluster(7, cores=cores)).seconds for n in range(1, 60)]
    assert all(less <= more + 1e-9 for less, more in pairwise(counts))
