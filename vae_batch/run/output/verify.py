"""Reads every stored file of an output folder again, to find damaged ones.

Files with receipts must have the size, digest and rows of their receipt, and pass all page
checksums; receipts and records have a check of their own. The CSV of a table must match its
Parquet. Files that are drawn from stored files are not read (the page, figures and summaries of
nightly runs, which `vae-batch report` and the next nightly run write again); nor is the lease.

Files of older versions are accepted where they lack a check: a flipped bit in ``seconds`` of such a
receipt, or in the footer of such a table, is not found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import Unit
from vae_batch.run.compare.best_checkpoint import CONFIRMATION
from vae_batch.run.output.prune import pruned_units
from vae_batch.run.output.record_faults import record_faults
from vae_batch.run.output.recorded_rows import open_record
from vae_batch.run.output.run_record import RUN_FILE, DamagedRecordError, RunRecord
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
    """

    bad: tuple[BadFile, ...]
    checked: int
    unfinished: int
    pruned: int


@dataclass(frozen=True)
class _Part:
    """A file with a receipt; ``rows`` is None for unplanned files, which may be absent."""

    store: Store
    unit: Unit
    name: str
    rows: int | None


def verify_output(location: str) -> Verification:
    """Read every file that the record of a run plans, and others found beside them.

    They include the files of the reference store and of a confirmation's own run. Where the record
    itself cannot be read, only files without receipts are read.

    Raises:
        InputError: No run has begun there.
        OSError: The store cannot be read.
    """
    parts: dict[tuple[str, str, str], _Part] = {}
    found: list[Verification] = []
    runs = list(runs_in(location))
    pruned = {pair for out, _ in runs for pair in _pruned(out).items()}
    for out, record in runs:
        found.append(_of_records(out, record))
        if record is not None:
            own = [(_key(p), p) for p in _parts(RunStores.of(record.spec), record)]
            new = {key: part for key, part in own if key not in parts}  # a reference is shared
            parts |= new
            found.append(_of_parts(list(new.values()), pruned))
    found.append(_of_gathered(list({(p.store, p.unit.path): None for p in parts.values()})))
    return Verification(
        tuple(bad for each in found for bad in each.bad),
        sum(each.checked for each in found),
        sum(each.unfinished for each in found),
        sum(each.pruned for each in found),
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


def _key(part: _Part) -> tuple[str, str, str]:
    local = part.store.local_folder
    root = part.store.root if local is None else os.path.realpath(local)
    return root, part.unit.path, part.name


def _of_records(out: Store, record: RunRecord | None) -> Verification:
    """Tables and records of the output folder."""
    faults = record_faults(out, record)
    bad = [BadFile(out.folder(n).shown, f, out, n) for n, f in faults.items() if f]
    return Verification(tuple(bad), len(faults), 0, 0)


def _of_gathered(units: list[tuple[Store, str]]) -> Verification:
    """Verify the gathered receipts of units; a unit may have none."""

    def fault(unit: tuple[Store, str]) -> bool | None:
        store, path = unit
        if GATHERED not in store.sizes(path):
            return None
        return not is_as_written(store.read(f"{path}/{GATHERED}"))

    with ThreadPoolExecutor(_READERS) as pool:
        faults = list(pool.map(fault, units))
    bad = [
        BadFile(store.folder(name).shown, "is damaged", store, name)
        for (store, path), is_bad in zip(units, faults, strict=True)
        if is_bad and (name := f"{path}/{GATHERED}")
    ]
    return Verification(tuple(bad), sum(found is not None for found in faults), 0, 0)


def _pruned(out: Store) -> dict[str, str]:
    try:
        return pruned_units(out)
    except OSError:  # named among the records
        return {}


def _of_parts(parts: list[_Part], gone: Collection[tuple[str, str]]) -> Verification:
    """Files with receipts; ``gone`` are paths and fingerprints of units pruned in any of the runs.

    A confirmation reads the reference of its run, which may have been pruned there.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        faults = list(pool.map(_fault, parts))
    bad, checked, unfinished, pruned = [], 0, 0, 0
    for part, fault in zip(parts, faults, strict=True):
        if fault == _MISSING_RECEIPT:
            mark = part.unit.path, part.unit.fingerprint
            is_gone = part.name != REDUCTION and mark in gone
            pruned += is_gone
            unfinished += not is_gone
            continue
        checked += 1
        if fault:
            path = part.store.folder(file_path(part.unit, part.name)).shown
            bad.append(BadFile(path, fault, part.store, part.name, part.unit))
    return Verification(tuple(bad), checked, unfinished, pruned)


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
    except (ValueError, TypeError) as error:
        return f"has an unreadable receipt ({type(error).__name__}: {str(error)[:200]})"
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
        if moments is not None and moments.count != part.rows:
            yield f"holds moments of {moments.count} samples, planned are {part.rows}"
    elif part.rows is None or part.name == INFLUENCES or holds_arrays(part.unit):
        decode_arrays(content)
    elif part.unit.kind == "description":
        Description.from_json(content)
    else:
        rows = {len(column) for column in decode_columns(content).values()}
        if rows != {part.rows}:
            yield f"holds {sorted(rows)} rows, planned are {part.rows}"
