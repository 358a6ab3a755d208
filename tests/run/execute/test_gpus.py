"""What GPUs need: deterministic operations wherever a worker computes, and one kind of device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs.serial_runs import score

from vae_batch.plan import InputError, Shard, Unit
from vae_batch.run.execute import gpus, worker
from vae_batch.run.execute.worker import ShardWorker
from vae_batch.run.output.run_record import read_record
from vae_batch.run.scoring.row import _warn_of_devices
from vae_batch.run.scoring.score_sheet import ScoreSheet
from vae_batch.storage import Receipt, Store

tf = pytest.importorskip("tensorflow")

#: What TensorFlow says of an operation that has no deterministic kernel.
NO_KERNEL = "A deterministic GPU implementation of fused batch-norm is not currently available."


def is_deterministic() -> bool:
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())


@pytest.fixture
def settings(toy_settings: dict[str, Any], toy_folder: Path) -> dict[str, Any]:
    few = {"checkpoints": [str(toy_folder / "runs/step-000[12]")], "metrics": "losses,fid"}
    return toy_settings | few


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations run on the CPU, which this code takes for a GPU."""
    for module in ("gpus", "worker", "executor"):
        monkeypatch.setattr(f"vae_batch.run.execute.{module}.device_name", lambda: "A GPU")


def test_all_is_computed_by_deterministic_operations(
    settings: dict[str, Any], tmp_path: Path, on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading, too; the process is left as it was, and the numbers of a CPU do not change."""
    found = []
    compute = ShardWorker._compute

    def noted(self: ShardWorker, unit: Unit, shard: Shard, size: int) -> Any:
        found.append((unit.kind, is_deterministic()))
        return compute(self, unit, shard, size)

    monkeypatch.setattr(ShardWorker, "_compute", noted)
    rows = score(settings).rows
    assert {kind for kind, _ in found} >= {"description", "losses", "generated", "reference"}
    assert all(deterministic for _, deterministic in found)
    assert not is_deterministic()
    assert {row.provenance.device for row in rows} == {"A GPU"}
    assert not any(warning.kind == "device" for row in rows for warning in row.warnings)
    monkeypatch.undo()
    others = score(settings | {"out": str(tmp_path / "cpu")}).rows
    assert [row.value("fid") for row in rows] == [row.value("fid") for row in others]


def test_on_cpus_nothing_is_asked_for() -> None:
    with gpus.deterministic():
        assert not is_deterministic()


def test_an_operation_without_a_deterministic_kernel_costs_a_warning(
    settings: dict[str, Any], toy_folder: Path, on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, tried = worker.losses_of_checkpoint, []

    def needs_more(*arguments: Any) -> Any:
        tried.append(is_deterministic())
        if is_deterministic():
            raise tf.errors.UnimplementedError(None, None, NO_KERNEL)
        return losses(*arguments)

    monkeypatch.setattr(worker, "losses_of_checkpoint", needs_more)
    one = {"checkpoints": [str(toy_folder / "runs/step-0001")], "metrics": "losses"}
    (row,) = score(settings | one).rows
    assert row.status == "scored"
    (warning,) = (each for each in row.warnings if each.kind == "device")
    assert "no deterministic kernel" in warning.text
    assert tried == [True] + [False] * (len(tried) - 1), "tried once, then known of the checkpoint"
    assert not is_deterministic()


def test_a_run_does_not_go_on_with_another_kind_of_device(
    settings: dict[str, Any], tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(settings)
    out = Store.open(settings["out"])
    record = read_record(out)
    assert record is not None
    assert record.device == "cpu"
    more = settings | {"checkpoints": [str(toy_folder / "runs")]}
    with monkeypatch.context() as patch:
        patch.setattr("vae_batch.run.execute.executor.device_name", lambda: "A GPU")
        with pytest.raises(InputError, match=r"computed on CPUs.* have GPUs.*another --out"):
            score(more)
        assert len(score(more | {"out": str(tmp_path / "another")}).rows) == 3
    assert len(score(more).rows) == 3


def receipt(device: str, is_deterministic: bool = True) -> Receipt:
    made = Receipt("f", 1, 1, "0", 1.0, device, 32, source="computed",
                   is_deterministic=is_deterministic).checked()  # fmt: skip
    assert Receipt.from_json(made.to_json()) == made
    assert (b"is_deterministic" in made.to_json()) == (not is_deterministic)  # as before, else
    return made


def test_a_row_of_several_kinds_of_device_says_so() -> None:
    sheet = ScoreSheet({})
    _warn_of_devices(sheet, [receipt("A100"), receipt("A100"), receipt("H100")])
    (warning,) = sheet.warnings
    assert "(2 on A100, 1 on H100)" in warning.text
    alike = ScoreSheet({})
    _warn_of_devices(alike, [receipt("cpu"), receipt("cpu")])
    assert not alike.warnings
    varying = ScoreSheet({})
    _warn_of_devices(varying, [receipt("A100"), receipt("A100", is_deterministic=False)])
    assert [each.text.partition(" were")[0] for each in varying.warnings] == ["1 of 2 shards"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (NO_KERNEL, True),
        ("Random ops require a seed to be set when determinism is enabled.", True),
        ("Deterministic GPU implementation of unsorted segment reduction op not available.", True),
        ("runs/deterministic-vae/step-1: cut short", False),
    ],
)
def test_what_tensorflow_says_of_it(said: str, expected: bool) -> None:
    assert gpus.lacks_determinism(RuntimeError(said)) == expected
