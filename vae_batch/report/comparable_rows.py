"""Which score rows are comparable, and which of their values are best.

A score means nothing without its conditions: two values are compared only where every condition
agrees that the metric table names for their metric.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.storage.score_rows import ScoreRow

Key = tuple[str, str]
"""(checkpoint, extractor) of a row."""

_NO_REASON = "no reason was recorded"


class Measured(NamedTuple):
    """What a value depends on beside the checkpoint; None where its metric does not depend on it.

    ``family`` is the likelihood with its sigma, and ``left_race_at`` the number of samples after
    which a race dropped the checkpoint.
    """

    extractor: str | None = None
    weights_sha256: str | None = None
    protocol: str | None = None
    n_generated: int | None = None
    n_reference: int | None = None
    reference_sha256: str | None = None
    reference_is: str | None = None
    seed: int | None = None
    model_range: str | None = None
    input_fit: str | None = None
    reference_subset: str | None = None
    condition: str | None = None
    latent: str | None = None
    iwae_draws: int | None = None
    iwae_images: str | None = None
    scoring_version: int | None = None
    beta: float | None = None
    latent_dimensions: float | None = None
    perfect_reconstructions: float | None = None
    family: str | None = None
    left_race_at: int | None = None


#: Conditions that have names for readers, by which sets of comparable rows are told apart.
_TELLING = ("scoring_version", "protocol", "n_reference", "seed", "reference_sha256",
            "reference_subset", "reference_is", "weights_sha256", "model_range", "input_fit",
            "condition", "latent", "iwae_draws", "iwae_images", "beta", "latent_dimensions",
            "perfect_reconstructions")  # fmt: skip


def measured_under(row: ScoreRow, metric: Metric) -> Measured:
    """The conditions that ``metric`` depends on, as the metric table names them."""
    values: dict[str, Any] = row.held(
        name for name in metric.conditions if name not in ("likelihood", "sigma")
    )
    if "likelihood" in metric.conditions:
        values["family"] = row.conditions.family
    return Measured(**values, left_race_at=row.conditions.left_race_at)


def estimator_left_out(held: Measured) -> Measured:
    """The conditions that columns and curves share: without likelihood and kind of estimate."""
    return held._replace(
        family=None,
        condition=None,
        latent=None,
        beta=None,
        latent_dimensions=None,
        perfect_reconstructions=None,
    )


def why_apart(row: ScoreRow, metric: Metric) -> str:
    """Why a value is another quantity than the others of its column, or ""."""
    if "latent" in metric.estimated_by and row.conditions.latent == "code":
        return "at the code, not at a draw of a posterior; not ranked with draws"
    return ""


def protocol_of(row: ScoreRow) -> Measured:
    """The conditions of scores that depend on an extractor, by which tables are divided."""
    return measured_under(row, METRICS["fid"])


def what_differs(
    own: Measured, others: Iterable[Measured], besides: Collection[str] = ()
) -> list[str]:
    """``name value`` of each condition that differs among ``others`` of the same extractor.

    Args:
        own: The conditions to describe.
        others: All conditions that they are to be told from.
        besides: Names of conditions that are said elsewhere.
    """
    twins = [other for other in others if other.extractor == own.extractor]
    return [
        f"{name.removesuffix('_sha256').replace('_', ' ')} {str(getattr(own, name))[:24]}"
        for name in _TELLING
        if name not in besides and len({getattr(twin, name) for twin in twins}) > 1
    ]


def failure_of(row: ScoreRow) -> str | None:
    """Why a row failed; None where it was scored."""
    if row.status == "scored":
        return None
    return row.reason.text if row.reason else _NO_REASON


def is_dropped(row: ScoreRow) -> bool:
    """Whether a race dropped the checkpoint, so that its scores are of fewer samples."""
    return row.conditions.left_race_at is not None


def why_undefined(row: ScoreRow, metric: Metric) -> str:
    """The reason recorded for an undefined value: its own, its parent's, or else the row's."""
    reasons = (row.score(metric.column).reason, row.score(parent(metric)).reason, row.reason)
    return next((reason.text for reason in reasons if reason is not None), _NO_REASON)


def is_never_printed(row: ScoreRow, metric: Metric) -> bool:
    """Whether the row holds the numbers of a tool that has none of this metric."""
    reason = row.score(metric.column).reason
    return reason is not None and reason.code == "not_in_protocol"


def parent(metric: Metric) -> str:
    """The column that ``metric`` describes the spread of, or its own."""
    return metric.spread_of or metric.column


def finite_value(row: ScoreRow, column: str) -> float | None:
    """The value of a metric; None where it is undefined or infinite."""
    value = row.value(column)
    return value if value is not None and math.isfinite(value) else None


def metrics_in(rows: Sequence[ScoreRow]) -> list[Metric]:
    """Metrics of which some row has a value or says why not, in the catalogue's order."""
    found = {column for row in rows for column in row.scores}
    return [metric for column, metric in METRICS.items() if column in found]


def headlines_in(rows: Sequence[ScoreRow]) -> list[Metric]:
    """Those that stand in narrow tables and have a curve."""
    return [metric for metric in metrics_in(rows) if metric.headline]


def details_in(rows: Sequence[ScoreRow]) -> list[Metric]:
    """The others, where some row has a value."""
    return [
        metric
        for metric in metrics_in(rows)
        if not metric.headline and any(row.value(metric.column) is not None for row in rows)
    ]


def is_always_zero(metric: Metric, rows: Sequence[ScoreRow]) -> bool:
    """Whether a diagnostic, such as clipped pixels, found nothing in any scored row."""
    values = [row.value(metric.column) for row in rows if row.status == "scored"]
    return bool(values) and all(value == 0 for value in values)


def comparable(rows: Sequence[ScoreRow]) -> dict[Measured, list[ScoreRow]]:
    """Scored rows by the conditions of their protocol, in order of first appearance."""
    groups: dict[Measured, list[ScoreRow]] = {}
    for row in rows:
        if row.status == "scored":
            groups.setdefault(protocol_of(row), []).append(row)
    return groups


def best_marks(rows: Sequence[ScoreRow], metrics: Sequence[Metric]) -> set[tuple[Key, str]]:
    """(key, column) of every best point estimate, ties included; none of dropped checkpoints.

    A metric whose direction is "neither" has no best, nor has a value that stands alone, nor has
    one that more than half of the compared rows share.
    """
    marks: set[tuple[Key, str]] = set()
    for metric in metrics:
        if metric.direction != "neither":
            marks |= {(row.key, metric.column) for row in _winners(rows, metric)}
    return marks


def _winners(rows: Sequence[ScoreRow], metric: Metric) -> list[ScoreRow]:
    contests: dict[Measured, list[tuple[float, ScoreRow]]] = {}
    for row in rows:
        value = finite_value(row, metric.column)
        if row.status == "scored" and not is_dropped(row) and value is not None:
            contests.setdefault(measured_under(row, metric), []).append((value, row))
    winners = []
    for entries in contests.values():
        best = min(metric.sign * value for value, _ in entries)
        won = [row for value, row in entries if metric.sign * value == best]
        if 2 * _checkpoints(won) <= _checkpoints(row for _, row in entries):
            winners += won
    return winners


def _checkpoints(rows: Iterable[ScoreRow]) -> int:
    return len({row.checkpoint for row in rows})
