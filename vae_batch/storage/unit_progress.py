"""Which shards of a unit are finished, found with few requests.

The files and receipts of a unit are listed once. Receipts are then read one by one; those of a
complete unit have been gathered into ``receipts.json``, which is read instead. That file is only a
cache: an entry counts only while file and receipt have the sizes that it names. Deleting a receipt
therefore reopens its shard, and a gathered file that is missing, damaged or of another fingerprint
only costs time.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vae_batch.plan.shards import Shard, Unit
from vae_batch.storage.checked_json import decode_as, encode_checked
from vae_batch.storage.receipts import REDUCTION, file_path, read_receipt, receipt_path
from vae_batch.storage.store import Store

#: Receipts of a unit in one file, beside them.
GATHERED = "receipts.json"

#: Fewer receipts than this are read one by one as fast.
_FEWEST = 4

#: Units listed at a time: object stores answer slowly.
_READERS = 16

_ACTIVATIONS = ("generated", "reconstructed", "reference")


@dataclass(frozen=True)
class UnitProgress:
    """Completed parts of a unit.

    Attributes:
        shards: Finished shards, in order; digests are checked when files are read.
        is_reduced: Whether all shards are finished and the unit's reduction exists.
    """

    shards: tuple[Shard, ...]
    is_reduced: bool


@dataclass(frozen=True)
class _Entry:
    """Rows and size of a file by its receipt, and the size of the receipt."""

    rows: int
    size: int
    receipt_size: int


@dataclass(frozen=True)
class _Gathered:
    """The gathered file: entries by the name of their shard."""

    fingerprint: str
    receipts: dict[str, tuple[int, int, int]]


def is_activations(unit: Unit) -> bool:
    """Whether a unit holds activations, which are reduced to moments."""
    return unit.kind in _ACTIVATIONS


def unit_progress(store: Store, unit: Unit) -> UnitProgress:
    """Completed parts of a unit, by its receipts."""
    listed = _Listing(store, unit)
    done = tuple(shard for shard in unit.shards() if listed.has(shard.name, len(shard)))
    is_complete = is_activations(unit) and sum(map(len, done)) == unit.samples
    return UnitProgress(done, is_complete and listed.has(REDUCTION, unit.samples))


def unit_progress_of(held: Iterable[tuple[Store, Unit]]) -> list[UnitProgress]:
    """Completed parts of many units, in their order; several are listed at a time."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda pair: unit_progress(*pair), held))


def finished_shards(store: Store, unit: Unit) -> list[Shard]:
    """Shards with a receipt and a file of its size; digests are checked when files are read."""
    listed = _Listing(store, unit)
    return [shard for shard in unit.shards() if listed.has(shard.name, len(shard))]


def is_reduced(store: Store, unit: Unit) -> bool:
    """Whether the unit's reduction exists, by its receipt."""
    return _Listing(store, unit).has(REDUCTION, unit.samples)


def gather_receipts(store: Store, unit: Unit) -> bool:
    """Copy the receipts of a complete unit into one file, unless they are few.

    Returns:
        Whether the file exists now.
    """
    names = {shard.name: len(shard) for shard in unit.shards()}
    if len(names) < _FEWEST:
        return False
    if is_activations(unit):
        names[REDUCTION] = unit.samples
    listed = _Listing(store, unit)
    if not all(listed.has(name, rows) for name, rows in names.items()):
        return False
    if not listed.is_gathered(names):
        store.write(f"{unit.path}/{GATHERED}", listed.to_json())
    return True


class _Listing:
    """The files of a unit by name and size, and the contents of their receipts."""

    def __init__(self, store: Store, unit: Unit) -> None:
        self._store, self._unit = store, unit
        self._sizes = store.sizes(unit.path)
        self._gathered = _read_gathered(store, unit) if GATHERED in self._sizes else {}
        self._read: dict[str, _Entry] = {}

    def has(self, name: str, rows: int) -> bool:
        """Whether a file and its receipt exist and agree."""
        size = self._sizes.get(_last(file_path(self._unit, name)))
        receipt_size = self._sizes.get(_last(receipt_path(self._unit, name)))
        if size is None or receipt_size is None:
            return False
        expected = _Entry(rows, size, receipt_size)
        if self._gathered.get(name) == expected:
            return True
        receipt = read_receipt(self._store, self._unit, name)
        if receipt is None or (receipt.rows, receipt.size) != (rows, size):
            return False
        self._read[name] = expected
        return True

    def is_gathered(self, names: Iterable[str]) -> bool:
        """Whether the gathered file was enough to find all of these."""
        return not any(name in self._read for name in names)

    def to_json(self) -> bytes:
        """Content of the gathered file, with all entries found so far."""
        entries = {**self._gathered, **self._read}
        receipts = {name: [e.rows, e.size, e.receipt_size] for name, e in sorted(entries.items())}
        return encode_checked({"fingerprint": self._unit.fingerprint, "receipts": receipts})


def _read_gathered(store: Store, unit: Unit) -> dict[str, _Entry]:
    """Entries of the gathered file; none where it is of another fingerprint, or damaged."""
    try:
        found = decode_as(_Gathered, store.read(f"{unit.path}/{GATHERED}"))
    except (FileNotFoundError, ValueError):
        return {}
    if found.fingerprint != unit.fingerprint:
        return {}
    return {name: _Entry(*entry) for name, entry in found.receipts.items()}


def _last(path: str) -> str:
    return path.rpartition("/")[2]
