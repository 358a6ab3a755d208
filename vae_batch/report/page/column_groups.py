"""Columns of a score table under the conditions that their numbers were measured under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import count, printable
from vae_batch.report.score_rows import Conditions, ScoreRow, measured_under

WITHOUT_EXTRACTOR = "losses on test images"


@dataclass(frozen=True)
class ColumnGroup:
    """Metrics measured under the same conditions: one heading over their columns.

    Attributes:
        key: short name, unique in the page.
        title: the extractor, and what else tells the group from others of the same extractor.
        conditions: the rest of what the numbers depend on, as name and value.
        metrics: in order; at least one.
        measured: the conditions.
    """

    key: str
    title: str
    conditions: tuple[tuple[str, str], ...]
    metrics: tuple[Metric, ...]
    measured: Conditions

    def column(self, metric: Metric) -> str:
        """The key of the column of one of its metrics."""
        return f"{self.key}-{metric.column}"

    def holds(self, row: ScoreRow) -> bool:
        """Whether a scored row was measured under the group's conditions.

        Rows that left a race stand with those in full, whose first samples they are of.
        """
        measured = measured_under(row, self.metrics[0])
        if row.conditions.left_race_at is None:
            return measured == self.measured
        return _but_for_samples(measured) == _but_for_samples(self.measured)

    def may_hold(self, row: ScoreRow) -> bool:
        """Whether a failed row, which may know fewer conditions, belongs to the group."""
        extractor = row.conditions.extractor
        return None in (self.measured.extractor, extractor) or extractor == self.measured.extractor


def column_groups(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> list[ColumnGroup]:
    """Groups in order of first appearance; first what needs no extractor.

    Where nothing was scored there is one group for all failures.
    """
    alone = tuple(metric for metric in metrics if not metric.per_extractor)
    with_extractor = tuple(metric for metric in metrics if metric.per_extractor)
    groups = []
    for letter, members in (("a", alone), ("e", with_extractor)):
        if not members:
            continue
        firsts = _firsts(rows, members[0])
        for index, (measured, row) in enumerate(firsts.items()):
            title = _title(measured, list(firsts))
            named = conditions(row, measured)
            groups.append(ColumnGroup(f"{letter}{index}", title, named, members, measured))
    return groups


def _firsts(rows: Sequence[ScoreRow], metric: Metric) -> dict[Conditions, ScoreRow]:
    """The first scored row of each set of conditions that `metric` was measured under."""
    scored = [row for row in rows if row.failure is None]
    whole = [row for row in scored if row.conditions.left_race_at is None]
    firsts: dict[Conditions, ScoreRow] = {}
    for row in whole or scored:
        firsts.setdefault(measured_under(row, metric), row)
    return firsts


def _but_for_samples(measured: Conditions) -> Conditions:
    return measured._replace(n_generated=None, left_race_at=None)


def _title(measured: Conditions, others: Sequence[Conditions]) -> str:
    twins = [other for other in others if other.extractor == measured.extractor]
    parts = [measured.extractor or WITHOUT_EXTRACTOR]
    for name in ("protocol", "n_generated", "n_reference", "seed", "reference_sha256"):
        if len({getattr(twin, name) for twin in twins}) > 1:
            shown = str(getattr(measured, name))[:24]
            parts.append(f"{name.removesuffix('_sha256').replace('_', ' ')} {shown}")
    return printable(" · ".join(parts))


def conditions(row: ScoreRow, measured: Conditions) -> tuple[tuple[str, str], ...]:
    """What numbers depend on beside the checkpoint, as (name, value) in words."""
    split, reference = row.text("reference_split"), row.text("reference")
    named = {
        "extractor": measured.extractor,
        "protocol": measured.protocol,
        "weights": measured.weights_sha256 and f"{measured.weights_sha256[:12]}…",
        "generated images": measured.n_generated and count(measured.n_generated),
        "reference images": measured.n_reference and count(measured.n_reference),
        "reference set": f"{reference} ({split})" if reference and split else reference,
        "seed": measured.seed,
    }
    return tuple((name, printable(value)) for name, value in named.items() if value is not None)
