"""The checkpoints of a page: what they are called, where they stand, whether they failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vae_batch.report.comparable_rows import failure_of
from vae_batch.report.labels import count, printable, without_shared_folder
from vae_batch.storage.score_rows import ScoreRow


@dataclass(frozen=True)
class PageCheckpoint:
    """One checkpoint as the page names it.

    Attributes:
        label: As in the score table, made printable.
        short: Without the folders that all checkpoints share.
        anchor: The id of its place in the page.
        step: Training step in words, or "-".
        step_sort: Training step to sort by, or "".
        failure: Why scoring failed, or "" where some row was scored.
        traceback: Path of the failure's traceback below the output folder, or "".
    """

    label: str
    short: str
    anchor: str
    step: str
    step_sort: str
    failure: str
    traceback: str


def page_checkpoints(
    rows: Sequence[ScoreRow], pictured: Iterable[str]
) -> dict[str, PageCheckpoint]:
    """Every checkpoint by its label, in table order; those with pictures only come last."""
    labels = list(dict.fromkeys([*(row.checkpoint for row in rows), *pictured]))
    shorts = without_shared_folder(labels)
    rows_of: dict[str, list[ScoreRow]] = {label: [] for label in labels}
    for row in rows:
        rows_of[row.checkpoint].append(row)
    return {
        label: _checkpoint(f"checkpoint-{index}", label, short, rows_of[label])
        for index, (label, short) in enumerate(zip(labels, shorts, strict=True), start=1)
    }


def _checkpoint(anchor: str, label: str, short: str, own: Sequence[ScoreRow]) -> PageCheckpoint:
    step = own[0].step if own else None
    failures = [reason for row in own if (reason := failure_of(row)) is not None]
    failed = bool(own) and len(failures) == len(own)
    return PageCheckpoint(
        label=printable(label),
        short=printable(short),
        anchor=anchor,
        step=count(step),
        step_sort="" if step is None else str(step),
        failure=printable("; ".join(dict.fromkeys(failures))) if failed else "",
        traceback=printable(next((row.traceback for row in own if row.traceback), "")),
    )
