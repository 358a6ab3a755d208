"""Reads every stored file of an output folder again, to find damaged ones.

Files with receipts must have the size, digest and rows of their receipt, and pass all page
checksums; receipts and records have a check of their own. The CSV of a table must match its
Parquet; figures and page must be as they were drawn. Files of checkpoints that no run plans any
more are checked against their receipts. Temporary files are those of a process that was killed.

Not read are locks, logs, tracebacks, and files that nothing refers to any more: those of shards
without a receipt, and figures of an interrupted report. Files that the package does not write are
counted and left alone.

Files of older versions are accepted where they lack a check: a flipped bit in ``seconds`` of such a
receipt, or in the footer of such a table, is not found.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import InputError, Unit
from vae_batch.run.compare.best_checkpoint import CONFIRMATION
from vae_batch.run.output.layout import is_expected, is_temporary
from vae_batch.run.output.lease import holder_of
from vae_batch.run.output.prune import pruned_units
from vae_batch.run.output.record_faults import record_faults
from vae_batch.run.output.run_record import RUN_FILE, DamagedRecordError, RunRecord, open_record
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import (
    INFLUENCES,
    REDUCTION,
    Receipt,
    Store,
    decode_arrays,
    decode_columns,
    decode_reduction,
    file_path,
    holds_arrays,
)
from vae_batch.storage.checked_json import is_as_written
from vae_batch.storage.receipts import receipt_path
from vae_batch.storage.unit_progress import GATHERED

#: Files read at a time.
_READERS = 8

_RECEIPT = ".receipt.json"
_MISSING_RECEIPT = "has no receipt"

_TEMPORARY = "is a temporary file that a killed process left behind"
_TEMPORARY_AGE = 3600.0  # seconds


@dataclass(frozen=True)
class BadFile:
    """A damaged or missing file.

    Attributes:
        path: With the root of its store, without credentials.
        fault: What is wrong.
        store: The store with the file.
        name: Of its shard, reduction or influences; for a file without a receipt, its path in the
            store.
        unit: The unit that it belongs to; None for tables and records.
    """

    path: str
    fault: str
    store: Store
    name: str
    unit: Unit | None = None


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        bad: Damaged or missing files, in the order of the record.
        checked: Number of files read.
        unfinished: Shards and reductions without a receipt, which the next run computes.
        pruned: Shards whose activations were pruned.
        unknown: Paths of files that the package does not write.
    """

    bad: tuple[BadFile, ...] = ()
    checked: int = 0
    unfinished: int = 0
    pruned: int = 0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """A file with a receipt; ``rows`` is None for unplanned files, which may be absent."""

    store: Store
    unit: Unit
    name: str
    rows: int | None

    @property
    def paths(self) -> tuple[str, str]:
        """The file and its receipt, with the root of their store."""
        names = file_path(self.unit, self.name), receipt_path(self.unit, self.name)
        file, receipt = (self.store.folder(name).shown for name in names)
        return file, receipt


def verify_output(location: str) -> Verification:
    """Read every file that the record of a run plans, and others found beside them.

    They include the files of the reference store and of a confirmation's own run. Where the record
    itself cannot be read, files with receipts are checked against these alone.

    Raises:
        InputError: No run has begun there.
        OSError: The store cannot be read.
    """
    out, read = Store.open(location), dict[str, BadFile | None]()
    parts: dict[tuple[str, str, str], _Part] = {}
    caches: list[Store] = []
    runs = list(runs_in(location))
    for store, record in runs:
        for name, fault in record_faults(store, record).items():
            read |= _read(store, name, fault)
        if record is not None:
            stores = RunStores.of(record.spec)
            caches += [stores.reference] if record.spec.reference_cache else []
            own = [(_key(p), p) for p in _parts(stores, record)]
            parts |= {key: part for key, part in own if key not in parts}  # a reference is shared
    pruned = {pair for store, _ in runs for pair in _pruned(store).items()}
    done, unfinished = _of_parts(list(parts.values()))
    gone = sum(p.name != REDUCTION and (p.unit.path, p.unit.fingerprint) in pruned
               for p in unfinished)  # fmt: skip
    read |= _of_gathered(list({(p.store, p.unit.path): None for p in parts.values()}))
    planned = {path for part in parts.values() for path in part.paths}
    others, unknown = _of_others(out, planned | read.keys())
    for each in (done, others, *map(_old_temporaries, caches)):
        read |= each
    return Verification(
        bad=tuple(bad for bad in read.values() if bad is not None),
        checked=len(read),
        unfinished=len(unfinished) - gone,
        pruned=gone,
        unknown=unknown,
    )


