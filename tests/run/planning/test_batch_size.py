from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vae_batch.models.extractors.extractor import NO_EXTRACTOR
from vae_batch.plan import InputError, make_spec
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.score_run import run
from vae_batch.run.output.run_record import read_record
from vae_batch.run.planning.batch_size import best_size, choose_batch_size, measure_rates
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store


class WithGpus(SerialExecutor):
    """Claims GPUs whose probe gives set answers."""

    has_gpus = True  # type: ignore[assignment]

    def __init__(self, *answers: Any) -> None:
        self.answers = answers

    def on_every_device(self, function: Any, *arguments: Any) -> list[tuple[str, Any]]:
        return [(f"GPU {number}", answer) for number, answer in enumerate(self.answers)]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([{32: 100.0, 64: 180.0, 128: 196.0, 256: 200.0}], 128),  # .98 of the best
        ([{32: 100.0, 64: 180.0}], 64),  # 128 did not fit
        ([{32: 100.0, 64: 100.0}, {32: 10.0, 64: 20.0}], 64),  # the second device decides
        ([{32: 99.0, 64: 100.0, 128: 100.0, 256: 100.0}], 32),
        ([{32: 100.0, 64: 50.0}, {32: 50.0, 64: 90.0}], 32),  # none is close on both: .56 and .5
    ],
)
def test_the_smallest_size_that_is_about_the_fastest(
    rates: list[dict[int, float]], expected: int
) -> None:
    assert best_size(rates) == expected


def test_cpus_are_not_probed() -> None:
    assert choose_batch_size(SerialExecutor(), [], (8, 8, 1)) == 32


def test_a_failed_probe_says_what_to_do() -> None:
    extractor = replace(NO_EXTRACTOR, network="inception-random")
    with pytest.raises(InputError, match=r"GPU 0: .*out of memory.*give --batch-size"):
        choose_batch_size(WithGpus(MemoryError("out of memory")), [extractor], (8, 8, 1))


def test_the_chosen_size_is_recorded_and_kept(toy_settings: dict[str, Any]) -> None:
    settings = {**toy_settings, "batch_size": None}
    first = WithGpus({32: 1.0, 64: 2.0})
    run(prepare(make_spec(settings), ignore), first, ignore)
    record = read_record(Store.open(settings["out"]))
    assert record is not None
    assert record.identity["batch_size"] == 64
    # Another night's probe would say 32; the folder keeps its size, and nothing is redone.
    again = run(prepare(make_spec(settings), ignore), WithGpus({32: 2.0}), ignore)
    assert again.shards_total == 0


def test_rates_are_measured_for_every_size_that_fits(toy_settings: dict[str, Any]) -> None:
    from vae_batch.run.planning.run_plan import identify_extractors

    spec = make_spec(toy_settings)
    (identity,) = identify_extractors(spec)
    rates = measure_rates(identity, (8, 8, 1))
    assert sorted(rates) == [32, 64, 128, 256]
    assert all(rate > 0 for rate in rates.values())
