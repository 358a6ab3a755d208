"""Metrics of other packages, computed from the stored arrays of a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from vae_batch.metrics.catalogue import PLUG_INS, Metric
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.models.autoencoder.description import Description
from vae_batch.run.scoring.losses import losses_per_image
from vae_batch.run.scoring.samples import reference_features
from vae_batch.run.scoring.score_sheet import ScoreSheet
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Score

Array = NDArray[Any]


@dataclass(frozen=True)
class RowArrays:
    """The stored arrays of one row, as :class:`~vae_batch.metrics.StoredArrays` promises them."""

    parts: RowParts
    description: Description

    def activations(self) -> Array:
        """(n, d) float32 activations of the generated images."""
        return self.parts.columns("generated", ["features"])["features"]

    def probabilities(self) -> Array:
        """(n, classes) class probabilities of the generated images."""
        return self.parts.columns("generated", ["probabilities"])["probabilities"]

    def reference_activations(self) -> Array:
        """(m, d) float32 activations of the reference images."""
        return reference_features(self.parts.stores.reference, self.parts.units["reference"])

    def losses(self) -> dict[str, Array]:
        """(k,) per-image values of the test images by column."""
        values: dict[str, Array] = dict(losses_per_image(self.parts, self.description))
        return values | self.parts.columns("losses", ["mse", "mae", "psnr", "ssim", "ms_ssim"])


def add_plug_ins(sheet: ScoreSheet, parts: RowParts, description: Description) -> None:
    """Compute the metrics of other packages whose stored arrays the row has."""
    arrays = RowArrays(parts, description)
    for metric in PLUG_INS:
        if set(metric.reads) <= set(parts.units):
            sheet.add(partial(_score, sheet, metric, arrays), metric.column)


def plug_in_score(metric: Metric, arrays: RowArrays) -> PairedScore | float:
    """What a plug-in metric computes from a row's arrays.

    Raises:
        ValueError: The metric is undefined for them; or it is compared, but has no influences.
    """
    if metric.compute is None:
        raise ValueError(f"{metric.column} is no plug-in metric")
    found = metric.compute(arrays)
    if isinstance(found, PairedScore):
        return found
    if metric.compared or not isinstance(found, int | float):
        raise ValueError(
            f"{metric.column}: expected {'a PairedScore' if metric.compared else 'a number'} "
            f"from its function, found {type(found).__name__}"
        )
    return float(found)


def _score(sheet: ScoreSheet, metric: Metric, arrays: RowArrays) -> dict[str, Score]:
    found = plug_in_score(metric, arrays)
    if isinstance(found, float):
        return {metric.column: Score(found)}
    if metric.compared == "samples":
        sheet.influences[metric.column] = found
    error = found.standard_error if metric.standard_error else None
    return {metric.column: Score(found.value, error)}
