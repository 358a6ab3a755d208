"""Receipts: a shard is done when its receipt says so, and its file is what the receipt says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from vae_batch.plan.shards import Shard, Unit
from vae_batch.storage.store import Store

#: Name of a unit's reduction, in the place of a shard's range.
REDUCTION = "reduction"

#: Name of a unit's file of influences, in the place of a shard's range.
INFLUENCES = "influences"

#: Of files that hold no columns.
_SUFFIXES = {
    "gallery": "npz",
    "pictures": "npz",
    "reference_pictures": "npz",
    "description": "json",
}


class DamagedFileError(OSError):
    """A stored file is missing or differs from its receipt; redoing its shard mends it.

    Attributes:
      unit: The file's unit.
      name: Of its shard, or of the reduction.
    """

    def __init__(self, unit: Unit, name: str, fault: str) -> None:
        """Say what is wrong with which file."""
        super().__init__(f"{file_path(unit, name)} {fault}")
        self.unit, self.name = unit, name


@dataclass(frozen=True)
class Receipt:
    """Proof that a file holds what a plan asked for.

    Attributes:
      fingerprint: Of the unit.
      rows: Samples in the file.
      size: Bytes of the file.
      sha256: Digest of the file.
      seconds: Time the shard took on its worker.
      device: Kind of device that computed it, such as ``cpu`` or a GPU's name.
    """

    fingerprint: str
    rows: int
    size: int
    sha256: str
    seconds: float
    device: str

    def to_json(self) -> bytes:
        """The receipt's file."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()


def file_path(unit: Unit, name: str) -> str:
    """Path of the file of a shard (by its name) or of the unit's reduction."""
    suffix = "npz" if name in (REDUCTION, INFLUENCES) else _SUFFIXES.get(unit.kind, "parquet")
    return f"{unit.path}/part-{name}.{suffix}"


def holds_arrays(unit: Unit) -> bool:
    """Whether a shard's file is an ``.npz`` of arrays that share no axis."""
    return _SUFFIXES.get(unit.kind) == "npz"


def receipt_path(unit: Unit, name: str) -> str:
    """Path of the receipt beside the file."""
    return f"{unit.path}/part-{name}.receipt.json"


def write_with_receipt(
    store: Store,
    unit: Unit,
    name: str,
    content: bytes,
    *,
    rows: int,
    seconds: float = 0.0,
    device: str = "",
) -> Receipt:
    """Write the file, then its receipt; a crash in between leaves the shard undone."""
    digest = hashlib.sha256(content).hexdigest()
    receipt = Receipt(unit.fingerprint, rows, len(content), digest, round(seconds, 4), device)
    store.write(file_path(unit, name), content)
    store.write(receipt_path(unit, name), receipt.to_json())
    return receipt


def read_verified(store: Store, unit: Unit, name: str) -> bytes:
    """The file of a shard or reduction, checked against its receipt's digest.

    Raises:
      DamagedFileError: The file or its receipt is missing, or they do not match.
    """
    receipt = read_receipt(store, unit, name)
    try:
        content = store.read(file_path(unit, name))
    except FileNotFoundError:
        raise DamagedFileError(unit, name, "is missing") from None
    if receipt is None or hashlib.sha256(content).hexdigest() != receipt.sha256:
        raise DamagedFileError(unit, name, "differs from its receipt")
    return content


def read_receipt(store: Store, unit: Unit, name: str) -> Receipt | None:
    """A receipt of this unit's fingerprint; None where there is none that can be used."""
    try:
        receipt = Receipt(**json.loads(store.read(receipt_path(unit, name))))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return receipt if receipt.fingerprint == unit.fingerprint else None


def finished_shards(store: Store, unit: Unit) -> list[Shard]:
    """Shards whose receipt and file (by size) are there; the digest is checked when read."""
    sizes = store.sizes(unit.path)
    return [shard for shard in unit.shards() if _is_finished(store, unit, shard, sizes)]


def is_reduced(store: Store, unit: Unit) -> bool:
    """Whether the unit's reduction is there, by its receipt."""
    receipt = read_receipt(store, unit, REDUCTION)
    return receipt is not None and store.exists(file_path(unit, REDUCTION))


def forget(store: Store, unit: Unit, name: str) -> None:
    """Take a receipt away, so that the shard or reduction counts as undone."""
    store.delete(receipt_path(unit, name))


def _is_finished(store: Store, unit: Unit, shard: Shard, sizes: dict[str, int]) -> bool:
    file_name = file_path(unit, shard.name).rsplit("/", 1)[-1]
    receipt_name = receipt_path(unit, shard.name).rsplit("/", 1)[-1]
    if file_name not in sizes or receipt_name not in sizes:
        return False
    receipt = read_receipt(store, unit, shard.name)
    return receipt is not None and (receipt.size, receipt.rows) == (sizes[file_name], len(shard))
