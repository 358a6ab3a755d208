"""Rows of the table of comparisons, made from arithmetic alone."""

from __future__ import annotations

from typing import Any

from vae_batch.run.compare.best_checkpoint import Selection, SelectionStep
from vae_batch.storage.comparison_file import COMPARISON_COLUMNS, Comparison


def compared_row(checkpoint: str, value: float, best: str = "a", **more: object) -> Comparison:
    """A row of comparisons by FID: a best of 20, differences with a standard error of 0.5."""
    difference: dict[str, float] = {}
    if checkpoint != best:
        difference = {
            "from_best": value - 20.0,
            "from_best_low": value - 20.98,
            "from_best_high": value - 19.02,
            "from_best_p": 0.5,
            "from_best_se": 0.5,
        }
    named = {
        "metric": "fid_corrected",
        "checkpoint": checkpoint,
        "value": value,
        "n": 100,
        "best": best,
    }
    level = {"is_best": checkpoint == best, "level_with_best": checkpoint == best}
    record = dict.fromkeys(COMPARISON_COLUMNS) | named | level | difference | more
    return Comparison.from_record(record)


def selected(
    best: str, *more: SelectionStep, level: tuple[str, ...] = (), sentence: str = "", **others: Any
) -> Selection:
    """A selection by FID, in which ``best`` leads with 20; ``more`` steps narrow the group."""
    step = SelectionStep("fid_corrected", "inception-2015", best, 20.0, 100, (best, *level))
    return Selection(
        **{"steps": (step, *more), "compared": 3, "second": None, "sentence": sentence} | others
    )


def tied_selection(leader: str, *level: str) -> Selection:
    """A selection by FID that leaves several checkpoints."""
    return selected(leader, level=level, images_needed=1200)
