"""Faults of the files of an output folder that have no receipt: tables and records."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vae_batch.plan import fingerprint, identity_of
from vae_batch.run.compare.best_checkpoint import SELECTION, read_selection, select_best
from vae_batch.run.compare.pairwise import compare_among
from vae_batch.run.output.prune import PRUNED
from vae_batch.run.output.run_record import RUN_FILE, RunRecord
from vae_batch.run.progress.progress_file import PROGRESS_FILE
from vae_batch.run.race.record import RACE
from vae_batch.storage import Store, read_comparisons
from vae_batch.storage.checked_json import decode_checked, is_as_written
from vae_batch.storage.tables import table_faults

TABLES = ("scores", "comparisons")


def record_faults(out: Store, record: RunRecord | None) -> dict[str, str | None]:
    """The fault of each existing table and record by its name, or None where it is intact.

    Args:
        out: The output folder.
        record: None where it cannot be read.
    """
    faults: dict[str, str | None] = {RUN_FILE: _record_fault(out, record)}
    for name in TABLES:
        faults |= table_faults(out, name)
    for name in (SELECTION, RACE, PRUNED, PROGRESS_FILE):
        content = out.find(name)
        if content is not None:
            faults[name] = _json_fault(content)
    # Files that cannot be read are no standard for others.
    if record is not None and SELECTION in faults and not any(faults.values()):
        faults[SELECTION] = _selection_fault(out, record)
    return faults


def _json_fault(content: bytes) -> str | None:
    try:
        decode_checked(content)
    except ValueError as error:
        return f"cannot be read ({error})"
    return None if is_as_written(content) else "is not as it was written"


def _record_fault(out: Store, record: RunRecord | None) -> str | None:
    fault = _json_fault(out.read(RUN_FILE))
    if fault is not None or record is None:
        return fault or "cannot be read as a run's record"
    named = {k: v for k, v in record.identity.items() if k != "fingerprint"}
    if record.identity.get("fingerprint") != fingerprint(**named):
        return "has an identity that does not match its fingerprint"
    of_spec = identity_of(record.spec)
    # A spec may leave open what the run decided, such as the batch size.
    differing = [k for k, v in of_spec.items() if v is not None and named.get(k) != v]
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
