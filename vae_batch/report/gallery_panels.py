"""Which panels of images a gallery makes: on the page, and as plates of the figure bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vae_batch.report.gallery import Gallery
from vae_batch.report.image_grids import (
    Grid,
    duplicate_grids,
    interpolation_grid,
    nearest_grids,
    reconstruction_grid,
    traversal_grid,
    worst_grids,
)
from vae_batch.report.labels import printable


@dataclass(frozen=True)
class PanelKind:
    """One kind of panel beside the samples.

    Attributes:
        key: Names it in the page and in names of files.
        heading: What it shows, in a few words.
        caption: How to read it.
        needs: Entries of a gallery without which there is no such panel.
        grids: Its grids, made of a gallery.
        columns: What the labels of its columns are, or "".
        band: Rows that belong together.
        measure: Entry that names what distances are between, or "".
        numbers: Entries of a gallery that its labels are made of.
        missing: Why it is missing, where it is.
    """

    key: str
    heading: str
    caption: str
    needs: tuple[str, ...]
    grids: Callable[[Gallery], Sequence[Grid]]
    columns: str = ""
    band: int = 1
    measure: str = ""
    numbers: tuple[str, ...] = ()
    missing: str = "none are stored"

    def is_in(self, gallery: Gallery) -> bool:
        """Whether ``gallery`` has all that the panel needs."""
        return all(name in gallery for name in self.needs)

    def measured_by(self, gallery: Gallery) -> str:
        """What distances are between, or ""."""
        return printable(gallery[self.measure]) if self.measure in gallery else ""


#: In reading order.
PANEL_KINDS = (
    PanelKind(
        "reconstructions",
        "Reconstructions",
        "Test images, their reconstructions, and the absolute difference (0 is black).",
        ("originals", "reconstructions"),
        lambda gallery: [reconstruction_grid(gallery)],
        band=3,
    ),
    PanelKind(
        "worst-reconstructions",
        "Worst reconstructions",
        "Of all test images, worst first, with their index and mean squared error.",
        ("worst_originals", "worst_reconstructions", "worst_ids", "worst_errors"),
        worst_grids,
        columns="index, mean squared error",
        band=3,
        numbers=("worst_ids", "worst_errors"),
    ),
    PanelKind(
        "nearest-training",
        "Nearest training images",
        "Samples above the training image nearest to each, with its index and distance.",
        ("nearest_generated", "nearest_training", "nearest_ids", "nearest_distances"),
        nearest_grids,
        columns="index, distance",
        band=2,
        measure="nearest_extractor",
        numbers=("nearest_ids", "nearest_distances", "nearest_extractor"),
        missing="no training images were given",
    ),
    PanelKind(
        "duplicates",
        "Most similar samples",
        "Pairs of different samples that are nearest to each other, with their indices and "
        "distance.",
        ("duplicate_first", "duplicate_second", "duplicate_ids", "duplicate_distances"),
        duplicate_grids,
        columns="indices, distance",
        band=2,
        measure="duplicate_measure",
        numbers=("duplicate_ids", "duplicate_distances", "duplicate_measure"),
    ),
    PanelKind(
        "interpolation",
        "Interpolation",
        "Between two latents of the prior, at the prior's own scale all the way.",
        ("interpolation",),
        lambda gallery: [interpolation_grid(gallery)],
    ),
    PanelKind(
        "traversal",
        "Traversal",
        "One latent dimension is varied per row, by decreasing KL; collapsed ones are grey.",
        ("traversal",),
        lambda gallery: [traversal_grid(gallery)],
        numbers=("traversal_dimensions", "traversal_kl", "traversal_collapsed", "traversal_values"),
    ),
)
