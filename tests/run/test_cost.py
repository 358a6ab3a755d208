"""What a run costs: arithmetic by hand, receipts, and what is noted of a real run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vae_batch.plan import InputError, Shard, Unit
from vae_batch.run.cost.cost_file import COST_FILE, RunCost, ShardCost, add_cost, read_costs
from vae_batch.run.cost.default_rates import (
    Extracted,
    Terms,
    core_seconds,
    light_work,
    reduction_bytes,
    row_bytes,
    score_seconds,
)
from vae_batch.run.cost.estimate import (
    Devices,
    Rate,
    Work,
    estimate,
    joined,
    measured_rate,
    table_rate,
    work_of,
)
from vae_batch.run.cost.measured_rates import cores_a_worker_then, rates_of, spread
from vae_batch.run.cost.meter import Meter
from vae_batch.run.cost.metered_executor import MeteredExecutor
from vae_batch.run.execute.background_tasks import timed
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.devices import gpu_names, local_devices
from vae_batch.storage import Store, write_with_receipt

TERMS = Terms(784, 16, 64, 10, extractors={"inception": Extracted(2048, 1008)})
ONE = Devices("one worker", workers=1, cores=2)
SERIAL = Devices("here", workers=1, cores=2, is_serial=True)
GPUS = Devices("4 GPUs", workers=4, cores=8, gpu="H200")


def unit(kind: Any, samples: int, extractor: str | None = None, name: str | None = "a") -> Unit:
    return Unit(f"{kind}/{name}-{extractor}", kind, "f", samples, 10, name, extractor)


def tasks_of(*units: Unit) -> list[tuple[Unit, Shard]]:
    return [(one, shard) for one in units for shard in one.shards()]


def test_work_is_counted_by_kind_and_extractor() -> None:
    """25 samples in shards of 10 are 3 shards; the losses of two checkpoints are one line."""
    losses = unit("losses", 25), unit("losses", 20, name="b")
    found = work_of(tasks_of(unit("generated", 25, "x"), *losses), TERMS)
    # In batches of 16 each shard computes 16.
    assert [(w.kind, w.extractor, w.shards, w.images, w.computed) for w in found] == [
        ("generated", "x", 3, 25, 48),
        ("losses", None, 5, 45, 80),
    ]
    (gallery,) = work_of(tasks_of(unit("gallery", 1)), TERMS)
    assert gallery.computed == 1
    assert joined([*found, found[0]])[0] == dataclasses.replace(
        found[0], shards=6, images=50, computed=96, size=2 * found[0].size
    )


def test_bytes_by_hand() -> None:
    # 2048 features and 1008 probabilities in float32, of which 0.79 are left.
    assert row_bytes("generated", "inception", TERMS) == pytest.approx(0.79 * 4 * 3056)
    assert row_bytes("images", None, TERMS) == 784
    assert row_bytes("importance", None, TERMS) == 14 * 64
    # A mean of 2, a triangle of 3, and 3 classes in each of 2 splits: 11 float64.
    assert reduction_bytes(2, 3, 2) == 8 * 11


def test_the_table_is_by_the_core() -> None:
    """Inception does 18.1 images a second on two cores: one needs 2 / 18.1 s, and decoding."""
    alone = core_seconds("reference", "inception", TERMS)
    assert alone == pytest.approx(2 / 18.1)
    assert core_seconds("generated", "inception", TERMS) > alone
    # One worker has both cores, and is twice as fast as each of two.
    of_one = table_rate(("reference", "inception"), TERMS, ONE)
    of_two = table_rate(("reference", "inception"), TERMS, dataclasses.replace(ONE, workers=2))
    assert of_one.seconds == pytest.approx(1 / 18.1)
    assert of_two.seconds == pytest.approx(2 / 18.1)
    assert of_one.source == "table"
    assert core_seconds("importance", None, dataclasses.replace(TERMS, draws=128)) == (
        pytest.approx(2 * core_seconds("importance", None, TERMS))
    )


def test_nobody_has_measured_gpus() -> None:
    rate = table_rate(("generated", "inception"), TERMS, GPUS)
    assert (rate.seconds, rate.source) == (None, "unknown")
    work = [Work("generated", "inception", 4, 400, 400, 0.0)]
    unknown = estimate(work, {}, (0, 0.0, 0.0), TERMS, GPUS)
    assert unknown.seconds is None
    assert unknown.size > 0
    # Receipts tell: 400 images at 0.1 s are 40 s of workers, 10 s on four, after Ray's start.
    known = {("generated", "inception"): Rate(0.1, 5.0, "receipts")}
    told = estimate(work, known, (0, 0.0, 0.0), TERMS, GPUS)
    assert told.worker_seconds == pytest.approx(40)
    assert told.seconds == pytest.approx(told.start + 10)
    assert told.size == 2000
    # Light tasks have 8 cores beside: 160 s are 20, and end last.
    later = estimate(work, known, (8, 160.0, 0.0), TERMS, GPUS)
    assert later.seconds == pytest.approx(later.start + 20)


def test_seconds_on_cpus() -> None:
    """100 images at 0.2 s are 20 worker seconds; light tasks of 6 core seconds share the cores."""
    work, light = [Work("losses", None, 10, 100, 100, 0.0)], (2, 6.0, 500.0)
    rates = {("losses", None): Rate(0.2, 3.0, "receipts")}
    alone = estimate(work, rates, light, TERMS, ONE)
    assert alone.seconds == pytest.approx(alone.start + 20 + 6 / 2)
    assert (alone.shards, alone.images, alone.size) == (10, 100, 800)
    stored = [*work, Work("images", None, 1, 7, 7, 0.0), Work("gallery", None, 1, 1, 1, 0.0)]
    assert estimate(stored, rates, light, TERMS, ONE).images == 100
    one_after_another = estimate(work, rates, light, TERMS, SERIAL)
    assert one_after_another.seconds == pytest.approx(one_after_another.start + 26)
    # More workers than shards are of no use.
    many = estimate(work, rates, light, TERMS, dataclasses.replace(ONE, workers=50))
    assert many.seconds == pytest.approx(many.start + 20 / 10 + 3)


def test_nothing_to_do_takes_no_time() -> None:
    nothing = estimate([], {}, (0, 0.0, 0.0), TERMS, ONE)
    assert (nothing.seconds, nothing.size, nothing.shards) == (0.0, 0.0, 0)


def test_light_work_by_hand() -> None:
    """At 10,000 samples of 2,048 features fid takes 31 s and kid 15 s, a reduction 2.5 s."""
    assert score_seconds(10_000, 2048, ("fid", "kid", "losses")) == pytest.approx(46)
    # A small extractor: fid grows with the square of its features, and kid is 2 s and 13 s a 2,048.
    assert score_seconds(10_000, 1024, ("fid", "kid")) == pytest.approx(7.75 + 2 + 6.5)
    # Half the samples: fid is linear, kid quadratic.
    assert score_seconds(5_000, 2048, ("fid", "kid")) == pytest.approx(15.5 + 3.75)
    whole = Unit("activations", "generated", "f", 10_000, 512, "a", "inception")
    tasks, seconds, size = light_work([whole], [(10_000, "inception")], ("fid",), TERMS)
    assert tasks == 2
    assert seconds == pytest.approx(2.5 + 31)
    assert size == pytest.approx(reduction_bytes(2048, 1008, 10) + 16 * 10_000)


def test_cores_are_worth_the_same_whoever_has_them() -> None:
    """Measured with 2 cores a worker at 0.1 s, a worker with half a core takes 0.4 s."""
    four = dataclasses.replace(ONE, workers=4)
    rate = measured_rate(10.0, 100, 5.0, then=2.0, devices=four)
    assert (rate.seconds, rate.size, rate.source) == (pytest.approx(0.4), 5.0, "receipts")
    assert measured_rate(10.0, 100, 5.0, None, four).seconds == pytest.approx(0.1)
    assert measured_rate(10.0, 100, 5.0, 2.0, GPUS).seconds == pytest.approx(0.1)
    with pytest.raises(ValueError, match="found 0"):
        measured_rate(10.0, 0, 5.0, None, ONE)


def test_receipts_tell_rates_of_their_device(tmp_path: Path) -> None:
    """Three shards of 10 in batches of 20: the first, which loads, is left out of 2 s and 4 s."""
    store = Store.open(str(tmp_path))
    stores = RunStores(store, store.folder("reference"))
    losses, pictures = unit("losses", 30), unit("pictures", 10)
    for (one, shard), seconds in zip(tasks_of(losses), (9.0, 2.0, 4.0), strict=True):
        how = {"rows": 10, "seconds": seconds, "device": "cpu", "batch_size": 20}
        write_with_receipt(store, one, shard.name, b"12345", **how)
    shard = pictures.shards()[0]
    write_with_receipt(store, pictures, shard.name, b"1", rows=10, seconds=1.0, device="NVIDIA X")
    units = [losses, pictures, unit("gallery", 10)]
    found = rates_of(stores, units, ONE, None)
    assert found == {("losses", None): Rate(pytest.approx(0.15), 0.5, "receipts")}
    on_gpus = rates_of(stores, units, GPUS, None)
    assert on_gpus == {("pictures", None): Rate(pytest.approx(0.1), 0.1, "receipts")}


def test_a_sample_is_spread_evenly() -> None:
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread(range(10), 4) == [0, 3, 6, 9]


def a_cost(workers: int = 1, cores: int = 2) -> RunCost:
    shards = (
        ShardCost("generated", "x", "cpu", 3, 30, 600, 6.0),
        ShardCost("losses", None, "cpu", 1, 10, 100, 1.5),
    )
    phases = {"plan": 1.0, "work": 10.0}
    return RunCost(
        *("2026-01-01T00:00:00+00:00", "1 worker", workers, cores, phases, 3.0, 1.0, 9.0),
        *(shards, (), 7.0, 650.0),
    )


def test_costs_are_kept_run_after_run(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert read_costs(store) == []
    add_cost(store, a_cost())
    add_cost(store, a_cost(workers=4))
    first, second = read_costs(store)
    assert first == a_cost()
    assert (second.workers, second.seconds, second.worker_seconds) == (4, 11.0, 7.5)
    assert (second.shard_count, second.images, second.size) == (4, 40, 700)
    assert cores_a_worker_then([first, second]) == 0.5
    assert cores_a_worker_then([a_cost(workers=0)]) == 2.0
    assert cores_a_worker_then([a_cost(cores=0)]) is None
    (tmp_path / COST_FILE).write_text((tmp_path / COST_FILE).read_text().replace("7.0", "8.0"))
    assert read_costs(store) == []


class Paced(SerialExecutor):
    """Says that shards took as long as they have samples."""

    def run_shards(self, tasks: Sequence[Any], config: Any) -> Iterator[ShardOutcome]:
        for one, shard in tasks:
            if one.checkpoint == "bad":
                yield ShardOutcome(one.path, shard, "checkpoint_failed", "no")
                continue
            seconds = float(len(shard))
            yield ShardOutcome(one.path, shard, "done", "", seconds, "cpu", 7)


def _double(value: int) -> int:
    return 2 * value


def _refuse() -> None:
    raise InputError("no")


def test_an_executor_is_metered() -> None:
    known = {("losses", None): Rate(2.0, 9.0, "receipts")}
    metered = MeteredExecutor(Paced(), TERMS, lambda: known)
    tasks = tasks_of(unit("losses", 25), unit("losses", 10, name="bad"))
    config: Any = None
    outcomes = list(metered.run_shards(tasks, config))
    assert len(outcomes) == 4, "what failed is passed on"
    assert [metered.submit(timed, _double, n).result()[1] for n in (1, 2)] == [2, 4]
    refused = metered.submit(timed, _refuse)
    assert refused.is_ready()
    with pytest.raises(InputError, match="no"):
        refused.result()
    cost = metered.cost({"work": 3.0}, ONE, 2)
    assert cost.shards == (ShardCost("losses", None, "cpu", 3, 25, 21, 25.0),)
    assert [(light.task, light.count) for light in cost.light] == [("_double", 2)]
    assert cost.first_seconds == 10.0
    assert 0 <= (cost.first_end or -1.0) <= (cost.last_end or -1.0)
    # All 35 that were handed over, in 4 batches of 16, at what was known of them.
    assert (cost.planned_seconds, cost.planned_size) == (128.0, 35 * 9.0)


def test_a_run_that_did_nothing_writes_no_cost(tmp_path: Path) -> None:
    meter, store = Meter(), Store.open(str(tmp_path))
    with meter.phase("plan"):
        pass
    assert meter.write(store) is None
    assert not (tmp_path / COST_FILE).exists()


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
