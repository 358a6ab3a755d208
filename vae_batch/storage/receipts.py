"""Receipts: a shard is done when it has a receipt that matches its file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from vae_batch.plan.quantities import Count, Seconds
from vae_batch.plan.shards import Shard, Unit
from vae_batch.storage.checked_json import parse_as
from vae_batch.storage.retry import looks
from vae_batch.storage.store import OtherContentError, Store

#: Name of a unit's reduction, in the place of a shard's range.
REDUCTION = "reduction"

#: Name of a unit's file of influences, in the place of a shard's range.
INFLUENCES = "influences"

#: Name of the file of a unit of images with a digest of each, in the place of a shard's range.
DIGESTS = "digests"

#: Name of a unit's file of what the report shows of it, in the place of a shard's range.
SHOWN = "shown"

#: Whether a stage computed the content of a file, or it was copied from another file.
Source = Literal["computed", "cache"]

#: Ends the name of pictures that lie beside a shard's columns.
_PICTURES = "-pictures"

#: Of files that hold no columns.
_SUFFIXES = {
    "gallery": "npz",
    "pictures": "npz",
    "reference_pictures": "npz",
    "description": "json",
}


class DamagedFileError(OSError):
    """A stored file is missing or differs from its receipt; its shard must be computed again.

    Attributes:
        unit: The file's unit.
        name: Of its shard, or of the reduction.
    """

    def __init__(self, unit: Unit, name: str, fault: str) -> None:
        """Name the file and its fault."""
        super().__init__(f"{file_path(unit, name)} {fault}")
        self.unit, self.name = unit, name


@dataclass(frozen=True)
class Receipt:
    """Proof that a file is whole and holds what a plan asked for.

    Attributes:
        fingerprint: Of the unit.
        rows: Samples in the file.
        size: Bytes of the file.
        sha256: Digest of the file.
        seconds: Time the shard took on its worker; 0 where nothing was computed.
        device: Kind of device that computed it, such as ``cpu`` or a GPU's name.
        batch_size: Of the batches it was computed in; 0 where none were run.
        check: Digest of the other fields, as :meth:`checked` sets it. Receipts of older versions
            have none and are accepted.
        source: Where the content came from; None in receipts of older versions.
        is_deterministic: Whether the same computation gives the same bits; False where an operation
            has no deterministic kernel on the device.
    """

    fingerprint: str
    rows: Count
    size: Count
    sha256: str
    seconds: Seconds
    device: str
    batch_size: Count = 0
    check: str = ""
    source: Source | None = None
    is_deterministic: bool = True

    @property
    def is_computed(self) -> bool:
        """Whether ``seconds`` is the time of a computation.

        Receipts of older versions name no source; in those of cached content ``seconds`` is 0.
        """
        return self.seconds > 0 if self.source is None else self.source == "computed"

    def checked(self) -> Receipt:
        """The same receipt with its check."""
        return dataclasses.replace(self, check=self._digest())

    def to_json(self) -> bytes:
        """The receipt's file."""
        fields = self._fields()
        if not self.check:  # of an older version
            del fields["batch_size"], fields["check"]
        return json.dumps(fields, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Receipt:
        """The receipt of a file.

        Raises:
            ValueError: It is no receipt, or its check does not match its fields.
        """
        receipt = parse_as(cls, content)
        if receipt.check and receipt.check != receipt._digest():
            raise ValueError("the receipt's check does not match its fields")
        return receipt

    def _fields(self) -> dict[str, str | int | float]:
        """The fields that the receipt's version has."""
        fields = dataclasses.asdict(self)
        if self.source is None:
            del fields["source"]
        if self.is_deterministic:  # as in receipts of older versions
            del fields["is_deterministic"]
        return fields

    def _digest(self) -> str:
        fields = self._fields()
        del fields["check"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


def file_path(unit: Unit, name: str) -> str:
    """Path of the file of a shard (by its name) or of the unit's reduction."""
    is_npz = name in (REDUCTION, INFLUENCES, SHOWN, DIGESTS) or name.endswith(_PICTURES)
    suffix = "npz" if is_npz else _SUFFIXES.get(unit.kind, "parquet")
    return f"{unit.path}/part-{name}.{suffix}"


def shard_of_pictures(name: str) -> str:
    """Name of the shard that the pictures belong to; other names are returned unchanged."""
    return name.removesuffix(_PICTURES)


def pictures_name(shard: Shard) -> str:
    """Name of the pictures beside a shard's columns; a shard can be done without them."""
    return shard.name + _PICTURES


def holds_arrays(unit: Unit) -> bool:
    """Whether a shard's file is an ``.npz`` of arrays, not Parquet columns."""
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
    batch_size: int = 0,
    source: Source = "computed",
    is_deterministic: bool = True,
) -> Receipt:
    """Write a file, then its receipt; after a crash in between the shard is not done."""
    digest, spent = hashlib.sha256(content).hexdigest(), round(seconds, 4)
    receipt = Receipt(
        *(unit.fingerprint, rows, len(content), digest, spent, device, batch_size),
        source=source,
        is_deterministic=is_deterministic,
    ).checked()
    store.write(file_path(unit, name), content)
    store.write(receipt_path(unit, name), receipt.to_json())
    return receipt


def read_verified(store: Store, unit: Unit, name: str) -> bytes:
    """Content of the file of a shard or reduction, checked against its receipt.

    Raises:
        DamagedFileError: The file or its receipt is missing, or they do not match.
    """
    receipt = read_receipt(store, unit, name)
    if receipt is None:
        raise DamagedFileError(unit, name, "has no receipt that can be used")
    try:
        return store.read_expected(file_path(unit, name), receipt.sha256)
    except FileNotFoundError:
        raise DamagedFileError(unit, name, "is missing") from None
    except OtherContentError:
        raise DamagedFileError(unit, name, "differs from its receipt") from None


def read_receipt(store: Store, unit: Unit, name: str) -> Receipt | None:
    """The receipt of a shard or reduction; None unless it is intact and of the unit's fingerprint.

    On object stores a receipt that is damaged, or missing though listed, is read again.
    """
    path = receipt_path(unit, name)
    for number in looks(again=not store.is_local):
        try:
            receipt = Receipt.from_json(store.read(path))
        except FileNotFoundError:
            if number == 1 and path.rpartition("/")[2] not in store.sizes(unit.path):
                return None
        except ValueError:
            pass
        else:
            return receipt if receipt.fingerprint == unit.fingerprint else None
    return None


def forget(store: Store, unit: Unit, name: str) -> None:
    """Delete a receipt, so that the shard or reduction is computed again."""
    store.delete(receipt_path(unit, name))
