"""Everything that an output folder stores, read again: which files are not what they were."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vae_batch.models.autoencoder.description import Description
from vae_batch.plan import Unit, fingerprint, identity_of
from vae_batch.run.pruning import is_pruned, pruned_units
from vae_batch.run.record import RUN_FILE, RunRecord
from vae_batch.run.recorded import open_record
from vae_batch.run.selecting import SELECTION, read_selection, select_best
from vae_batch.run.stores import RunStores
from vae_batch.storage import (
    INFLUENCES,
    REDUCTION,
    Receipt,
    Store,
    decode_arrays,
    decode_columns,
    decode_reduction,
    file_path,
    forget,
    holds_arrays,
    read_comparisons,
    read_score_rows,
    upsert_scores,
    write_comparisons,
)
from vae_batch.storage.receipts import receipt_path

_SCORES = ("scores.parquet", "scores.csv")
_COMPARISONS = ("comparisons.parquet", "comparisons.csv")

#: Files read at a time.
_READERS = 8

_WRITER = re.compile(rb"parquet-cpp-arrow version [0-9.]+")


@dataclass(frozen=True)
class BadFile:
    """A stored file that is not what it should be.

    Attributes:
      path: With the root of its store, without credentials.
      fault: What is wrong.
      store: Holds it.
      name: Of its shard, reduction or influences; of the file where it belongs to no unit.
      unit: It belongs to; None for tables and records.
    """

    path: str
    fault: str
    store: Store
    name: str
    unit: Unit | None = None


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
      bad: Files, in the order of the record.
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
    """A file with a receipt, as it is planned."""

    store: Store
    unit: Unit
    name: str
    rows: int


def verify_output(location: str) -> Verification:
    """Read every file that the record of a run plans, the reference store's among them.

    Files with receipts must be of the size, digest and rows that their receipt says, and
    readable with all page checksums. Tables must be what their own rows give when written again.
    What the report draws is not read: `vae-batch report` writes it anew.

    A receipt has no digest of its own: a bit flipped in its ``seconds`` or ``device``, and one in
    a path that ``run.json`` names, is not found.

    Raises:
      InputError: No run has begun there, or its record cannot be read.
    """
    record = open_record(location)
    stores = RunStores.of(record.spec.model_copy(update={"out": location}))
    gone = pruned_units(stores.out)
    parts = list(_parts(stores, record))
    with ThreadPoolExecutor(_READERS) as pool:
        faults = list(pool.map(_fault, parts))
    bad, checked, unfinished, pruned = [], 0, 0, 0
    for part, fault in zip(parts, faults, strict=True):
        if fault == _MISSING_RECEIPT:
            is_gone = is_pruned(gone, part.unit) and part.name not in (REDUCTION, INFLUENCES)
            pruned += is_gone
            unfinished += not is_gone and part.name != INFLUENCES
            continue
        checked += 1
        if fault:
            path = part.store.folder(file_path(part.unit, part.name)).shown
            bad.append(BadFile(path, fault, part.store, part.name, part.unit))
    tables = list(_table_faults(stores.out, record))
    found = [BadFile(stores.out.folder(n).shown, f, stores.out, n) for n, f in tables if f]
    return Verification((*bad, *found), checked + len(tables), unfinished, pruned)


def mend(location: str, verification: Verification) -> None:
    """Take bad files out of use, so that the next run of the same settings redoes them alone.

    Receipts of bad files are removed, and rows made of them lose their fingerprint, so that they
    are scored again; of a row whose activations were pruned, those are computed again, too.
    Damaged tables are removed, or written anew where only the CSV is damaged.
    """
    record = open_record(location)
    out = Store.open(location)
    names = {bad.name for bad in verification.bad if bad.unit is None}
    for files in (_SCORES, _COMPARISONS):
        if files[0] in names:
            for name in files:
                out.delete(name)
    if SELECTION in names:
        out.delete(SELECTION)
    units = {bad.unit.path for bad in verification.bad if bad.unit is not None}
    touched = {
        (row.checkpoint, row.extractor)
        for row in record.rows
        if units & {unit.path for unit in row.units.values()}
    }
    rows = [r for r in read_score_rows(out) if (r["checkpoint"], r["extractor"]) in touched]
    if rows or "scores.csv" in names:
        upsert_scores(out, [{**row, "fingerprint": None} for row in rows])
    if "comparisons.csv" in names and _COMPARISONS[0] not in names:
        write_comparisons(out, read_comparisons(out))
    for bad in verification.bad:
        if bad.unit is not None:
            forget(bad.store, bad.unit, bad.name)


_MISSING_RECEIPT = "has no receipt"


def _parts(stores: RunStores, record: RunRecord) -> Iterator[_Part]:
    """Files of all units of all recorded rows, each once; and the reference images."""
    units = {unit.path: unit for row in record.rows for unit in row.units.values()}
    for unit in units.values():
        store = stores.holding(unit)
        for shard in unit.shards():
            yield _Part(store, unit, shard.name, len(shard))
        if unit.kind in ("generated", "reconstructed", "reference"):
            yield _Part(store, unit, REDUCTION, unit.samples)
        if unit.kind == "generated":
            yield _Part(store, unit, INFLUENCES, unit.samples)
    activations = {u.path.split("/")[0]: u for u in units.values() if u.kind == "reference"}
    for folder, unit in activations.items():
        for images in _image_units(stores.reference, folder, unit):
            for shard in images.shards():
                yield _Part(stores.reference, images, shard.name, len(shard))


def _image_units(store: Store, folder: str, activations: Unit) -> Iterator[Unit]:
    """Stored images that activations were made of; their fingerprint stands in their receipts."""
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
    """A receipt as it stands there, or what is wrong with it."""
    try:
        content = store.read(receipt_path(unit, name))
        receipt = Receipt(**json.loads(content))
    except FileNotFoundError:
        return _MISSING_RECEIPT
    except (OSError, ValueError, TypeError) as error:
        return f"has an unreadable receipt ({type(error).__name__})"
    return receipt if receipt.to_json() == content else "has a receipt of another form"


def _fault(part: _Part) -> str | None:
    """What is wrong with a file and its receipt; None where nothing is."""
    receipt = _receipt_of(part.store, part.unit, part.name)
    if isinstance(receipt, str):
        return receipt
    if receipt.fingerprint != part.unit.fingerprint:
        return "has a receipt of another fingerprint"
    if receipt.rows != part.rows:
        return f"has a receipt of {receipt.rows} rows, planned are {part.rows}"
    try:
        content = part.store.read(file_path(part.unit, part.name))
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error}"
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
    """What is wrong inside; raises where it cannot be read at all."""
    if part.name == REDUCTION:
        moments = decode_reduction(content).moments
        if moments is not None and moments.count != part.rows:
            yield f"holds moments of {moments.count} samples, planned are {part.rows}"
    elif part.name == INFLUENCES or holds_arrays(part.unit):
        decode_arrays(content)
    elif part.unit.kind == "description":
        Description.from_json(content)
    else:
        rows = {len(column) for column in decode_columns(content).values()}
        if rows != {part.rows}:
            yield f"holds {sorted(rows)} rows, planned are {part.rows}"


def _table_faults(out: Store, record: RunRecord) -> Iterator[tuple[str, str | None]]:
    """Name and fault of each file that has no receipt; those that are not there are left out."""
    yield RUN_FILE, _record_fault(record)

    def scores(store: Store) -> None:
        upsert_scores(store, read_score_rows(out))

    def comparisons(store: Store) -> None:
        write_comparisons(store, read_comparisons(out))

    for names, write in ((_SCORES, scores), (_COMPARISONS, comparisons)):
        if any(out.exists(name) for name in names):
            yield from _rewritten_faults(out, names, write)
    if out.exists(SELECTION):
        yield SELECTION, _selection_fault(out, record)


def _record_fault(record: RunRecord) -> str | None:
    named = {k: v for k, v in record.identity.items() if k != "fingerprint"}
    if record.identity.get("fingerprint") != fingerprint(**named):
        return "has an identity that is not its fingerprint's"
    of_spec = identity_of(record.spec)
    # A spec may leave open what the run settled, such as the batch size.
    differing = [k for k, v in of_spec.items() if v is not None and named.get(k) != v]
    return f"has a spec of another {', '.join(differing)}" if differing else None


def _rewritten_faults(
    out: Store, names: tuple[str, str], write: Callable[[Store], None]
) -> Iterator[tuple[str, str | None]]:
    """A table (Parquet and CSV) against itself written anew: a footer has no checksum."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Store.open(folder)
        try:
            write(fresh)
        except Exception as error:  # as above
            yield names[0], f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
            return
        for name in names:
            if not out.exists(name):
                yield name, "is missing"
                continue
            found, expected = out.read(name), fresh.read(name)
            same_writer = _WRITER.findall(found) == _WRITER.findall(expected)
            fault = "differs from its own rows written anew" if name == names[0] else (
                f"differs from the rows of {names[0]}"
            )  # fmt: skip
            yield name, fault if found != expected and same_writer else None


def _selection_fault(out: Store, record: RunRecord) -> str | None:
    try:
        found = read_selection(out)
        expected = select_best(read_comparisons(out), record.spec)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"cannot be read or compared ({type(error).__name__})"
    if found is None or expected is None:
        return None if found == expected else "is a selection from no comparisons"
    same = replace(expected, confirmation=found.confirmation) == found
    return None if same else "differs from what the comparisons give"
