"""``run.json``: what an output folder belongs to, and which units its rows are made of.

The spec is stored without credentials (``vae_batch.plan.credentials``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn

from pydantic import PlainValidator

from vae_batch.plan import EvaluationSpec, InputError, Unit, identity_of, make_spec
from vae_batch.plan.credentials import lend_credentials, values_without_credentials
from vae_batch.plan.fingerprint import differing_keys
from vae_batch.run.output.stores import RunStores
from vae_batch.run.planning.run_plan import Device, PlannedRow, RunPlan
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import ScoreRow, Store, read_score_rows, superseded
from vae_batch.storage.checked_json import decode_as, encode_checked
from vae_batch.storage.store import Anchor

RUN_FILE = "run.json"

#: Libraries whose versions may move a number's last digits, or what can be read.
_LIBRARIES = ("tensorflow", "keras", "numpy", "scipy", "ray", "pyarrow")


class DamagedRecordError(InputError):
    """``run.json`` is there and cannot be used."""


@dataclass(frozen=True)
class RecordedRow:
    """A row that a run of this folder planned."""

    checkpoint: str
    extractor: str
    fingerprint: str
    units: dict[str, Unit]


def _stored_spec(values: object) -> EvaluationSpec:
    if not isinstance(values, dict):
        raise ValueError(f"expected a table, found {type(values).__name__}")
    return make_spec(values, source="its spec")


@dataclass(frozen=True)
class RunRecord:
    """The record of all runs of an output folder.

    Attributes:
      identity: What the folder belongs to.
      spec: Of the latest run.
      rows: Of all runs.
      versions: Of Python and libraries in the latest run's driver; workers must have the same.
      device: What the workers of all runs compute on; empty before the first has begun.
    """

    identity: dict[str, Any]
    spec: Annotated[EvaluationSpec, PlainValidator(_stored_spec)]
    rows: tuple[RecordedRow, ...]
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    device: Device = ""


def read_record(out: Store) -> RunRecord | None:
    """The record of an output folder; None where no run has begun.

    Raises:
      DamagedRecordError: The file is damaged or not a run's.
    """
    found = out.find(RUN_FILE)
    if found is None:
        return None
    try:
        return decode_as(RunRecord, found)
    except ValueError as error:
        raise DamagedRecordError(
            f"{out.shown_path(RUN_FILE)} cannot be read ({error}); it is damaged or not a run's: "
            f"`vae-batch verify {out.shown} --mend` removes it, and the same `vae-batch score` "
            "then writes it anew and goes on from what is stored; or use another --out"
        ) from None


def claim_output(plan: RunPlan, found: RunRecord | None) -> RunPlan:
    """Write the plan into the record, or refuse a folder of another identity.

    Rows of earlier runs stay, so that a night's new checkpoints join the old ones.

    Args:
        plan: Of the run that holds the folder's lease.
        found: The record as it stands.

    Returns:
        The plan, which writes no more where its record is missing.

    Raises:
        InputError: Names each setting that differs.
    """
    if found is not None:
        require_identity(plan, found)
    rows = {(row.checkpoint, row.extractor): row for row in (found.rows if found else ())}
    for key in superseded(rows, (row.key for row in plan.rows)):
        del rows[key]
    rows |= {row.key: _recorded(row) for row in plan.rows}
    content = {
        "identity": plan.identity,
        "spec": values_without_credentials(plan.spec.model_dump(mode="json")),
        "rows": [dataclasses.asdict(row) for row in rows.values()],
        "versions": {"python": platform.python_version(), **library_versions()},
        "device": plan.device,
    }
    out = plan.stores.out
    out.write(RUN_FILE, encode_checked(content))
    return dataclasses.replace(plan, stores=plan.stores.anchored(Anchor(out.root, RUN_FILE)))


def require_identity(plan: RunPlan, found: RunRecord) -> None:
    """Refuse a folder whose runs have another identity than a plan.

    Raises:
        InputError: Names each setting that differs.
    """
    if found.identity != plan.identity:
        _refuse(plan.stores.out, found, plan.identity)


def require_device(plan: RunPlan, device: Device) -> None:
    """Refuse to go on with a folder on another kind of device, whose last digits differ.

    Raises:
        InputError: Names both kinds.
    """
    if plan.device not in ("", device):
        names = {"cpu": "CPUs", "gpu": "GPUs"}
        raise InputError(
            f"output folder {plan.stores.out.shown}: its runs computed on {names[plan.device]}, "
            f"and the workers of this one have {names[device]}, whose last digits differ. Go on "
            f"with the run on {names[plan.device]}, or give another --out"
        )


def require_settings(spec: EvaluationSpec, out: Store, found: RunRecord) -> None:
    """Refuse a folder whose runs have other settings than a spec; images are not looked at.

    Raises:
        InputError: Names each setting that differs.
    """
    # What a spec leaves open, such as the batch size, is taken from the record.
    asked = {name: value for name, value in identity_of(spec).items() if value is not None}
    if any(name in found.identity and found.identity[name] != asked[name] for name in asked):
        _refuse(out, found, {**found.identity, **asked})


def _refuse(out: Store, found: RunRecord, identity: Mapping[str, Any]) -> NoReturn:
    settings, wanted = (
        {name: value for name, value in values.items() if name != "fingerprint"}
        for values in (found.identity, identity)
    )
    raise InputError(
        f"output folder {out.shown} belongs to another run (fingerprint "
        f"{found.identity.get('fingerprint')}): {'; '.join(differing_keys(settings, wanted))}. "
        "Use another --out, or the same settings to go on with that run"
    )


def _recorded(row: PlannedRow) -> RecordedRow:
    units = dict(row.units)
    return RecordedRow(row.checkpoint.label, row.extractor.name, row.fingerprint, units)


def library_versions() -> dict[str, str]:
    """Versions of the libraries on which numbers depend, where they are installed."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        for distribution in (f"{name}-cpu", name):  # TensorFlow's CPU build has a name of its own
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(distribution)
    return found


