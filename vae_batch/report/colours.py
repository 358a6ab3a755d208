"""Colours of the report: one theme for light pages and paper, one for dark pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing; series colours by Okabe and Ito, safe for colour-blind readers."""

    background: str
    text: str
    faint: str
    grid: str
    warning: str
    series: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    text="#1a1a1a",
    faint="#6b6b6b",
    grid="#e4e4e4",
    warning="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a67c00", "#56b4e9", "#000000"),
)
DARK = Theme(
    background="#1b1e23",
    text="#e8e8e8",
    faint="#a0a4aa",
    grid="#343940",
    warning="#ff8a80",
    series=("#56b4e9", "#e69f00", "#2fc79a", "#e5a3c8", "#f0e442", "#8fa8ff", "#ffffff"),
)
