"""Reference images that another set has, too, are not extracted again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.toy_models import save_classifier, save_pair
from support.runs.serial_runs import Row, score, settings_of
from support.stores import score_rows

from vae_batch.models.references.reference import open_reference
from vae_batch.plan import Shard, make_spec
from vae_batch.run.execute import worker as shard_worker
from vae_batch.run.output.stores import RunStores
from vae_batch.run.output.verify import verify_output
from vae_batch.run.reference.cached_activations import DigestIndex, stored_sets
from vae_batch.storage import Receipt, Store

_OF_THE_RUN = ("reference", "reference_split", "fingerprint", "scored_at", "shard_size")


class Extracted(list[Shard]):
    """Shards of references that an extractor was run on."""


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> Extracted:
    shards = Extracted()
    stage = shard_worker.activations_of_reference

    def noted(config: Any, facts: Any, extractor: Any, shard: Shard) -> Any:
        shards.append(shard)
        return stage(config, facts, extractor, shard)

    monkeypatch.setattr(shard_worker, "activations_of_reference", noted)
    return shards


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """One checkpoint; a reference of 200 digits in shards of 64, in a cache of its own."""
    save_pair(tmp_path / "runs/step-1", seed=1)
    save_classifier(tmp_path / "classifier.keras")
    return settings_of(
        [str(tmp_path / "runs/step-1")],
        tmp_path / "classifier.keras",
        tmp_path / "whole",
        reference_samples=200,
        reference_cache=str(tmp_path / "cache"),
        metrics="fid",
    )


def alone(settings: dict[str, Any], tmp_path: Path) -> list[Row]:
    """Rows of the same run with a cache that knows nothing."""
    own = {"out": str(tmp_path / "alone"), "reference_cache": str(tmp_path / "alone-cache")}
    return numbers(score(settings | own).rows)


def numbers(rows: Any) -> list[Row]:
    return score_rows.numbers(rows, *_OF_THE_RUN)


def test_activations_of_a_part_of_a_larger_reference_are_reused(
    settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    score(settings)
    assert len(extracted) == 4
    part = settings | {"reference_samples": 100, "out": str(tmp_path / "part")}
    rows = numbers(score(part).rows)
    assert len(extracted) == 4, "nothing more was extracted"
    assert rows == alone(part, tmp_path)
    assert verify_output(part["out"]).bad == ()


def test_only_new_images_of_a_larger_reference_are_extracted(
    settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    score(settings | {"reference_samples": 150, "out": str(tmp_path / "part")})
    extracted.clear()
    rows = numbers(score(settings).rows)
    assert [shard.start for shard in extracted] == [128, 192]
    assert rows == alone(settings, tmp_path)


def test_order_and_shard_size_do_not_matter(
    settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    """Every third image, backwards, some of them twice."""
    score(settings)
    chosen = np.concatenate([np.arange(199, 0, -3), [5, 5, 8]])
    np.save(tmp_path / "some.npy", open_reference("digits", limit=200).read(0, 200)[chosen])
    extracted.clear()
    changes = {"reference": str(tmp_path / "some.npy"), "reference_samples": None}
    some = settings | changes | {"shard_size": 25, "out": str(tmp_path / "some")}
    rows = numbers(score(some).rows)
    assert extracted == []
    assert rows == alone(some, tmp_path)


def test_a_training_set_has_the_reference_in_it(
    settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    """Within one run: the reference is extracted first, and is the training set's beginning."""
    few = {"reference_split": "train", "reference_samples": 64, "metrics": "fid,memorisation"}
    both = settings | few | {"training": "train", "training_samples": 128}
    assert not score(both).failed
    assert [(shard.start, shard.stop) for shard in extracted] == [(0, 64), (64, 128)]


@pytest.mark.parametrize("changed", ["batch_size", "extractor", "shape"])
def test_activations_of_other_settings_are_not_reused(
    changed: str, settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    score(settings)
    extracted.clear()
    other = settings | {"reference_samples": 64, "out": str(tmp_path / "other")}
    if changed == "batch_size":
        other["batch_size"] = 8
    elif changed == "extractor":
        save_classifier(tmp_path / "other.keras", seed=9)
        other["extractors"] = [str(tmp_path / "other.keras")]
    else:
        facts = next(stored_sets(Store.open(settings["reference_cache"]))).facts
        pixels = np.zeros((64, 16, 4, 1), np.uint8)
        pixels[:, ::2, 0, 0] = np.arange(64)[:, None]
        np.save(tmp_path / "flat.npy", pixels)
        np.save(tmp_path / "square.npy", pixels.reshape(64, 8, 8, 1))
        square = {"reference": str(tmp_path / "square.npy"), "out": str(tmp_path / "square")}
        score(settings | square | {"reference_samples": None})
        extracted.clear()
        other |= {"reference": str(tmp_path / "flat.npy"), "reference_samples": None}
        assert facts.shape == (8, 8, 1)
    score(other)
    assert len(extracted) == 1


@pytest.mark.parametrize("harm", ["activations", "digests", "receipt"])
def test_images_of_damaged_or_missing_files_are_extracted_again(
    harm: str, settings: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    score(settings)
    cache = tmp_path / "cache"
    first = next(cache.glob("images-*/activations/*/part-00000000-*.parquet"))
    if harm == "activations":
        content = bytearray(first.read_bytes())
        content[len(content) // 2] ^= 1
        first.write_bytes(bytes(content))
    elif harm == "receipt":
        next(first.parent.glob("part-00000000-*.receipt.json")).unlink()
    else:
        for path in cache.glob("images-*/uint8-*/part-digests.npz"):
            path.write_bytes(path.read_bytes()[:-40])
    extracted.clear()
    part = settings | {"reference_samples": 100, "out": str(tmp_path / "part")}
    rows = numbers(score(part).rows)
    expected = [0, 64] if harm == "digests" else [0]
    assert [shard.start for shard in extracted] == expected
    assert rows == alone(part, tmp_path)


def test_a_receipt_says_whether_its_activations_were_computed_or_cached(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    score(settings)
    part = settings | {"reference_samples": 64, "out": str(tmp_path / "part")}
    score(part)
    store = RunStores.of(make_spec(part)).reference
    found = []
    for images in stored_sets(store):
        for path in (tmp_path / "cache" / images.facts.folder / "activations").iterdir():
            receipt = next(path.glob("part-00000000-00000064.receipt.json"))
            found.append((images.facts.count, Receipt.from_json(receipt.read_bytes()).source))
    assert sorted(found) == [(64, "cache"), (200, "computed")]


def test_an_index_finds_images_by_their_whole_digest() -> None:
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 256, (50, 16), dtype=np.uint8)
    index = DigestIndex(digests)
    chosen = rng.integers(0, 50, 20)
    found = index.positions(digests[chosen])
    assert found is not None
    assert np.array_equal(digests[found], digests[chosen])
    other = digests[:1].copy()
    other[0, -1] ^= 1  # the first half, by which it is looked up, is the same
    assert index.positions(other) is None
    largest = np.full((1, 16), 255, np.uint8)
    assert index.positions(largest) is None
    assert DigestIndex(digests[:0]).positions(digests) is None
