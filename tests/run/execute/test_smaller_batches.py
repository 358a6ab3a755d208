"""Memory that does not suffice costs time and a warning, and no row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs.serial_runs import rows_of, score, settings_of

from vae_batch.models.autoencoder.network_runs import BatchMemoryError
from vae_batch.models.batching import map_batches
from vae_batch.plan import CheckpointError, InputError, Unit
from vae_batch.run.execute import worker as shard_worker
from vae_batch.run.execute.oom_backoff import BatchSizes, is_out_of_memory
from vae_batch.run.output.verify import verify_output

UNIT = Unit("activations/a", "generated", "print", samples=10, shard_size=5)


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's own."""


class InternalError(Exception):
    """Named as TensorFlow's own."""


def fits(largest: int, tried: list[int]) -> Any:
    def compute(size: int) -> str:
        tried.append(size)
        if size > largest:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return f"in {size}"

    return compute


def test_a_batch_is_halved_until_it_fits_and_stays_so_for_its_unit() -> None:
    tried: list[int] = []
    sizes = BatchSizes(32)
    assert sizes.compute(UNIT, fits(9, tried)) == ("in 8", 8)
    assert tried == [32, 16, 8]
    assert sizes.compute(UNIT, fits(9, tried)) == ("in 8", 8)
    assert sizes.compute(UNIT, fits(4, tried)) == ("in 4", 4)
    other = Unit("activations/b", "generated", "print", 10, 5)
    assert sizes.compute(other, fits(99, tried)) == ("in 32", 32)
    assert tried == [32, 16, 8, 8, 8, 4, 32]


def test_single_images_that_do_not_fit_are_an_error() -> None:
    tried: list[int] = []
    with pytest.raises(ResourceExhaustedError):
        BatchSizes(6).compute(UNIT, fits(0, tried))
    assert tried == [6, 3, 1]


def test_units_without_batches_have_none() -> None:
    description = Unit("description/a", "description", "print", 1, 1)
    assert BatchSizes(32).compute(description, fits(99, [])) == ("in 32", 0)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError("Unable to allocate 3 GiB"), True),
        (ResourceExhaustedError("OOM"), True),
        (InternalError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (InternalError("Blas GEMM launch failed"), False),
        (ValueError("out of memory"), False),
        (CheckpointError("it takes more memory to load"), False),
        (BatchMemoryError("the decoder cannot be run: OOM"), True),
        (InputError("out of memory"), False),
    ],
)
def test_which_errors_a_smaller_batch_may_help(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_tensorflows_own_error_is_known() -> None:
    import tensorflow as tf

    assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))


class SmallDevice:
    """An extractor on a device that holds so many images of 8x8 at a time."""

    concurrent_batches = 1
    loaded: list[int] = []  # noqa: RUF012 - counts all of a test's
    largest = 99

    def __init__(self, identity: Any, batch_size: int) -> None:
        from vae_batch.models.extractors.classifier import ClassifierExtractor

        self._extractor = ClassifierExtractor(identity)
        self.loaded.append(batch_size)

    def extract(self, images: np.ndarray) -> Any:
        if len(images) > self.largest:
            raise ResourceExhaustedError(f"OOM when allocating tensor with shape[{len(images)}]")
        return self._extractor.extract(images)


def run_on(device: type[SmallDevice], toy_folder: Path, out: Path, **more: Any) -> Any:
    """One checkpoint with a batch size of 16, on such a device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_worker, "load_extractor", device)
        device.loaded.clear()
        settings = settings_of(
            [str(toy_folder / "runs/step-0001")], toy_folder / "classifier.keras", out, **more
        )
        (row,) = rows_of(score(settings)).values()
    return row


def receipts(out: Path, pattern: str) -> list[int]:
    files = sorted(out.glob(f"{pattern}/part-0*[0-9].receipt.json"))
    return [json.loads(path.read_bytes())["batch_size"] for path in files]


@pytest.fixture(scope="module")
def large(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_on(SmallDevice, toy_folder, tmp_path_factory.mktemp("large") / "out")


class HoldsFive(SmallDevice):
    largest = 5


def test_a_run_out_of_memory_has_the_same_row_and_says_so(
    toy_folder: Path, tmp_path: Path, large: Any
) -> None:
    row = run_on(HoldsFive, toy_folder, tmp_path)
    # 16, 8, 4 for the reference; its other shards stay at 4; then the same for what is generated.
    assert HoldsFive.loaded == [16, 8, 4, 16, 8, 4]
    # 100 reference images and 150 generated ones in shards of 64: 2 and 3 shards of 4; losses
    # (2 shards) and a gallery take no extractor and stay at 16, a description runs no batches.
    assert receipts(tmp_path, "reference/*/activations/*") == [4, 4]
    assert receipts(tmp_path, "activations/*/*") == [4, 4, 4]
    assert receipts(tmp_path, "losses/*") == [16, 16]
    assert receipts(tmp_path, "description/*") == [0]
    sentence = (
        "5 of 8 shards were computed in batches of 4 instead of 16 after out-of-memory; on this "
        "device the last digits may differ"
    )
    assert sentence in row["warnings"].split(" | ")
    assert "out-of-memory" not in (large["warnings"] or "")
    assert row["fingerprint"] == large["fingerprint"]
    assert row["status"] == "scored"
    np.testing.assert_allclose(row["fid"], large["fid"], rtol=1e-5)
    assert row["elbo"] == large["elbo"]
    assert verify_output(str(tmp_path)).bad == ()


class HoldsNone(SmallDevice):
    largest = 0


def test_where_nothing_fits_the_run_ends_with_the_reason(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ResourceExhaustedError: OOM when allocating.*shape.1"):
        run_on(HoldsNone, toy_folder, tmp_path)


def test_a_decoder_that_does_not_fit_is_run_in_smaller_batches(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Already while its roles are probed, and for every unit that needs it."""
    from vae_batch.models.autoencoder import network_runs

    def cramped(function: Any, batch_size: int, *arrays: Any, **more: Any) -> Any:
        if batch_size > 8:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return map_batches(function, batch_size, *arrays, **more)

    monkeypatch.setattr(network_runs, "map_batches", cramped)
    row = run_on(SmallDevice, toy_folder, tmp_path)
    assert row["status"] == "scored"
    assert receipts(tmp_path, "losses/*") == [8, 8]
    assert receipts(tmp_path, "activations/*/*") == [8, 8, 8]
    assert "in batches of 8 instead of 16" in row["warnings"]
