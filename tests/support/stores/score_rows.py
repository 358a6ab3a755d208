"""Rows of the score table with plausible conditions, of which a test names what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vae_batch.storage import ScoreRow

_EVERY_ROW = {
    "status": "scored",
    "extractor": "e",
    "weights_sha256": "a" * 64,
    "protocol": "bilinear 299x299",
    "n_generated": 100,
    "n_reference": 100,
    "reference": "digits",
    "reference_split": "test",
    "reference_sha256": "b" * 64,
    "checkpoint_sha256": "c" * 64,
    "seed": 0,
    "fingerprint": "d" * 32,
    "scored_at": "2026-08-02T03:00:00+00:00",
    "version": "0.1.0",
}


def score_row(checkpoint: str = "a", step: int | None = 1, **columns: Any) -> ScoreRow:
    """A row by its columns; those that are not given are the same in every row, or null."""
    return ScoreRow.from_record({**_EVERY_ROW, "checkpoint": checkpoint, "step": step, **columns})


def changed(row: ScoreRow, **columns: Any) -> ScoreRow:
    """The row with other values of some columns."""
    return ScoreRow.from_record({**row.to_record(), **columns})


def numbers(rows: Iterable[ScoreRow], *besides: str) -> list[dict[str, Any]]:
    """Records of rows without the time of scoring, and without the columns ``besides``."""
    left_out = {"scored_at", *besides}
    return [{k: v for k, v in row.to_record().items() if k not in left_out} for row in rows]
