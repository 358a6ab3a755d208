"""A small run and its pictures."""

from __future__ import annotations

import numpy as np
import pytest
from report.examples import Scores, failed_row, gallery_of, score_row, score_table


@pytest.fixture
def run_scores() -> Scores:
    """Three steps of one run: the second failed, the third is best."""
    return score_table(
        score_row("runs/a/step-1", 1, fid=30.0, elbo=-110.0),
        failed_row("runs/a/step-2", 2, "the decoder gave NaN for image 17"),
        score_row("runs/a/step-3", 3, fid=20.0, elbo=-100.0),
    )


@pytest.fixture
def run_galleries() -> dict[str, dict[str, np.ndarray]]:
    """Pictures of the two steps that were scored."""
    return {"runs/a/step-1": gallery_of(64), "runs/a/step-3": gallery_of(128)}
