"""Faults of the files of an output folder that have no receipt: tables and records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

from vae_batch.plan import identity_of
from vae_batch.plan.fingerprint import is_fingerprint_of
from vae_batch.run.compare.best_checkpoint import (
    SELECTION,
    Selection,
    read_selection,
    select_best,
)
from vae_batch.run.compare.pairwise import compare_among
from vae_batch.run.output.layout import (
    DRAWN_NOTE,
    LATEST,
    LEASES,
    NIGHTS,
    PAGE_DIGEST,
    SUMMARY,
    SUMMARY_PAGE,
    DrawnNote,
)
from vae_batch.run.output.lease import Holder
from vae_batch.run.output.prune import PRUNED
from vae_batch.run.output.run_record import RUN_FILE, RunRecord
from vae_batch.run.progress.progress_file import PROGRESS_FILE, LastProgress
from vae_batch.run.race.record import RACE, RaceOutcome
from vae_batch.storage import Store, read_comparisons
from vae_batch.storage.checked_json import as_kind, decode_as, decode_checked, is_as_written
from vae_batch.storage.tables import table_faults

TABLES = ("scores", "comparisons", "history")

#: Records with a check of their own, and what they hold.
_RECORDS: dict[str, type[object]] = {
    SELECTION: Selection,
    RACE: RaceOutcome,
    PRUNED: dict[str, str],
    PROGRESS_FILE: LastProgress,
    **dict.fromkeys(LEASES, Holder),
}

#: Fields of a run's record of version 0.1, whose first ones had no check.
_RECORD_OF_0_1 = ("identity", "spec", "rows")

#: What to do about a damaged file that neither ``--mend`` nor ``score`` writes again.
_DRAW = "`vae-batch report` draws it again"


def record_faults(out: Store, record: RunRecord | None) -> dict[str, str | None]:
    """The fault of each existing table and record by its name, or None where it is intact.

    Args:
        out: The output folder.
        record: None where it cannot be read.
    """
    faults: dict[str, str | None] = {RUN_FILE: _record_fault(out, record)}
    for name in TABLES:
        faults |= table_faults(out, name)
    for name, kind in _RECORDS.items():
        content = out.find(name)
        if content is not None:
            faults[name] = _json_fault(content, kind)
    faults |= dict(_night_faults(out))
    faults |= dict(_drawn_faults(out))
    # Files that cannot be read are no standard for others.
    standard = (RUN_FILE, "scores.parquet", "comparisons.parquet", SELECTION)
    if record is not None and SELECTION in faults and not any(map(faults.get, standard)):
        faults[SELECTION] = _selection_fault(out, record)
    return faults


def _json_fault(content: bytes, kind: type[object] = dict) -> str | None:
    try:
        fields = decode_checked(content)
        if not is_as_written(content):
            return "is not as it was written"
        as_kind(kind, fields)
    except ValueError as error:
        return f"cannot be read ({error})"
    return None


def _night_faults(out: Store) -> Iterator[tuple[str, str | None]]:
    """Faults of the summaries of nights, and of the pages beside them."""
    pairs = [
        (f"{NIGHTS}/{date}/{SUMMARY}", f"{NIGHTS}/{date}/{SUMMARY_PAGE}")
        for date in out.folders(NIGHTS)
    ]
    for path, page_path in (*pairs, LATEST):
        content, page = out.find(path), out.find(page_path)
        noted = None
        if content is not None:
            fault = None if _is_of_0_1(content, "\n") else _json_fault(content)
            yield path, fault
            noted = None if fault else decode_checked(content).get(PAGE_DIGEST)
        if page is not None:  # without it the night has not ended, or is done again
            differs = noted is not None and hashlib.sha256(page).hexdigest() != noted
            yield page_path, f"is not the page of {path}" if differs else None


def _is_of_0_1(content: bytes, end: str, names: Collection[str] | None = None) -> bool:
    """Whether it is a record as version 0.1 wrote it, which has no check.

    Args:
        content: Of the file.
        end: Its end after the fields.
        names: Of the fields, where they are known; else a damaged name of the check is one more.
    """
    try:
        fields = decode_checked(content)
    except ValueError:
        return False
    as_written = content == (json.dumps(fields, indent=1) + end).encode()
    return as_written and (names is None or fields.keys() == set(names))


def _drawn_faults(out: Store) -> Iterator[tuple[str, str | None]]:
    """Faults of a report that is noted as drawn, and of its note."""
    note = out.find(DRAWN_NOTE)
    if note is None:
        return
    fault = _json_fault(note, DrawnNote)
    yield DRAWN_NOTE, f"{fault}; {_DRAW}" if fault else None
    for path, digest in ({} if fault else decode_as(DrawnNote, note).digests).items():
        content = out.find(path)
        if content is None:
            yield path, f"is missing; {_DRAW}"
        else:
            differs = hashlib.sha256(content).hexdigest() != digest
            yield path, f"has another digest than {DRAWN_NOTE} says; {_DRAW}" if differs else None


def _record_fault(out: Store, record: RunRecord | None) -> str | None:
    content = out.read(RUN_FILE)
    fault = None if _is_of_0_1(content, "", _RECORD_OF_0_1) else _json_fault(content)
    if fault is not None or record is None:
        return fault or "cannot be read as a run's record"
    named = {k: v for k, v in record.identity.items() if k != "fingerprint"}
    if not is_fingerprint_of(record.identity.get("fingerprint"), named):
        return "has an identity that does not match its fingerprint"
    of_spec = identity_of(record.spec)
    # A spec may leave open what the run decided, such as the batch size; an older version did not
    # name all that this one does.
    differing = [k for k, v in of_spec.items() if v is not None and named.get(k, v) != v]
    return f"has a spec of another {', '.join(differing)}" if differing else None


def _selection_fault(out: Store, record: RunRecord) -> str | None:
    try:
        found = read_selection(out)
        expected = select_best(read_comparisons(out), record.spec, partial(compare_among, out.root))
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"cannot be read or compared ({type(error).__name__})"
    if found is None or expected is None:
        return None if found == expected else "is a selection from no comparisons"
    same = replace(expected, confirmation=found.confirmation) == found
    return None if same else "differs from what the comparisons give"
