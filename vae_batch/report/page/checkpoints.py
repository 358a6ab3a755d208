"""The checkpoints of a page: what they are called, where they stand, whether they failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vae_batch.report.labels import count, printable, without_shared_folder
from vae_batch.report.score_rows import ScoreRow


@dataclass(frozen=True)
class PageCheckpoint:
    """One checkpoint as the page names it.

    Attributes:
        label: as in the score table, made printable.
        short: without the folders that all checkpoints share.
        anchor: the id of its place in the page.
        step: training step in words, or "-".
        step_sort: training step to sort by, or "".
        failure: why nothing was scored, or "" where something was.
    """

    label: str
    short: str
    anchor: str
    step: str
    step_sort: str
    failure: str


def page_checkpoints(
    rows: Sequence[ScoreRow], pictured: Iterable[str]
) -> dict[str, PageCheckpoint]:
    """Every checkpoint by its label, in table order; those with pictures only come last."""
    labels = list(dict.fromkeys([*(row.checkpoint for row in rows), *pictured]))
    shorts = without_shared_folder(labels)
    return {
        label: _checkpoint(f"checkpoint-{index}", label, short, rows)
        for index, (label, short) in enumerate(zip(labels, shorts, strict=True), start=1)
    }


def _checkpoint(anchor: str, label: str, short: str, rows: Sequence[ScoreRow]) -> PageCheckpoint:
    own = [row for row in rows if row.checkpoint == label]
    step = own[0].step if own else None
    failures = [row.failure for row in own if row.failure is not None]
    failed = bool(own) and len(failures) == len(own)
    return PageCheckpoint(
        label=printable(label),
        short=printable(short),
        anchor=anchor,
        step=count(step),
        step_sort="" if step is None else str(step),
        failure=printable("; ".join(dict.fromkeys(failures))) if failed else "",
    )
