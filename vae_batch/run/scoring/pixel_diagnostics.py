"""Diagnostics of pixels, from stored statistics of generated and of reference images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.diagnostics import SPECTRUM_SIDE, trimmed_mean
from vae_batch.models.references.subset import subset_positions
from vae_batch.run.scoring.report_arrays import mean_spectra
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet, UndefinedScoreError
from vae_batch.run.scoring.stored import Columns, RowParts
from vae_batch.storage import Score

Values = npt.NDArray[Any]
Shards = Sequence[Columns]

#: Below this share of real images' Laplacian variance samples are called blurred. A VAE of MNIST
#: that works has 0.25 after 6 epochs; one of 2 latents, or with a collapsed posterior, below 0.03.
_BLURRED = 0.2
#: Above this many times real images' high frequencies the samples are called noisy.
_NOISY = 2.0
#: More exact copies than real images have, by this share, are called duplicates.
_COPIES = 0.01

#: Statistics of an image whose ratio of medians is a metric, and why a reference may have none.
_RATIOS = {
    "sharpness_ratio": ("sharpness", "the median reference image is constant"),
    "high_frequency_ratio": (
        "high_frequency",
        "the median reference image has no power above half the Nyquist frequency",
    ),
}


def add_pixel_diagnostics(sheet: ScoreSheet, parts: RowParts) -> None:
    """Blur, artifacts, duplicates, diversity, smoothness, each beside its value for real images.

    Warns of what a person would see in the images.
    """
    if "diagnostics" not in parts.spec.metrics or "pictures" not in parts.units:
        return
    # A checkpoint that generates nothing has no statistics; the sheet then wants none of them.
    drawn = parts.arrays("pictures")
    _add_of_generated(sheet, drawn)
    if "reference_pictures" not in parts.units:
        return
    real = parts.arrays("reference_pictures")
    for metric, (statistic, lack) in _RATIOS.items():
        sheet.add(_ratio(metric, statistic, lack, drawn, real), metric)
        sheet.add(_baseline(f"{metric}_reference", statistic, lack, real), f"{metric}_reference")
    _add_sharpness_of_reconstructions(sheet, parts, real)
    sheet.show("pictures", lambda: mean_spectra(drawn, real))
    digests = _joined(real, "digest")
    same = digests[subset_positions("random", parts.units["pictures"].samples, len(digests))]
    sheet.add(lambda: _repeated("duplicate_rate_reference", same), "duplicate_rate_reference")
    sheet.add(
        lambda: {"pixel_diversity_ratio": Score(_diversity_ratio(drawn, real))},
        "pixel_diversity_ratio",
    )
    _warn_of_visible_flaws(sheet)


def _add_of_generated(sheet: ScoreSheet, drawn: Shards) -> None:
    sheet.add(lambda: _repeated("duplicate_rate", _joined(drawn, "digest")), "duplicate_rate")
    sheet.add(
        lambda: {"latent_smoothness": Score(trimmed_mean(_joined(drawn, "path_change")))},
        "latent_smoothness",
    )


def _add_sharpness_of_reconstructions(sheet: ScoreSheet, parts: RowParts, real: Shards) -> None:
    if "losses" not in parts.units:
        return
    column, (statistic, lack) = "reconstruction_sharpness_ratio", _RATIOS["sharpness_ratio"]
    stored = [parts.columns("losses", ["reconstruction_sharpness"])]

    def compute() -> Scores:
        found = _joined(stored, "reconstruction_sharpness")
        return {column: _ratio_of_medians(found, _joined(real, statistic), lack)}

    sheet.add(compute, column)


def _ratio(
    metric: str, statistic: str, lack: str, drawn: Shards, real: Shards
) -> Callable[[], Scores]:
    return lambda: {
        metric: _ratio_of_medians(_joined(drawn, statistic), _joined(real, statistic), lack)
    }


def _baseline(metric: str, statistic: str, lack: str, real: Shards) -> Callable[[], Scores]:
    """Real images of odd index over those of even index."""

    def compute() -> Scores:
        values = _joined(real, statistic)
        return {metric: _ratio_of_medians(values[1::2], values[::2], lack)}

    return compute


def _ratio_of_medians(found: Values, real: Values, lack: str) -> Score:
    """Ratio of medians.

    Raises:
        ValueError: The median of real images is 0.
    """
    median = float(np.median(real))
    if median <= 0:
        raise ValueError(f"{lack}, so the ratio is undefined")
    return Score(float(np.median(found)) / median)


def _repeated(column: str, digests: Values) -> Scores:
    return {column: Score(1.0 - len(np.unique(digests)) / len(digests))}


def _diversity_ratio(drawn: Shards, real: Shards) -> float:
    theirs = _root_mean_square_difference(real)
    if theirs == 0:
        raise ValueError("all reference images are equal, so the ratio is undefined")
    return _root_mean_square_difference(drawn) / theirs


def _root_mean_square_difference(shards: Shards) -> float:
    """RMS difference of a pixel between two different images, over all pairs.

    It is sqrt(2 s^2), with s^2 the pixels' variance over images (ddof 1) averaged over pixels. The
    sums of 8-bit pixels are integers, and so is n times their scatter: for equal images it is
    exactly 0.
    """
    count = sum(int(shard["count"]) for shard in shards)
    total = np.sum([shard["pixel_sum"] for shard in shards], axis=0)
    squares = sum(int(shard["pixel_square_sum"]) for shard in shards)
    scatter = count * squares - sum(int(value) ** 2 for value in total.flat)
    return math.sqrt(2.0 * scatter / count / (count - 1) / total.size)


def _joined(shards: Shards, name: str) -> Values:
    found = [shard[name] for shard in shards if name in shard]
    if not found:
        text = f"needs images of at least {SPECTRUM_SIDE} pixels a side"
        raise UndefinedScoreError("images_too_small", text)
    return np.concatenate(found)


def _warn_of_visible_flaws(sheet: ScoreSheet) -> None:
    if (ratio := sheet.value("sharpness_ratio")) is not None and ratio < _BLURRED:
        text = f"samples are blurred: {ratio:.2g} of the sharpness of real images"
        sheet.warn("blurred", "warning", text)
    if (ratio := sheet.value("high_frequency_ratio")) is not None and ratio > _NOISY:
        text = f"samples are noisy: {ratio:.2g} times the high frequencies of real images"
        sheet.warn("noisy", "warning", text)
    rate, real = sheet.value("duplicate_rate"), sheet.value("duplicate_rate_reference")
    if rate is not None and real is not None and rate > real + _COPIES:
        text = f"samples repeat: {rate:.1%} are exact copies ({real:.1%} of real images)"
        sheet.warn("exact_duplicates", "severe", text)
