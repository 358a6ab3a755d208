"""How a race went: who stayed, and by how much the others were behind when they left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vae_batch.metrics.catalogue import METRICS, Metric, compared_column
from vae_batch.report.charts.ranking import compared_title
from vae_batch.report.labels import count, p_value, printable, significant
from vae_batch.report.page.checkpoints import PageCheckpoint
from vae_batch.run.race.record import Leaving, RaceOutcome


@dataclass(frozen=True)
class LeftLine:
    """A checkpoint that left, in words."""

    checkpoint: PageCheckpoint
    count: str
    leader: PageCheckpoint | None
    difference: str
    standard_error: str
    p: str


@dataclass(frozen=True)
class RaceView:
    """A race as the page shows it.

    Attributes:
        title: What was raced by.
        metric: That metric.
        sentence: The outcome.
        looks: Samples at each look.
        level: Of each test.
        lines: Those that left, the last ones first.
    """

    title: str
    metric: Metric
    sentence: str
    looks: str
    level: str
    lines: tuple[LeftLine, ...]


def race_view(
    outcome: RaceOutcome | None, checkpoints: Mapping[str, PageCheckpoint]
) -> RaceView | None:
    """The view of a race; None where there was none."""
    if outcome is None:
        return None
    left = [leaving for leaving in reversed(outcome.left) if leaving.checkpoint in checkpoints]
    said, metric = outcome.sentence, METRICS[compared_column(outcome.metric)]
    return RaceView(
        title=compared_title(metric.column, outcome.extractor),
        metric=metric,
        sentence=printable(f"{said[:1].upper()}{said[1:]}."),
        looks=", ".join(count(look) for look in outcome.looks),
        level=significant(outcome.level),
        lines=tuple(_line(leaving, checkpoints) for leaving in left),
    )


def _line(leaving: Leaving, checkpoints: Mapping[str, PageCheckpoint]) -> LeftLine:
    return LeftLine(
        checkpoint=checkpoints[leaving.checkpoint],
        count=count(leaving.count),
        leader=checkpoints.get(leaving.leader),
        difference=significant(leaving.difference, sign="+"),
        standard_error=significant(leaving.standard_error),
        p=p_value(leaving.p),
    )
