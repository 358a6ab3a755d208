"""Rows of the history, and entries whose influences a test gives."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from vae_batch.metrics import PairedScore
from vae_batch.nightly.comparisons import Entry
from vae_batch.nightly.history import HistoryRow
from vae_batch.storage import ScoreRow

MONDAY = datetime.date(2026, 8, 3)
TUESDAY = datetime.date(2026, 8, 4)
WEDNESDAY = datetime.date(2026, 8, 5)


def scored(checkpoint: str, **columns: Any) -> ScoreRow:
    """A scored row of the score table; what is not given is null."""
    step = checkpoint.rpartition("-")[2]
    fields = {
        "checkpoint": checkpoint,
        "step": int(step) if step.isdigit() else None,
        "status": "scored",
        "extractor": "e",
        "checkpoint_sha256": f"sha of {checkpoint}",
        "fingerprint": f"print of {checkpoint}",
        "likelihood": "bernoulli",
        "scored_at": "2026-08-02T03:00:00+00:00",
        "seed": 0,
        "weights_sha256": "sha of weights",
        "protocol": "p",
        "n_generated": 100,
        "n_reference": 100,
        "reference": "digits",
        "reference_split": "test",
        "reference_sha256": "sha of digits",
        "version": "0.1.0",
    }
    return ScoreRow.from_record({**fields, **columns})


def night_row(
    checkpoint: str, date: datetime.date, written_at: datetime.datetime | None = None, **values: Any
) -> HistoryRow:
    """A row of the history."""
    return HistoryRow(date, scored(checkpoint, **values), written_at=written_at, verdict="first")


def entry(
    checkpoint: str,
    date: datetime.date,
    paired: Mapping[str, list[float]] | None = None,
    **values: Any,
) -> Entry:
    """An entry; ``paired`` are values per image, whose means are the row's numbers."""
    arrays = {name: np.array(found, float) for name, found in (paired or {}).items()}
    means = {name: float(found.mean()) for name, found in arrays.items()}
    made = Entry(night_row(checkpoint, date, **{**means, **values}), None)
    scores = {name: PairedScore.from_values(found) for name, found in arrays.items()}
    made.__dict__["scores"] = scores
    return made
