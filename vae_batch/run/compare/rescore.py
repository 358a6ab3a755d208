"""More metrics for a finished run, from its stored files; no model and no extractor is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.metrics.catalogue import METRICS
from vae_batch.plan import InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.run.output.prune import pruned_reason
from vae_batch.run.output.recorded_rows import ScoredRow, open_record, scored_rows
from vae_batch.run.scoring.row import now, scores_of
from vae_batch.storage import DamagedFileError, ScoreWriter

#: Columns that are not a metric's but found with it.
_BESIDE = {"fid": ("fid_warning", "feature_dim", "device")}


def rescore(location: str, groups: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Compute groups of metrics for every scored row, and write the rows.

    Args:
      location: Output folder or URI of a run.
      groups: Of metrics; other columns of the rows stay as they are.

    Yields:
      The rows.

    Raises:
      InputError: No run has begun there, nothing is scored, or stored files are gone or damaged.
    """
    record = open_record(location)
    rows = scored_rows(location, record)
    if not rows:
        shown = without_credentials(location)
        raise InputError(f"{shown} holds no scored rows; run `vae-batch score` first")
    writer = ScoreWriter(rows[0].parts.stores.out)
    try:
        for row in rows:
            values = _values(row, groups)
            fields = {name: value for name, value in row.fields.items() if name not in values}
            changed = {**fields, **values, "scored_at": now(), "version": __version__}
            writer.add([changed])
            if writer.is_due:
                writer.write()
            yield changed
    finally:  # also when it is stopped, or a row cannot be had
        writer.write()


def _values(row: ScoredRow, groups: Sequence[str]) -> dict[str, Any]:
    """All columns of the groups' metrics, null where there is no value."""
    spec = row.parts.spec.model_copy(update={"metrics": tuple(groups)})
    try:
        with threadpool_limits(1):
            scores = scores_of(dataclasses.replace(row.parts, spec=spec))
    except DamagedFileError as damage:
        pruned = pruned_reason(row.parts.stores.out, damage.unit)
        if pruned:
            raise InputError(f"{row.fields['checkpoint']}: {pruned}") from None
        raise InputError(
            f"{row.fields['checkpoint']}: {damage}; run `vae-batch score` again with the same "
            "settings, which mends that shard"
        ) from None
    return {column: scores.get(column) for group in groups for column in _columns(group)}


def _columns(group: str) -> Iterator[str]:
    for metric in METRICS.values():
        if metric.group == group:
            yield from metric.columns
    yield from _BESIDE.get(group, ())
