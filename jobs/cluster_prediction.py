"""From a calibration to predictions: makespan, idle share, and what losses cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster_calibration import Calibration, workload_of
from cluster_model import Cluster, Workload
from cluster_simulation import simulate

#: Seconds of the driver for each shard that Ray Data hands out, measured on one machine.
DISPATCH = 0.006

#: What planning, comparing and drawing take more for each checkpoint more: 2 + 6 + 41 s of CPU at a
#: thousand (``benchmark_scale.py``).
FURTHER_CHECKPOINT = 0.05

#: Rounds in which the contention of the measured run is taken out of its seconds.
_ROUNDS = 6


@dataclass(frozen=True)
class Spread:
    """Median and range of what repeats gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """With the 5th and 95th percentile, linear between neighbours."""
        ordered = sorted(values)
        return cls(*(_quantile(ordered, share) for share in (0.5, 0.05, 0.95)))


@dataclass(frozen=True)
class Prediction:
    """One number of workers; times in seconds.

    Attributes:
      workers: Their number.
      makespan: From planning to the report's end.
      work: From the first hand-out to the last score.
      idle_share: Of the workers' time until the last shard's end.
      loading_share: Of it, spent on imports, checkpoints and compilation.
      light_tail: From the last shard's end to the last score.
      losses: Workers lost; the median of the repeats, like what follows.
      recomputed: Worker seconds spent on shards that were lost.
      longer: What losses add to the makespan.
    """

    workers: int
    makespan: float
    work: float
    idle_share: float
    loading_share: float
    light_tail: float
    losses: Spread | None = None
    recomputed: Spread | None = None
    longer: Spread | None = None


def predict(
    calibration: Calibration, workload: Workload, cluster: Cluster, checkpoints: int
) -> Prediction:
    """What a run on a cluster that loses nobody takes."""
    found = simulate(workload, dataclasses.replace(cluster, losses_an_hour=0.0))
    more = max(0, checkpoints - len(calibration.checkpoints))
    around = calibration.starting + calibration.planning + calibration.after
    around += more * FURTHER_CHECKPOINT
    time = min(cluster.workers, len(workload.tasks)) * found.shards_end
    return Prediction(
        workers=cluster.workers,
        makespan=around + found.seconds,
        work=found.seconds,
        idle_share=found.idle_share,
        loading_share=found.loading / time if time else 0.0,
        light_tail=found.seconds - found.shards_end,
    )


def with_losses(
    found: Prediction, workload: Workload, cluster: Cluster, seeds: Sequence[int]
) -> Prediction:
    """The same with what losses cost, over some seeds."""
    runs = [simulate(workload, cluster, seed) for seed in seeds]
    return dataclasses.replace(
        found,
        losses=Spread.of([run.losses for run in runs]),
        recomputed=Spread.of([run.recomputed for run in runs]),
        longer=Spread.of([run.seconds - found.work for run in runs]),
    )


def device_cluster(calibration: Calibration, workers: int, slots: float) -> Cluster:
    """Workers that are devices of their own, each as the measured one, with light slots beside."""
    return Cluster(
        workers=workers,
        boot=calibration.boot,
        dispatch=DISPATCH,
        between=calibration.between,
        light_slots=max(1, int(slots * workers)),
    )


def machine_cluster(
    calibration: Calibration,
    workers: int,
    cores: int,
    parallel: float,
    *,
    has_device: bool = False,
    loading_cores: float = 1.0,
) -> Cluster:
    """Workers of one machine, its cores shared as the engine does (``run/on_ray/pool.py``)."""
    then = calibration.cores or cores
    return Cluster(
        workers=workers,
        cores=cores,
        threads=max(1, cores // workers),
        measured_threads=max(1, then // calibration.workers),
        parallel=parallel,
        has_device=has_device,
        loading_cores=loading_cores,
        boot=calibration.boot,
        dispatch=DISPATCH,
        between=calibration.between,
        light_slots=1,
    )


def without_contention(
    calibration: Calibration, parallel: float, *, has_device: bool = False
) -> Calibration:
    """The calibration with seconds as they are where shards and light tasks share no cores.

    In the measured run they did: one factor for shards and one for light tasks are found with
    which the simulation of that run is as busy as it was.
    """
    if calibration.is_serial or not calibration.cores or not calibration.light_busy:
        return calibration
    count = len(calibration.checkpoints)
    workers, cores = calibration.workers, calibration.cores
    cluster = machine_cluster(calibration, workers, cores, parallel, has_device=has_device)
    shards = light = 1.0
    for _ in range(_ROUNDS):
        found = simulate(workload_of(calibration.scaled(shards, light), count), cluster)
        shards *= calibration.measured_busy / found.busy
        light *= calibration.light_busy / found.light_busy if found.light_busy else 1.0
    return calibration.scaled(min(1.0, shards), min(1.0, light))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
