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
class Reason:
    """Why, as it was recorded, and the checkpoints it is about in table order."""

    text: str
    checkpoints: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """One thing to know.

    Attributes:
        severity: "failed", "warning" or "note", from worst to mildest.
        title: what happened, in a few words.
        reasons: every reason once.
    """

    severity: str
    title: str
    reasons: tuple[Reason, ...]

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Labels of all checkpoints it is about, without repeats."""
        return tuple(dict.fromkeys(name for reason in self.reasons for name in reason.checkpoints))


def notices(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric], pictured: Collection[str]
) -> list[Notice]:
    """Every failure, warning and null of `rows`, worst first; equal titles become one notice.

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
    """What scoring flagged, once a checkpoint."""
    found = [("warning", *titled(flag), row.checkpoint) for row in rows for flag in flags(row)]
    return list(dict.fromkeys(found))


def flags(row: ScoreRow) -> list[str]:
    """The sentences that scoring flagged a row with."""
    text = row.text("warnings")
    return text.split(FLAGS_APART) if text else []


def titled(flag: str) -> tuple[str, str]:
    """A flag's title and reason: short words before a colon are the title."""
    title, _, reason = flag.partition(": ")
    short = bool(reason) and len(title) <= _TITLE
    return (title[:1].upper() + title[1:], reason) if short else ("Flagged", flag)


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
    extractor = row.conditions.extractor if metric.per_extractor else None
    return f"{metric.title} ({printable(extractor)})" if extractor else metric.title


def _grouped(found: Iterable[_Found]) -> list[Notice]:
    groups: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for severity, title, reason, checkpoint in found:
        reasons = groups.setdefault((severity, title), {})
        reasons.setdefault(printable(reason), {})[checkpoint] = None
    return [
        Notice(*key, tuple(Reason(text, tuple(names)) for text, names in reasons.items()))
        for key, reasons in groups.items()
    ]
