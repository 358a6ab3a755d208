"""The verdict columns of a night's rows, and the night's exit code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vae_batch.commands.exit_codes import REGRESSED, SCORED, SOME_FAILED
from vae_batch.metrics.catalogue import DEFAULT_CHOICE, METRICS, compared_column
from vae_batch.nightly.comparisons import Comparison, Entry
from vae_batch.nightly.history import Row
from vae_batch.nightly.regression import Judgement
from vae_batch.run.compare.best_checkpoint import Selection


def judged_by(selection: Selection | None, rows: Sequence[Row]) -> str:
    """Column of the night's verdicts: that of the selection, or the first that has a value."""
    selected = [compared_column(selection.metric)] if selection else []
    wanted = [*selected, *DEFAULT_CHOICE]
    valued = (name for name in wanted if any(row[name] is not None for row in rows))
    return next(valued, wanted[0])


def exit_code_of(rows: Sequence[Row], judgements: Sequence[Judgement]) -> int:
    """4 for a regression, else 3 where a checkpoint failed, else 0."""
    if any(judgement.status == "regressed" for judgement in judgements):
        return REGRESSED
    return SOME_FAILED if any(row["status"] == "failed" for row in rows) else SCORED


def with_verdicts(
    rows: Sequence[Row],
    column: str,
    newest: Sequence[Entry],
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
) -> list[Row]:
    """The night's rows with what was found about each.

    The verdict of a row is ``failed``, ``first`` (nothing comparable before it), ``regressed``,
    or that of its comparison with the best before by ``column``.
    """
    latest = {entry.checkpoint for entry in newest}
    return [
        {
            **row,
            "is_newest": row["checkpoint"] in latest,
            "judged_by": column,
            **_found(row, column, comparisons),
            **_regressions(row, judgements),
        }
        for row in rows
    ]


def _found(row: Row, column: str, comparisons: Sequence[Comparison]) -> Row:
    """Differences by the column of the verdict, and the verdict without regard to tolerances."""
    extractor = row["extractor"] if METRICS[column].per_extractor else None
    mine = {
        found.relation: found
        for found in comparisons
        if (found.metric, found.extractor, found.checkpoint)
        == (column, extractor, row["checkpoint"])
    }
    best, latest = mine.get("best"), mine.get("latest")
    verdict: str = best.verdict if best else "first"
    if row["status"] == "failed":
        verdict, best, latest = "failed", None, None
    return {
        "verdict": verdict,
        **_difference("best_before", "from_best", best),
        **_difference("latest_before", "from_latest", latest),
    }


def _difference(other: str, name: str, found: Comparison | None) -> Mapping[str, Any]:
    return {
        other: found.other if found else None,
        name: found.difference if found else None,
        f"{name}_low": found.low if found else None,
        f"{name}_high": found.high if found else None,
        f"{name}_p": found.p if found else None,
    }


def _regressions(row: Row, judgements: Collection[Judgement]) -> Row:
    metrics = [
        judgement.metric
        for judgement in judgements
        if judgement.status == "regressed"
        and judgement.checkpoint == row["checkpoint"]
        and judgement.extractor in (None, row["extractor"])
    ]
    if not metrics:
        return {"regressions": None}
    return {"regressions": ", ".join(metrics), "verdict": "regressed"}
