"""The metric table: each score column once; everything that names a metric reads it.

It holds words and flags and no arrays, so that it may be read on every floor.
"""

from __future__ import annotations

from typing import Literal

from vae_batch.metrics.catalogue.diagnostics import DIAGNOSTICS
from vae_batch.metrics.catalogue.likelihood import LIKELIHOOD
from vae_batch.metrics.catalogue.metric import (
    SHIPPED_GROUPS,
    Direction,
    Group,
    Metric,
    Need,
    StoredArrays,
    UnitKind,
)
from vae_batch.metrics.catalogue.plug_ins import groups_of_plug_ins, load_plug_ins
from vae_batch.metrics.catalogue.reconstruction import RECONSTRUCTION
from vae_batch.metrics.catalogue.samples import SAMPLES

_SHIPPED = {
    metric.column: metric for metric in (*LIKELIHOOD, *RECONSTRUCTION, *SAMPLES, *DIAGNOSTICS)
}
_PLUG_INS, BROKEN_PLUG_INS = load_plug_ins(_SHIPPED)

METRICS: dict[str, Metric] = _SHIPPED | _PLUG_INS
"""Every metric of the score table by its column, in the order of the report."""

PLUG_INS: tuple[Metric, ...] = tuple(_PLUG_INS.values())
"""Those of other packages."""

GROUPS: dict[str, Group] = {
    group.name: group for group in (*SHIPPED_GROUPS, *groups_of_plug_ins(PLUG_INS, SHIPPED_GROUPS))
}
"""Every group of metrics by its name."""

DEFAULT_GROUPS: tuple[str, ...] = tuple(name for name, g in GROUPS.items() if g.is_default)
"""Groups that are computed when none is asked for."""

COMPARED: tuple[Metric, ...] = tuple(
    metric for how in ("images", "samples") for metric in METRICS.values() if metric.compared == how
)
"""Metrics that checkpoints are compared by: per image first, then per generated sample."""

DEFAULT_CHOICE: tuple[str, ...] = tuple(
    metric.column
    for metric in sorted(METRICS.values(), key=lambda metric: metric.default_choice)
    if metric.default_choice
)
"""Columns in the order in which one is looked for to choose the best checkpoint by."""

Purpose = Literal["select", "race", "tolerance"]


def metric_for(name: str, purpose: Purpose) -> Metric:
    """The metric that stands for a name where a user asks to select, race or tolerate by it.

    Args:
        name: A column of the score table; ``fid`` stands for ``fid_corrected``, as checkpoints are
            compared by the latter.
        purpose: What it is named for.

    Raises:
        ValueError: There is no such metric, or it does not serve the purpose; lists those that do.
    """
    column = compared_column(name)
    if column in METRICS and _serves(METRICS[column], purpose):
        return METRICS[column]
    why = _refusal(name, purpose)
    raise ValueError(f"{name} {why}; expected one of {', '.join(metrics_for(purpose))}")


def metrics_for(purpose: Purpose) -> list[str]:
    """Columns that a user may name to select, race or tolerate by."""
    return [column for column, metric in METRICS.items() if _serves(metric, purpose)]


def compared_column(name: str) -> str:
    """The column that stands for a metric in comparisons: its own, except for a biased one's."""
    return METRICS[name].compared_as or name if name in METRICS else name


def corrected_from(column: str) -> str | None:
    """The biased metric that a column stands for in comparisons, or None."""
    return next((name for name, metric in METRICS.items() if metric.compared_as == column), None)


def _refusal(name: str, purpose: Purpose) -> str:
    if name not in METRICS:
        return "is no metric"
    if METRICS[name].direction == "neither":
        return "has no better direction"
    return "cannot be raced by" if purpose == "race" else "is not compared between checkpoints"


def _serves(metric: Metric, purpose: Purpose) -> bool:
    if metric.direction == "neither" or metric.compared_as:
        return False
    if purpose == "select":
        return metric.compared is not None
    return bool(metric.raced_over) if purpose == "race" else True


__all__ = [
    "BROKEN_PLUG_INS",
    "COMPARED",
    "DEFAULT_CHOICE",
    "DEFAULT_GROUPS",
    "GROUPS",
    "METRICS",
    "PLUG_INS",
    "Direction",
    "Group",
    "Metric",
    "Need",
    "Purpose",
    "StoredArrays",
    "UnitKind",
    "compared_column",
    "corrected_from",
    "metric_for",
    "metrics_for",
]
