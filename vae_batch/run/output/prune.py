"""Deletes activations of scored rows; everything that comparisons need stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vae_batch.plan import InputError, Unit
from vae_batch.run.compare.best_checkpoint import read_selection
from vae_batch.run.output.run_record import RecordedRow, open_record
from vae_batch.run.output.stores import RunStores
from vae_batch.storage import Store, file_path, forget, read_score_rows
from vae_batch.storage.checked_json import decode_as, encode_checked

#: Activations to keep: all; the reference's; the reference's and those of the best checkpoint and
#: of checkpoints not distinguishable from it; none. Moments and influences are always kept.
Keep = Literal["all", "reference", "best", "none"]

#: Which units were pruned: path to fingerprint.
PRUNED = "pruned.json"

#: Units of activations that are never spared for their own sake, by the name a row gives them.
_OF_CHECKPOINT = ("generated", "reconstructed", "training")


@dataclass(frozen=True)
class Pruned:
    """What was deleted: numbers of units and files, and the files' bytes."""

    units: int
    files: int
    size: int


def prune(location: str, keep: Keep) -> Pruned:
    """Delete activations of scored rows; those of waiting and failed rows stay.

    Moments, label distributions, influences, losses, importance weights, pictures, descriptions
    and galleries stay: rows are reported and compared as before, are not scored again, and can get
    further metrics of the stored files. A shared reference cache is not touched.

    Args:
        location: Output folder or URI of a run; no other run may use it meanwhile.
        keep: Activations to keep.

    Raises:
        InputError: No run has begun there, or ``best`` is to be kept and nothing was selected.
    """
    record = open_record(location)
    spec = record.spec.model_copy(update={"out": location})
    stores = RunStores.of(spec)
    if keep == "all":
        return Pruned(0, 0, 0)
    spared = _spared_checkpoints(stores.out) if keep == "best" else frozenset[str]()
    scored = {
        (*row.key, row.provenance.fingerprint)
        for row in read_score_rows(stores.out)
        if row.status == "scored"
    }
    names = (*_OF_CHECKPOINT, *(("reference",) if keep == "none" else ()))
    taken: dict[str, Unit] = {}
    used: set[str] = set()
    for row in record.rows:
        is_scored = (row.checkpoint, row.extractor, row.fingerprint) in scored
        if is_scored and row.checkpoint not in spared:
            taken |= {unit.path: unit for unit in _units(row, names)}
        else:
            used |= {unit.path for unit in row.units.values()}
    units = [unit for path, unit in taken.items() if path not in used]
    if spec.reference_cache:
        units = [unit for unit in units if unit.checkpoint is not None]
    return _delete(stores, units)


def pruned_units(out: Store) -> dict[str, str]:
    """Fingerprints of pruned units by their path; empty where nothing was pruned.

    Raises:
        InputError: The file is damaged.
    """
    found = out.find(PRUNED)
    if found is None:
        return {}
    try:
        return decode_as(dict[str, str], found)
    except ValueError as error:
        raise InputError(
            f"{out.shown_path(PRUNED)} is damaged ({error}); `vae-batch verify {out.shown} --mend` "
            "deletes it, and `vae-batch score` then computes pruned activations again where a "
            "metric needs them"
        ) from error


def is_pruned(pruned: Mapping[str, str], unit: Unit) -> bool:
    """Whether a unit's activations were deleted."""
    return pruned.get(unit.path) == unit.fingerprint


def pruned_reason(out: Store, unit: Unit) -> str | None:
    """Why a unit's activations are missing and what to do, if they were pruned; else None."""
    if not is_pruned(pruned_units(out), unit):
        return None
    return (
        f"the {unit.kind} activations in {unit.path} were pruned; metrics of losses and of moments "
        "alone can still be added, the others need a `vae-batch score` with these metrics added "
        "(which computes the activations again), or another --out"
    )


def _spared_checkpoints(out: Store) -> frozenset[str]:
    selection = read_selection(out)
    if selection is None:
        raise InputError(
            f"{out.shown} has no selection.json, so which checkpoints are best is not known; run "
            "`vae-batch score` to its end, or use --keep reference"
        )
    return frozenset(selection.level)


def _units(row: RecordedRow, names: tuple[str, ...]) -> Iterator[Unit]:
    return (unit for name, unit in row.units.items() if name in names)


def _delete(stores: RunStores, units: list[Unit]) -> Pruned:
    """Note the units, then delete receipts and files of their shards; safe to break off."""
    held = [(unit, stores.holding(unit).sizes(unit.path)) for unit in units]
    held = [(unit, sizes) for unit, sizes in held if any(_shard_files(unit, sizes))]
    if not held:
        return Pruned(0, 0, 0)
    noted = pruned_units(stores.out) | {unit.path: unit.fingerprint for unit, _ in held}
    stores.out.write(PRUNED, encode_checked(dict(sorted(noted.items()))))
    files = size = 0
    for unit, sizes in held:
        store = stores.holding(unit)
        for shard_name, path, length in _shard_files(unit, sizes):
            forget(store, unit, shard_name)
            store.delete(path)
            files, size = files + 1, size + length
    return Pruned(len(held), files, size)


def _shard_files(unit: Unit, sizes: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """Name, path and size of the files of a unit's shards that are there."""
    for shard in unit.shards():
        path = file_path(unit, shard.name)
        length = sizes.get(path.rpartition("/")[2])
        if length is not None:
            yield shard.name, path, length
