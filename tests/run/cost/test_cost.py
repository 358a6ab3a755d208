"""The estimate of a run: arithmetic by hand, and rates from receipts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from vae_batch.plan import Shard, Unit
from vae_batch.run.cost.default_rates import (
    CostFactors,
    ExtractorWidth,
    Tasks,
    core_seconds,
    reduction_bytes,
    row_bytes,
    score_seconds,
    tasks_of,
)
from vae_batch.run.cost.estimate import (
    Devices,
    PlannedWork,
    Rate,
    cores_per_worker,
    default_rate,
    estimate,
    rates_of,
    spread,
    work_of,
)
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.devices import gpu_names, local_devices
from vae_batch.run.progress.progress_file import LastProgress
from vae_batch.run.progress.snapshot import Snapshot
from vae_batch.storage import Store, write_with_receipt

FACTORS = CostFactors(784, 16, 64, 10, extractors={"inception": ExtractorWidth(2048, 1008)})
NO_TASKS = Tasks()
ONE = Devices("one worker", workers=1, cores=2)
SERIAL = Devices("here", workers=1, cores=2, is_serial=True)
GPUS = Devices("4 GPUs", workers=4, cores=8, gpu="H200")


def unit(kind: Any, samples: int, extractor: str | None = None, name: str | None = "a") -> Unit:
    return Unit(f"{kind}/{name}-{extractor}", kind, "f", samples, 10, name, extractor)


def shards_of(*units: Unit) -> list[tuple[Unit, Shard]]:
    return [(one, shard) for one in units for shard in one.shards()]


def test_work_is_counted_by_kind_and_extractor() -> None:
    """25 samples in shards of 10 are 3 shards; the losses of two checkpoints are one line."""
    losses = unit("losses", 25), unit("losses", 20, name="b")
    found = work_of(shards_of(unit("generated", 25, "x"), *losses), FACTORS)
    # In batches of 16 each shard computes 16.
    assert [(w.kind, w.extractor, w.shards, w.images, w.computed) for w in found] == [
        ("generated", "x", 3, 25, 48),
        ("losses", None, 5, 45, 80),
    ]
    (gallery,) = work_of(shards_of(unit("gallery", 1)), FACTORS)
    assert gallery.computed == 1


def test_bytes_by_hand() -> None:
    # 2048 features and 1008 probabilities in float32, of which 0.79 are left.
    assert row_bytes("generated", "inception", FACTORS) == pytest.approx(0.79 * 4 * 3056)
    assert row_bytes("images", None, FACTORS) == 784
    assert row_bytes("importance", None, FACTORS) == 14 * 64
    # A mean of 2, a triangle of 3, and 3 classes in each of 2 splits: 11 float64.
    assert reduction_bytes(ExtractorWidth(2, 3), 2) == 8 * 11


def test_default_rates_are_per_core() -> None:
    """Inception does 18.1 images/s on two cores: one core needs 2 / 18.1 s, and decoding."""
    alone = core_seconds("reference", "inception", FACTORS)
    assert alone == pytest.approx(2 / 18.1)
    assert core_seconds("generated", "inception", FACTORS) > alone
    # One worker has both cores, and is twice as fast as each of two.
    of_one = default_rate(("reference", "inception"), FACTORS, ONE)
    of_two = default_rate(("reference", "inception"), FACTORS, dataclasses.replace(ONE, workers=2))
    assert of_one.seconds == pytest.approx(1 / 18.1)
    assert of_two.seconds == pytest.approx(2 / 18.1)
    assert of_one.source == "defaults"
    assert core_seconds("importance", None, dataclasses.replace(FACTORS, draws=128)) == (
        pytest.approx(2 * core_seconds("importance", None, FACTORS))
    )


def test_there_are_no_default_rates_of_gpus() -> None:
    rate = default_rate(("generated", "inception"), FACTORS, GPUS)
    assert (rate.seconds, rate.source) == (None, "unknown")
    work = [PlannedWork("generated", "inception", 4, 400, 400, 0.0)]
    unknown = estimate(work, {}, NO_TASKS, FACTORS, GPUS)
    assert unknown.seconds is None
    assert unknown.size > 0
    # Receipts tell: 400 images at 0.1 s are 40 s of workers, 10 s on four, after Ray's start.
    known = {("generated", "inception"): Rate(0.1, 5.0, "receipts")}
    told = estimate(work, known, NO_TASKS, FACTORS, GPUS)
    assert told.worker_seconds == pytest.approx(40)
    assert told.seconds == pytest.approx(told.start + 10)
    assert told.size == 2000
    # Reductions and scores have 8 cores of their own: 160 s are 20, and end last.
    later = estimate(work, known, Tasks(8, 160.0, 0.0), FACTORS, GPUS)
    assert later.seconds == pytest.approx(later.start + 20)


def test_seconds_on_cpus() -> None:
    """100 images at 0.2 s are 20 worker seconds; scores of 6 core seconds share the cores."""
    work, tasks = [PlannedWork("losses", None, 10, 100, 100, 0.0)], Tasks(2, 6.0, 500.0)
    rates = {("losses", None): Rate(0.2, 3.0, "receipts")}
    alone = estimate(work, rates, tasks, FACTORS, ONE)
    assert alone.seconds == pytest.approx(alone.start + 20 + 6 / 2)
    assert (alone.shards, alone.images, alone.size) == (10, 100, 800)
    stored = [
        *work,
        PlannedWork("images", None, 1, 7, 7, 0.0),
        PlannedWork("gallery", None, 1, 1, 1, 0.0),
    ]
    assert estimate(stored, rates, tasks, FACTORS, ONE).images == 100
    one_after_another = estimate(work, rates, tasks, FACTORS, SERIAL)
    assert one_after_another.seconds == pytest.approx(one_after_another.start + 26)
    # More workers than shards are of no use.
    many = estimate(work, rates, tasks, FACTORS, dataclasses.replace(ONE, workers=50))
    assert many.seconds == pytest.approx(many.start + 20 / 10 + 3)


def test_nothing_to_do_takes_no_time() -> None:
    nothing = estimate([], {}, NO_TASKS, FACTORS, ONE)
    assert (nothing.seconds, nothing.size, nothing.shards) == (0.0, 0.0, 0)


def test_reductions_and_scores_by_hand() -> None:
    """At 10,000 samples of 2,048 features fid takes 31 s and kid 15 s, a reduction 2.5 s."""
    assert score_seconds(10_000, 2048, ("fid", "kid", "losses")) == pytest.approx(46)
    # A small extractor: fid grows with the square of its features, and kid is 2 s and 13 s a 2,048.
    assert score_seconds(10_000, 1024, ("fid", "kid")) == pytest.approx(7.75 + 2 + 6.5)
    # Half the samples: fid is linear, kid quadratic.
    assert score_seconds(5_000, 2048, ("fid", "kid")) == pytest.approx(15.5 + 3.75)
    whole = Unit("activations", "generated", "f", 10_000, 512, "a", "inception")
    tasks = tasks_of([whole], [(10_000, "inception")], ("fid",), FACTORS)
    assert tasks.count == 2
    assert tasks.seconds == pytest.approx(2.5 + 31)
    moments = reduction_bytes(ExtractorWidth(2048, 1008), 10)
    assert tasks.size == pytest.approx(moments + 16 * 10_000)


def test_rates_are_measured_from_receipts_of_the_same_kind_of_device(tmp_path: Path) -> None:
    """Three shards of 10 in batches of 20: the first, which loads, is left out of 2 s and 4 s."""
    store = Store.open(str(tmp_path))
    stores = RunStores(store, store.folder("reference"))
    losses, pictures = unit("losses", 30), unit("pictures", 10)
    for (one, shard), seconds in zip(shards_of(losses), (9.0, 2.0, 4.0), strict=True):
        how = {"rows": 10, "seconds": seconds, "device": "cpu", "batch_size": 20}
        write_with_receipt(store, one, shard.name, b"12345", **how)
    shard = pictures.shards()[0]
    write_with_receipt(store, pictures, shard.name, b"1", rows=10, seconds=1.0, device="NVIDIA X")
    units = [losses, pictures, unit("gallery", 10)]
    found = rates_of(stores, units, ONE, None)
    assert found == {("losses", None): Rate(pytest.approx(0.15), 0.5, "receipts")}
    # Measured with 2 cores per worker, a worker with half a core takes four times as long.
    four = dataclasses.replace(ONE, workers=4)
    assert rates_of(stores, units, four, 2.0)["losses", None].seconds == pytest.approx(0.6)
    on_gpus = rates_of(stores, units, GPUS, 2.0)
    assert on_gpus == {("pictures", None): Rate(pytest.approx(0.1), 0.1, "receipts")}


def test_a_sample_is_spread_evenly() -> None:
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread(range(10), 4) == [0, 3, 6, 9]


@pytest.mark.parametrize(("workers", "cores", "each"), [(4, 2, 0.5), (0, 2, 2.0), (3, 0, None)])
def test_cores_of_the_last_run(workers: int, cores: int, each: float | None) -> None:
    last = LastProgress(0.0, "finished", "", Snapshot(workers=workers, cores=cores))
    assert cores_per_worker(last) == each
    assert cores_per_worker(None) is None


def test_gpus_are_found_in_the_drivers_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        text = f"Model: \t\t NVIDIA H200\nIRQ:   {number}\n"
        (tmp_path / str(number) / "information").write_text(text)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(tmp_path) == ["NVIDIA H200"] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_names(tmp_path) == ["NVIDIA H200"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_names(tmp_path) == []
    assert local_devices(0).is_serial
    assert (local_devices(3).workers, local_devices(None).workers) == (3, 1)
