"""Diagnostics of pixels, from stored statistics of generated and of reference images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.diagnostics import SPECTRUM_SIDE
from vae_batch.metrics.images.smoothness import trimmed_mean
from vae_batch.run.scoring.report_arrays import mean_spectra
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
from vae_batch.run.scoring.stored import Columns, RowParts

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


def add_pixel_diagnostics(sheet: ScoreSheet, parts: RowParts) -> list[str]:
    """Blur, artifacts, duplicates, diversity, smoothness, each with real images in both places.

    Returns:
      Warnings: what eyes would see.
    """
    asked = "diagnostics" in parts.spec.metrics
    if not asked or not {"pictures", "reference_pictures"} <= set(parts.units):
        return []
    # A checkpoint that generates nothing has no statistics; then the sheet wants none of them.
    drawn, real = parts.arrays("pictures"), parts.arrays("reference_pictures")
    for metric, (statistic, lack) in _RATIOS.items():
        sheet.add(_ratio(metric, statistic, lack, drawn, real), metric)
        sheet.add(_baseline(f"{metric}_reference", statistic, lack, real), f"{metric}_reference")
    _add_sharpness_of_reconstructions(sheet, parts, real)
    sheet.show("pictures", lambda: mean_spectra(drawn, real))
    sheet.add(lambda: {"duplicate_rate": _repeated(_joined(drawn, "digest"))}, "duplicate_rate")
    same = _joined(real, "digest")[: parts.units["pictures"].samples]
    sheet.add(lambda: {"duplicate_rate_reference": _repeated(same)}, "duplicate_rate_reference")
    sheet.add(
        lambda: {"pixel_diversity_ratio": _diversity_ratio(drawn, real)}, "pixel_diversity_ratio"
    )
    sheet.add(
        lambda: {"latent_smoothness": trimmed_mean(_joined(drawn, "path_change"))},
        "latent_smoothness",
    )
    return list(_warnings(sheet.values))


def _add_sharpness_of_reconstructions(sheet: ScoreSheet, parts: RowParts, real: Shards) -> None:
    column, (statistic, lack) = "reconstruction_sharpness_ratio", _RATIOS["sharpness_ratio"]
    stored = [parts.columns("losses", ["reconstruction_sharpness"])]

    def compute() -> Row:
        found = _joined(stored, "reconstruction_sharpness")
        return {column: _ratio_of_medians(found, _joined(real, statistic), lack)}

    sheet.add(compute, column)


def _ratio(
    metric: str, statistic: str, lack: str, drawn: Shards, real: Shards
) -> Callable[[], Row]:
    return lambda: {
        metric: _ratio_of_medians(_joined(drawn, statistic), _joined(real, statistic), lack)
    }


def _baseline(metric: str, statistic: str, lack: str, real: Shards) -> Callable[[], Row]:
    """Real images of odd index over those of even index."""

    def compute() -> Row:
        values = _joined(real, statistic)
        return {metric: _ratio_of_medians(values[1::2], values[::2], lack)}

    return compute


def _ratio_of_medians(found: Values, real: Values, lack: str) -> float:
    """Ratio of medians.

    Raises:
      ValueError: The median real image has nothing to compare with.
    """
    median = float(np.median(real))
    if median <= 0:
        raise ValueError(f"{lack}, so the ratio is undefined")
    return float(np.median(found)) / median


def _repeated(digests: Values) -> float:
    return 1.0 - len(np.unique(digests)) / len(digests)


def _diversity_ratio(drawn: Shards, real: Shards) -> float:
    theirs = _root_mean_square_difference(real)
    if theirs == 0:
        raise ValueError("all reference images are equal, so the ratio is undefined")
    return _root_mean_square_difference(drawn) / theirs


def _root_mean_square_difference(shards: Shards) -> float:
    """Of a pixel of two different images, from sums: see ``metrics.pixel_diversity``.

    The sums of 8-bit pixels are whole numbers, and so is n times their scatter: of equal images
    it is exactly 0.
    """
    count = sum(int(shard["count"]) for shard in shards)
    total = np.sum([shard["pixel_sum"] for shard in shards], axis=0)
    squares = sum(int(shard["pixel_square_sum"]) for shard in shards)
    scatter = count * squares - sum(int(value) ** 2 for value in total.flat)
    return math.sqrt(2.0 * scatter / count / (count - 1) / total.size)


def _joined(shards: Shards, name: str) -> Values:
    found = [shard[name] for shard in shards if name in shard]
    if not found:
        raise ValueError(f"needs images of at least {SPECTRUM_SIDE} pixels a side")
    return np.concatenate(found)


def _warnings(row: Row) -> Iterator[str]:
    """What eyes would see, in sentences with the number and that of real images."""
    if (ratio := row.get("sharpness_ratio")) is not None and ratio < _BLURRED:
        yield f"samples are blurred: {ratio:.2g} of the sharpness of real images"
    if (ratio := row.get("high_frequency_ratio")) is not None and ratio > _NOISY:
        yield f"samples are noisy: {ratio:.2g} times the high frequencies of real images"
    rate, real = row.get("duplicate_rate"), row.get("duplicate_rate_reference")
    if rate is not None and real is not None and rate > real + _COPIES:
        yield f"samples repeat: {rate:.1%} are exact copies ({real:.1%} of real images)"