def runs_in(location: str) -> Iterator[tuple[Store, RunRecord | None]]:
    """Output folder and record of a run, and of its confirmation where it has one.

    The record is None where it exists and cannot be read.

    Raises:
        InputError: No run has begun there.
    """
    out = Store.open(location)
    below = out.folder(CONFIRMATION)
    for store in (out, below) if below.exists(RUN_FILE) else (out,):
        try:
            yield store, open_record(store.root)
        except DamagedRecordError:
            yield store, None


#: Paths of files that were read, with their store, and the file where it is bad.
_Read = dict[str, BadFile | None]


def _read(store: Store, name: str, fault: str | None) -> _Read:
    """The entry of a file without a unit."""
    path = store.folder(name).shown
    return {path: BadFile(path, fault, store, name) if fault else None}


def _key(part: _Part) -> tuple[str, str, str]:
    local = part.store.local_folder
    root = part.store.root if local is None else os.path.realpath(local)
    return root, part.unit.path, part.name


def _of_gathered(units: list[tuple[Store, str]]) -> _Read:
    """Verify the gathered receipts of units; a unit may have none."""

    def checked(unit: tuple[Store, str]) -> _Read:
        store, path = unit
        found = GATHERED in store.sizes(path)
        return _gathered(store, f"{path}/{GATHERED}") if found else {}

    with ThreadPoolExecutor(_READERS) as pool:
        return {path: bad for read in pool.map(checked, units) for path, bad in read.items()}


def _gathered(store: Store, name: str) -> _Read:
    return _read(store, name, None if is_as_written(store.read(name)) else "is damaged")


def _of_others(out: Store, known: Collection[str]) -> tuple[_Read, tuple[str, ...]]:
    """Files of an output folder that are neither records nor of planned units.

    Returns:
        Files of units that nothing plans any more, checked by their receipts, and temporary ones,
        which are bad; and the paths of files that the package does not write.
    """
    names = [name for name in out.files() if out.folder(name).shown not in known]
    holder = holder_of(out)
    is_in_use = holder is not None and not holder.is_expired  # its files are being written
    read, unknown = _Read(), []
    beginning: dict[str, list[str]] = {}
    for name in names:
        beginning.setdefault(_stem(name), []).append(name)
    for name in names:
        if is_temporary(name):
            read |= {} if is_in_use else _read(out, name, _TEMPORARY)
        elif name.endswith(_RECEIPT):
            read |= _read(out, name, _fault_by_receipt(out, name, beginning[_stem(name)]))
        elif name.rpartition("/")[2] == GATHERED:
            read |= _gathered(out, name)
        elif not is_expected(name):
            unknown.append(out.folder(name).shown)
    return read, tuple(unknown)


