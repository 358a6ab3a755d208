"""A unit's progress is what its receipts say, however few of them are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.runs.stub_runs import count_requests

from vae_batch.plan import Unit
from vae_batch.storage import (
    GATHERED,
    REDUCTION,
    Store,
    UnitProgress,
    file_path,
    finished_shards,
    forget,
    gather_receipts,
    is_reduced,
    read_receipt,
    unit_progress,
    unit_progress_of,
    write_with_receipt,
)
from vae_batch.storage.receipts import receipt_path

UNIT = Unit("activations/a", "generated", "print", samples=11, shard_size=2)
SHARDS = tuple(UNIT.shards())
ALL = UnitProgress(SHARDS, is_reduced=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A complete unit of six shards, gathered."""
    store = Store.open(str(tmp_path))
    for shard in SHARDS:
        write_with_receipt(store, UNIT, shard.name, b"x" * len(shard), rows=len(shard))
    write_with_receipt(store, UNIT, REDUCTION, b"moments", rows=UNIT.samples)
    assert gather_receipts(store, UNIT)
    return store


def without(*positions: int) -> UnitProgress:
    left = tuple(shard for place, shard in enumerate(SHARDS) if place not in positions)
    return UnitProgress(left, is_reduced=False)


def test_a_gathered_unit_costs_a_listing_and_one_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_requests(monkeypatch)
    assert unit_progress(store, UNIT) == ALL
    assert asked == {"sizes": 1, "read": 1}
    store.delete(f"{UNIT.path}/{GATHERED}")
    asked.clear()
    assert unit_progress(store, UNIT) == ALL
    assert asked == {"sizes": 1, "read": 7}  # six shards and the reduction


def test_a_unit_that_was_never_begun_costs_a_listing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_requests(monkeypatch)
    other = dataclasses.replace(UNIT, path="activations/b")
    assert unit_progress_of([(store, other), (store, UNIT)]) == [UnitProgress((), False), ALL]
    assert asked == {"sizes": 2, "read": 1}


def test_a_receipt_that_is_taken_away_takes_its_shard_with_it(store: Store) -> None:
    forget(store, UNIT, SHARDS[2].name)
    assert unit_progress(store, UNIT) == without(2)
    write_with_receipt(store, UNIT, SHARDS[2].name, b"yy", rows=2)
    assert unit_progress(store, UNIT) == ALL
    forget(store, UNIT, REDUCTION)
    assert unit_progress(store, UNIT) == UnitProgress(SHARDS, is_reduced=False)
    assert not is_reduced(store, UNIT)


@pytest.mark.parametrize(
    "path", [file_path(UNIT, SHARDS[1].name), receipt_path(UNIT, SHARDS[1].name)]
)
def test_a_file_or_receipt_of_another_size_is_looked_at_again(store: Store, path: str) -> None:
    store.write(path, store.read(path)[:-1])
    assert unit_progress(store, UNIT) == without(1)
    assert finished_shards(store, UNIT) == list(without(1).shards)
    store.delete(path)
    assert unit_progress(store, UNIT) == without(1)


def test_a_shard_written_again_in_another_size_is_believed_its_own_receipt(store: Store) -> None:
    write_with_receipt(store, UNIT, SHARDS[0].name, b"longer", rows=2)
    assert unit_progress(store, UNIT) == ALL
    assert gather_receipts(store, UNIT)
    assert unit_progress(store, UNIT) == ALL


def test_any_flipped_bit_of_the_gathered_file_costs_time_and_no_truth(store: Store) -> None:
    forget(store, UNIT, SHARDS[4].name)
    path = f"{UNIT.path}/{GATHERED}"
    content = store.read(path)
    for bit in range(0, 8 * len(content), 61):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        store.write(path, bytes(damaged))
        assert unit_progress(store, UNIT) == without(4)


def test_what_was_gathered_under_another_fingerprint_is_not_believed(store: Store) -> None:
    other = dataclasses.replace(UNIT, fingerprint="other")
    assert unit_progress(store, other) == UnitProgress((), is_reduced=False)
    assert not gather_receipts(store, other)


def test_only_complete_units_of_several_shards_are_gathered(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for shard in SHARDS:
        assert not gather_receipts(store, UNIT)
        write_with_receipt(store, UNIT, shard.name, b"x" * len(shard), rows=len(shard))
    assert not gather_receipts(store, UNIT)  # its reduction is missing
    losses = dataclasses.replace(UNIT, kind="losses")
    assert gather_receipts(store, losses)
    few = dataclasses.replace(losses, path="losses/few", samples=4)
    for shard in few.shards():
        write_with_receipt(store, few, shard.name, b"xx", rows=2)
    assert not gather_receipts(store, few)
    assert finished_shards(store, few) == few.shards()


def test_gathering_leaves_the_receipts_where_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(read_receipt(store, UNIT, shard.name) for shard in SHARDS)
    asked = count_requests(monkeypatch)
    assert gather_receipts(store, UNIT)
    assert asked["write"] == 0  # nothing to add
