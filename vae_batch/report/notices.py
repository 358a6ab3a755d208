"""What a reader must know before reading any number: failures, warnings, undefined scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import Metric
from vae_batch.report.labels import printable
from vae_batch.report.score_rows import ScoreRow, parent
from vae_batch.storage import FLAGS_APART

_TITLE = 40


@dataclass(frozen=True)
class Notice:
    """One thing to know, and the checkpoints it is about.

    Attributes:
        severity: "failed", "warning" or "note", from worst to mildest.
        title: what happened, in a few words.
        reason: why, as it was recorded.
        checkpoints: labels, in table order, without repeats.
    """

    severity: str
    title: str
    reason: str
    checkpoints: tuple[str, ...]


def notices(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric], pictured: Collection[str]
) -> list[Notice]:
    """Every failure, warning and null of `rows`, worst first; equal reasons become one notice.

    Args:
        rows: all rows of the score table.
        metrics: the metrics that the table has.
        pictured: labels of the checkpoints that have a gallery.
    """
    found = [*_failures(rows), *_flags(rows), *_warnings(rows, metrics), *_nulls(rows, metrics)]
    found += [
        ("note", "No pictures", "no gallery was stored for this checkpoint", row.checkpoint)
        for row in rows
        if row.failure is None and row.checkpoint not in pictured
    ]
    return _grouped(found)


_Found = tuple[str, str, str, str]


def _failures(rows: Iterable[ScoreRow]) -> list[_Found]:
    return [
        ("failed", "Failed", row.failure, row.checkpoint) for row in rows if row.failure is not None
    ]


def _flags(rows: Iterable[ScoreRow]) -> list[_Found]:
    """What scoring flagged, once a checkpoint: short words before a colon are the title."""
    found = []
    for row in rows:
        for flag in _sentences(row):
            title, _, reason = flag.partition(": ")
            short = bool(reason) and len(title) <= _TITLE
            words = (title.capitalize(), reason) if short else ("Flagged", flag)
            found.append(("warning", *words, row.checkpoint))
    return list(dict.fromkeys(found))


def _sentences(row: ScoreRow) -> list[str]:
    text = row.text("warnings")
    return text.split(FLAGS_APART) if text else []


def _warnings(rows: Iterable[ScoreRow], metrics: Sequence[Metric]) -> list[_Found]:
    return [
        ("warning", _title(metric, row), reason, row.checkpoint)
        for row in rows
        for metric in metrics
        if (reason := row.text(f"{metric.column}_warning"))
    ]


def _nulls(rows: Iterable[ScoreRow], metrics: Sequence[Metric]) -> list[_Found]:
    return [
        ("note", f"{_title(metric, row)}: undefined", row.why_null(metric), row.checkpoint)
        for row in rows
        for metric in metrics
        if row.failure is None and row.value(metric.column) is None
        if metric.column == parent(metric) or row.value(parent(metric)) is not None
    ]


def _title(metric: Metric, row: ScoreRow) -> str:
    extractor = row.conditions.extractor
    return f"{metric.title} ({printable(extractor)})" if extractor else metric.title


def _grouped(found: Iterable[_Found]) -> list[Notice]:
    groups: dict[tuple[str, str, str], dict[str, None]] = {}
    for severity, title, reason, checkpoint in found:
        groups.setdefault((severity, title, printable(reason)), {})[printable(checkpoint)] = None
    return [Notice(*key, tuple(checkpoints)) for key, checkpoints in groups.items()]