@dataclass(frozen=True)
class ScoredRow:
    """A scored row of the table and the files that it was computed from."""

    row: ScoreRow
    parts: RowParts


def open_record(location: str) -> RunRecord:
    """The record of an output folder.

    Its spec is stored without credentials. Here it takes those of ``location``: for ``out``, and
    for a shared reference cache of the same service; otherwise the environment's are used.

    Raises:
        InputError: No run has begun there.
    """
    out = Store.open(location)
    record = read_record(out)
    if record is None:
        raise InputError(
            f"{out.shown} holds no run (no run.json); give the --out folder of a `vae-batch score`"
        )
    cache = record.spec.reference_cache
    places = {"out": location, "reference_cache": cache and lend_credentials(location, cache)}
    return replace(record, spec=record.spec.model_copy(update=places))


def scored_rows(location: str, record: RunRecord) -> list[ScoredRow]:
    """Scored rows whose record has the same fingerprint, in the table's order."""
    spec = record.spec.model_copy(update={"out": location})
    stores = RunStores.of(spec)
    recorded = {(row.checkpoint, row.extractor): row for row in record.rows}
    found = []
    for row in read_score_rows(stores.out):
        planned = recorded.get(row.key)
        current = planned is not None and planned.fingerprint == row.provenance.fingerprint
        if planned is not None and current and row.status == "scored":
            found.append(ScoredRow(row, _parts(stores, spec, planned, row)))
    return found


def _parts(
    stores: RunStores, spec: EvaluationSpec, planned: RecordedRow, row: ScoreRow
) -> RowParts:
    """The files of a row; why its extractor has no class probabilities stands in the row."""
    reason = row.score("inception_score").reason
    is_extractors = reason is not None and reason.code == "no_class_probabilities"
    return RowParts(
        stores,
        planned.units,
        spec,
        spec.reading_of(planned.checkpoint),
        reason.text if reason is not None and is_extractors else None,
        row.conditions.reference_sha256,
        row.conditions.tool,
        reference_kind=row.conditions.reference_kind or "images",
        reference_count=row.conditions.n_reference,
    )
