"""The figure bundle of a report: every figure as PNG, PDF and SVG with the numbers in it."""

from vae_batch.report.figures.plates import checkpoint_panels
from vae_batch.report.figures.writing import INDEX, replace_figures, write_figures

__all__ = ["INDEX", "checkpoint_panels", "replace_figures", "write_figures"]
