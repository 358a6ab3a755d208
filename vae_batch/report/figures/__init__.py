"""The figure bundle of a report: every figure as PNG, PDF and SVG with the numbers in it."""

from vae_batch.report.figures.plate_figures import checkpoint_panels
from vae_batch.report.figures.writing import INDEX, files_of_index, write_figures

__all__ = ["INDEX", "checkpoint_panels", "files_of_index", "write_figures"]
