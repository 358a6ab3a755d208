"""One entry of the metric table: what a score column means, in words a reader sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "neither"]

#: What must be there before a metric is defined: a half of the VAE, its prior, or arrays.
Need = Literal["encoder", "decoder", "prior", "posterior", "activations", "class_probabilities"]


@dataclass(frozen=True)
class Metric:
    """One column of the score table.

    Attributes:
        column: name in the score table.
        title: heading in the report.
        short: heading where space is scarce, such as a terminal.
        unit: unit of the values, or "" for a pure number.
        direction: which way is better, or "neither".
        definition: one sentence with the metric's main trap.
        source: where the definition comes from.
        needs: without one of these the metric is null, with that reason.
        requirement: what the number of images must be, in words, or "" where any will do.
        standard_error: whether a column `<column>_se` holds its standard error.
        within_likelihood: whether values compare within one family of likelihoods only.
        headline: whether it stands in the narrow tables; the others are shown in full ones.
        group: under which name a user asks for it; given when the table is put together.
    """

    column: str
    title: str
    short: str
    unit: str
    direction: Direction
    definition: str
    source: str
    needs: tuple[Need, ...]
    requirement: str = ""
    standard_error: bool = False
    within_likelihood: bool = False
    headline: bool = False
    group: str = ""

    @property
    def per_extractor(self) -> bool:
        """Whether the value depends on the extractor, or on the checkpoint alone."""
        return "activations" in self.needs or "class_probabilities" in self.needs
