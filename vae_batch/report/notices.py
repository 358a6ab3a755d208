"""What a reader must know before reading any number: failures, warnings, undefined scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vae_batch.metrics.catalogue import METRICS, Metric
from vae_batch.report.comparable_rows import failure_of, parent, why_undefined
from vae_batch.report.labels import printable
from vae_batch.storage.score_rows import ScoreRow, WarningKind

Level = Literal["failed", "warning", "note"]
"""From worst to mildest."""

_TITLES: dict[WarningKind, str] = {
    "checkpoint_reading": "Checkpoint may be misread",
    "reference_reading": "How the reference was read",
    "posterior_collapse": "Posterior collapse",
    "collapsed_dimensions": "Collapsed latent dimensions",
    "saturated_information": "Mutual information at its upper bound",
    "near_duplicates": "Near duplicates",
    "exact_duplicates": "Exact duplicates",
    "blurred": "Blurred samples",
    "noisy": "Noisy samples",
    "memorisation": "Memorisation",
    "heavy_importance_weights": "IWAE",
    "smaller_batches": "Smaller batches",
    "device": "Devices and their bits",
    "estimator": "Another quantity",
    "reference_subset": "Reference images unlike the rest",
    "unknown": "Warning",
}
_LEVELS: dict[str, Level] = {"info": "note", "warning": "warning", "severe": "failed"}


@dataclass(frozen=True)
class NoticeReason:
    """Why, as it was recorded, and the checkpoints it is about in table order."""

    text: str
    checkpoints: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """One thing to know.

    Attributes:
        level: How bad it is.
        title: What happened, in a few words.
        reasons: Every reason once.
    """

    level: Level
    title: str
    reasons: tuple[NoticeReason, ...]

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Labels of all checkpoints it is about, without repeats."""
        return tuple(dict.fromkeys(name for reason in self.reasons for name in reason.checkpoints))


@dataclass(frozen=True)
class _Found:
    level: Level
    title: str
    reason: str
    checkpoint: str


def notices(
    rows: Sequence[ScoreRow], metrics: Sequence[Metric], pictured: Collection[str]
) -> list[Notice]:
    """Every failure, warning and undefined score, worst first; equal titles become one notice.

    Args:
        rows: All rows of the score table.
        metrics: The metrics that the table has.
        pictured: Labels of the checkpoints that have a gallery.
    """
    found = [*_failures(rows), *_warnings(rows), *_limits(rows), *_undefined(rows, metrics)]
    found += [
        _Found("note", "No pictures", "no gallery is stored for this checkpoint", row.checkpoint)
        for row in rows
        if row.status == "scored" and row.checkpoint not in pictured
    ]
    return _grouped(dict.fromkeys(found))


def divided(found: Iterable[Notice], chosen: Collection[str]) -> tuple[list[Notice], list[Notice]]:
    """Failures and warnings about the ``chosen`` checkpoints, and all other notices."""
    about: list[Notice] = []
    others: list[Notice] = []
    for notice in found:
        own = _limited(notice, lambda label: label in chosen)
        if own is None or notice.level == "note":
            others.append(notice)
            continue
        about.append(own)
        rest = _limited(notice, lambda label: label not in chosen)
        others += [rest] if rest else []
    return about, others


def _limited(notice: Notice, wanted: Callable[[str], bool]) -> Notice | None:
    """A notice as far as it is about some checkpoints; None where it is about none of them."""
    reasons = (
        replace(reason, checkpoints=tuple(filter(wanted, reason.checkpoints)))
        for reason in notice.reasons
    )
    kept = tuple(reason for reason in reasons if reason.checkpoints)
    return replace(notice, reasons=kept) if kept else None


def _failures(rows: Iterable[ScoreRow]) -> Iterator[_Found]:
    for row in rows:
        failure = failure_of(row)
        if failure is not None:
            where = f" (traceback: {row.traceback})" if row.traceback else ""
            yield _Found("failed", "Failed", f"{failure}{where}", row.checkpoint)


def _warnings(rows: Iterable[ScoreRow]) -> Iterator[_Found]:
    for row in rows:
        for warning in row.warnings:
            title = _TITLES[warning.kind]
            yield _Found(_LEVELS[warning.severity], title, warning.text, row.checkpoint)


def _limits(rows: Iterable[ScoreRow]) -> Iterator[_Found]:
    """How values that are defined must not be used."""
    for row in rows:
        for column, score in row.scores.items():
            if score.warning is not None:
                title = _title(METRICS[column], row)
                yield _Found("warning", title, score.warning, row.checkpoint)


def _undefined(rows: Iterable[ScoreRow], metrics: Sequence[Metric]) -> Iterator[_Found]:
    own = [row for row in rows if row.status == "scored" and row.conditions.tool is None]
    for row in own:
        for metric in metrics:
            is_spread = bool(metric.spread_of) and row.value(parent(metric)) is None
            if row.value(metric.column) is None and not is_spread:
                reason, title = why_undefined(row, metric), f"{_title(metric, row)}: undefined"
                yield _Found("note", title, reason, row.checkpoint)


def _title(metric: Metric, row: ScoreRow) -> str:
    if not metric.per_extractor:
        return metric.title
    return f"{metric.title} ({printable(row.conditions.extractor)})"


def _grouped(found: Iterable[_Found]) -> list[Notice]:
    groups: dict[tuple[Level, str], dict[str, dict[str, None]]] = {}
    for each in found:
        reasons = groups.setdefault((each.level, each.title), {})
        reasons.setdefault(printable(each.reason), {})[each.checkpoint] = None
    return [
        Notice(*key, tuple(NoticeReason(text, tuple(names)) for text, names in reasons.items()))
        for key, reasons in groups.items()
    ]
