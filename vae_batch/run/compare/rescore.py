"""More metrics for a finished run, from its stored files; no model and no extractor is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from threadpoolctl import threadpool_limits

from vae_batch import __version__
from vae_batch.plan import InputError
from vae_batch.plan.credentials import without_credentials
from vae_batch.run.output.prune import pruned_reason
from vae_batch.run.output.run_record import ScoredRow, open_record, scored_rows
from vae_batch.run.scoring.row import now, scores_of
from vae_batch.run.scoring.score_sheet import columns_of
from vae_batch.storage import DamagedFileError, ScoreRow, ScoreWriter


@dataclasses.dataclass(frozen=True)
class Added:
    """What rescoring gave of one group of metrics.

    Attributes:
        group: Its name.
        rows: Rows that have a value of some of its metrics now.
        reasons: Of the other rows, why they have none; each once.
    """

    group: str
    rows: int
    reasons: tuple[str, ...]


def added_to(rows: Sequence[ScoreRow], groups: Sequence[str]) -> list[Added]:
    """What some rows have of each group."""
    found = []
    for group in groups:
        columns = columns_of(group)
        lacking = [row for row in rows if not has_values(row, group)]
        reasons = (row.score(column).reason for row in lacking for column in columns)
        texts = tuple(dict.fromkeys(reason.text for reason in reasons if reason))
        found.append(Added(group, len(rows) - len(lacking), texts))
    return found


def has_values(row: ScoreRow, group: str) -> bool:
    """Whether a row has a value of some metric of a group."""
    return any(row.value(column) is not None for column in columns_of(group))


def rescore(location: str, groups: Sequence[str]) -> Iterator[ScoreRow]:
    """Compute groups of metrics for every scored row, and write the rows.

    Args:
        location: Output folder or URI of a run.
        groups: Of metrics; other columns of the rows stay as they are, and so do values that
            stored files do not give any more.

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
            changed = _rescored(row, groups)
            writer.add([changed])
            if writer.is_due:
                writer.write()
            yield changed
    finally:  # also when it is stopped, or a row cannot be had
        writer.write()


def _rescored(row: ScoredRow, groups: Sequence[str]) -> ScoreRow:
    """The row with new scores of the groups' metrics, and the others as they were.

    Raises:
      InputError: Its stored files are gone or damaged, or a metric cannot be computed.
    """
    spec = row.parts.spec.model_copy(update={"metrics": tuple(groups)})
    try:
        with threadpool_limits(1):
            found = scores_of(dataclasses.replace(row.parts, spec=spec))
    except DamagedFileError as damage:
        pruned = pruned_reason(row.parts.stores.out, damage.unit)
        if pruned:
            raise InputError(f"{row.row.checkpoint}: {pruned}") from None
        raise InputError(
            f"{row.row.checkpoint}: {damage}; run `vae-batch score` again with the same "
            "settings, which mends that shard"
        ) from None
    if found.sheet.failures:
        raise InputError(f"{row.row.checkpoint}: {found.sheet.failures[0].reason}")
    new = found.row(row.row)
    scores = {
        column: new.scores[column]
        for column in columns_of(*groups)
        if new.value(column) is not None or row.row.value(column) is None
    }
    conditions, provenance = row.row.conditions, row.row.provenance
    dimension = new.conditions.feature_dim or conditions.feature_dim
    return dataclasses.replace(
        row.row,
        conditions=dataclasses.replace(conditions, feature_dim=dimension),
        provenance=dataclasses.replace(provenance, scored_at=now(), version=__version__),
        scores={**row.row.scores, **scores},
    )