def _stem(path: str) -> str:
    """A path up to the first dot of its name, which a file and its receipt share."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _fault_by_receipt(store: Store, name: str, names: Collection[str]) -> str | None:
    """The fault of a receipt that no plan names, or of the file that it is of."""
    start = name.removesuffix("receipt.json")
    try:
        content = store.read(name)
        receipt = Receipt.from_json(content)
    except ValueError as error:
        return f"is unreadable ({str(error)[:200]})"
    if receipt.to_json() != content:
        return "is of another form"
    files = [other for other in names if other.startswith(start) and other != name]
    if len(files) != 1:
        return "is of a file that is missing"
    digest = hashlib.sha256(store.read(files[0])).hexdigest()
    return None if digest == receipt.sha256 else f"has another digest than {files[0]}"


def _old_temporaries(cache: Store) -> _Read:
    """Temporary files in a shared cache; other runs may be writing those of the last hour."""
    folder, read = cache.local_folder, _Read()
    if folder is not None:
        for name in filter(is_temporary, cache.files()):
            with suppress(FileNotFoundError):
                if time.time() - (folder / name).stat().st_mtime > _TEMPORARY_AGE:
                    read |= _read(cache, name, _TEMPORARY)
    return read


def _pruned(out: Store) -> dict[str, str]:
    try:
        return pruned_units(out)
    except InputError:  # named among the records
        return {}


def _of_parts(parts: list[_Part]) -> tuple[_Read, list[_Part]]:
    """Files with receipts, and the parts without one."""
    with ThreadPoolExecutor(_READERS) as pool:
        faults = list(pool.map(_fault, parts))
    read, unfinished = _Read(), []
    for part, fault in zip(parts, faults, strict=True):
        if fault == _MISSING_RECEIPT:
            unfinished.append(part)
            continue
        path = part.paths[0]
        read[path] = BadFile(path, fault, part.store, part.name, part.unit) if fault else None
    return read, unfinished


def _parts(stores: RunStores, record: RunRecord) -> Iterator[_Part]:
    """Files of all units of all recorded rows, each once; and the reference images."""
    units = {unit.path: unit for row in record.rows for unit in row.units.values()}
    for unit in units.values():
        yield from _parts_of_unit(stores.holding(unit), unit)
    activations = {u.path.split("/")[0]: u for u in units.values() if u.kind == "reference"}
    for folder, unit in activations.items():
        for images in _image_units(stores.reference, folder, unit):
            yield from _parts_of_unit(stores.reference, images)


def _parts_of_unit(store: Store, unit: Unit) -> Iterator[_Part]:
    """Planned files, and others with a receipt: influences, pictures, arrays for the report."""
    planned = {shard.name: len(shard) for shard in unit.shards()}
    if unit.kind in ("generated", "reconstructed", "reference"):
        planned[REDUCTION] = unit.samples
    for name, rows in planned.items():
        yield _Part(store, unit, name, rows)
    for file in store.sizes(unit.path):
        name = file.removeprefix("part-").removesuffix(_RECEIPT)
        if file.endswith(_RECEIPT) and name not in planned:
            yield _Part(store, unit, name, None)


def _image_units(store: Store, folder: str, activations: Unit) -> Iterator[Unit]:
    """Stored images of activations; their fingerprint is read from their receipts."""
    for name in store.folders(folder):
        start = f"uint8-{activations.shard_size}-"
        if not name.startswith(start):
            continue
        unit = replace(activations, path=f"{folder}/{name}", kind="images", extractor=None)
        marks = (_receipt_of(store, unit, shard.name) for shard in unit.shards())
        known = (mark.fingerprint for mark in marks if isinstance(mark, Receipt))
        mark = next((m for m in known if m.startswith(name.removeprefix(start))), "unknown")
        yield replace(unit, fingerprint=mark)


def _receipt_of(store: Store, unit: Unit, name: str) -> Receipt | str:
    """A receipt, or its fault."""
    try:
        content = store.read(receipt_path(unit, name))
    except FileNotFoundError:
        return _MISSING_RECEIPT
    try:
        receipt = Receipt.from_json(content)
    except ValueError as error:
        return f"has an unreadable receipt ({str(error)[:200]})"
    return receipt if receipt.to_json() == content else "has a receipt of another form"


def _fault(part: _Part) -> str | None:
    """The fault of a file or its receipt; None where both are intact."""
    receipt = _receipt_of(part.store, part.unit, part.name)
    if isinstance(receipt, str):
        return receipt
    if receipt.fingerprint != part.unit.fingerprint:
        return "has a receipt of another fingerprint"
    if part.rows is not None and receipt.rows != part.rows:
        return f"has a receipt of {receipt.rows} rows, planned are {part.rows}"
    try:
        content = part.store.read(file_path(part.unit, part.name))
    except FileNotFoundError:
        return "is missing"
    problems = []
    if len(content) != receipt.size:
        problems.append(f"is {len(content)} bytes long, its receipt says {receipt.size}")
    elif hashlib.sha256(content).hexdigest() != receipt.sha256:
        problems.append("has another digest than its receipt says")
    try:
        problems += _content_faults(part, content)
    except Exception as error:  # what damaged bytes raise is as varied as the formats
        problems.append(f"cannot be read ({type(error).__name__}: {str(error)[:200]})")
    return "; ".join(problems) or None


def _content_faults(part: _Part, content: bytes) -> Iterator[str]:
    """Faults of a file's content; raises where it cannot be read at all."""
    if part.name == REDUCTION:
        moments = decode_reduction(content).moments
        has_samples = part.unit.samples > 0  # statistics are of images that are not stored
        if has_samples and moments is not None and moments.count != part.rows:
            yield f"holds moments of {moments.count} samples, planned are {part.rows}"
    elif part.rows is None or part.name == INFLUENCES or holds_arrays(part.unit):
        decode_arrays(content)
    elif part.unit.kind == "description":
        Description.from_json(content)
    else:
        rows = {len(column) for column in decode_columns(content).values()}
        if rows != {part.rows}:
            yield f"holds {sorted(rows)} rows, planned are {part.rows}"
