from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from vae_batch.plan import InputError, Unit
from vae_batch.storage import (
    REDUCTION,
    DamagedFileError,
    Receipt,
    Store,
    file_path,
    finished_shards,
    forget,
    is_reduced,
    read_receipt,
    read_verified,
    write_with_receipt,
)

UNIT = Unit("activations/a", "generated", "print", samples=5, shard_size=2)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(str(tmp_path / "out"))


def write_all(store: Store) -> None:
    for shard in UNIT.shards():
        write_with_receipt(store, UNIT, shard.name, b"x" * len(shard), rows=len(shard))


def test_a_shard_is_done_when_its_receipt_says_so(store: Store) -> None:
    assert finished_shards(store, UNIT) == []
    write_all(store)
    assert finished_shards(store, UNIT) == UNIT.shards()
    assert read_verified(store, UNIT, UNIT.shards()[2].name) == b"x"


def test_crash_between_file_and_receipt_leaves_it_undone(store: Store) -> None:
    store.write(file_path(UNIT, UNIT.shards()[0].name), b"xx")
    assert finished_shards(store, UNIT) == []


def test_another_fingerprint_is_not_done(store: Store) -> None:
    write_all(store)
    assert finished_shards(store, dataclasses.replace(UNIT, fingerprint="other")) == []


def test_another_number_of_rows_is_not_done(store: Store) -> None:
    shard = UNIT.shards()[0]
    write_with_receipt(store, UNIT, shard.name, b"x", rows=1)
    assert finished_shards(store, UNIT) == []


@pytest.mark.parametrize("damage", [b"xy", b"x", b""])
def test_a_changed_file_is_found_when_read(store: Store, damage: bytes) -> None:
    write_all(store)
    name = UNIT.shards()[0].name
    store.write(file_path(UNIT, name), damage)
    with pytest.raises(DamagedFileError, match="differs from its receipt") as caught:
        read_verified(store, UNIT, name)
    assert (caught.value.unit, caught.value.name) == (UNIT, name)


def test_a_missing_file_is_not_done(store: Store) -> None:
    write_all(store)
    name = UNIT.shards()[1].name
    store.delete(file_path(UNIT, name))
    assert UNIT.shards()[1] not in finished_shards(store, UNIT)
    with pytest.raises(DamagedFileError, match="is missing"):
        read_verified(store, UNIT, name)


def test_a_garbled_receipt_counts_as_none(store: Store) -> None:
    write_all(store)
    store.write(f"{UNIT.path}/part-{UNIT.shards()[0].name}.receipt.json", b"{}")
    assert finished_shards(store, UNIT) == UNIT.shards()[1:]


def test_reduction_and_forgetting(store: Store) -> None:
    assert not is_reduced(store, UNIT)
    write_with_receipt(store, UNIT, REDUCTION, b"moments", rows=5)
    assert is_reduced(store, UNIT)
    forget(store, UNIT, REDUCTION)
    assert not is_reduced(store, UNIT)


def test_writes_leave_no_temporary_files(store: Store, tmp_path) -> None:
    write_all(store)
    assert not list(tmp_path.rglob("*.tmp"))


def test_uri_and_path_are_one_place(tmp_path) -> None:
    Store.open(str(tmp_path)).write("a/b.txt", b"1")
    assert Store.open(tmp_path.as_uri()).read("a/b.txt") == b"1"


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="expected a local path or a URI"):
        Store.open("nowhere://bucket/x")


def test_a_receipt_names_the_source_of_its_content(store: Store) -> None:
    name = UNIT.shards()[0].name
    write_with_receipt(store, UNIT, name, b"xx", rows=2, source="cache")
    receipt = read_receipt(store, UNIT, name)
    assert receipt is not None
    assert (receipt.source, receipt.is_computed) == ("cache", False)
    write_with_receipt(store, UNIT, name, b"xx", rows=2, seconds=1e-9)
    receipt = read_receipt(store, UNIT, name)
    assert receipt is not None
    assert (receipt.source, receipt.seconds, receipt.is_computed) == ("computed", 0.0, True)


@pytest.mark.parametrize(("seconds", "is_computed"), [(0.25, True), (0.0, False)])
def test_receipts_of_version_0_1_name_no_source(seconds: float, is_computed: bool) -> None:
    """The bytes of such a receipt are kept, and its check is the one it was written with."""
    fields = {
        "fingerprint": "print",
        "rows": 2,
        "size": 2,
        "sha256": "ab" * 32,
        "seconds": seconds,
        "device": "cpu",
        "batch_size": 16,
    }
    check = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]
    content = json.dumps({**fields, "check": check}, indent=1).encode()
    receipt = Receipt.from_json(content)
    assert (receipt.source, receipt.is_computed) == (None, is_computed)
    assert receipt.to_json() == content
    with pytest.raises(ValueError, match="check"):
        Receipt.from_json(content.replace(b'"rows": 2', b'"rows": 3'))
