"""Diagnostics of pixels, from stored statistics of generated and of reference images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import trimmed_mean
from vae_batch.run.scoring.defined import Row, ScoreSheet
from vae_batch.run.scoring.stored import Columns, RowParts

Values = npt.NDArray[Any]

#: Below this share of real images' Laplacian variance samples are called blurred. A VAE of MNIST
#: that works has 0.25 after 6 epochs; one of 2 latents, or with a collapsed posterior, below 0.03.
_BLURRED = 0.2
#: Above this many times real images' high frequencies the samples are called noisy.
_NOISY = 2.0
#: More exact copies than real images have, by this share, are called duplicates.
_COPIES = 0.01

_COLUMNS = (
    "sharpness_ratio",
    "sharpness_ratio_reference",
    "reconstruction_sharpness_ratio",
    "high_frequency_ratio",
    "high_frequency_ratio_reference",
    "duplicate_rate",
    "duplicate_rate_reference",
    "pixel_diversity_ratio",
    "latent_smoothness",
)
_RATIOS = {"sharpness_ratio": "sharpness", "high_frequency_ratio": "high_frequency"}


def add_pixel_diagnostics(sheet: ScoreSheet, parts: RowParts) -> list[str]:
    """Blur, artifacts, duplicates, diversity, smoothness, each with real images in both places.

    Returns:
      Warnings: what eyes would see.
    """
    if "pictures" not in parts.units:
        sheet.refuse("needs the model: run `vae-batch score` with --metrics diagnostics", *_COLUMNS)
        return []
    real = parts.arrays("reference_pictures")
    _add_reconstruction_sharpness(sheet, parts, real)
    if not sheet.wants("sharpness_ratio", "duplicate_rate", "latent_smoothness"):
        return []
    drawn = parts.arrays("pictures")
    if "digest" not in drawn[0]:
        return []
    for metric, column in _RATIOS.items():
        sheet.add(_ratio(metric, column, drawn, real), metric, f"{metric}_reference")
    sheet.add(lambda: _duplicates(drawn, real), "duplicate_rate", "duplicate_rate_reference")
    sheet.add(lambda: _diversity(drawn, real), "pixel_diversity_ratio")
    sheet.add(
        lambda: {"latent_smoothness": trimmed_mean(_joined(drawn, "path_change"))},
        "latent_smoothness",
    )
    return list(_warnings(sheet.values))


def _add_reconstruction_sharpness(
    sheet: ScoreSheet, parts: RowParts, real: Sequence[Columns]
) -> None:
    column = "reconstruction_sharpness_ratio"
    stored = parts.columns("losses", ["reconstruction_sharpness"])
    if sheet.wants(column) and stored:
        found = stored["reconstruction_sharpness"]
        sheet.add(lambda: {column: _ratio_of(found, _joined(real, "sharpness"))}, column)
    sheet.refuse("the images are too small for a Laplacian", column)


def _ratio(
    metric: str, column: str, drawn: Sequence[Columns], real: Sequence[Columns]
) -> Callable[[], Row]:
    def compute() -> Row:
        ours, theirs = _joined(drawn, column), _joined(real, column)
        return {
            metric: _ratio_of(ours, theirs),
            f"{metric}_reference": _ratio_of(theirs[1::2], theirs[::2]),
        }

    return compute


def _ratio_of(found: Values, real: Values) -> float:
    """Ratio of medians.

    Raises:
      ValueError: The median real image has nothing to compare with.
    """
    median = float(np.median(real))
    if median <= 0:
        raise ValueError("the median reference image is constant, so the ratio is undefined")
    return float(np.median(found)) / median


def _duplicates(drawn: Sequence[Columns], real: Sequence[Columns]) -> Row:
    ours, theirs = _joined(drawn, "digest"), _joined(real, "digest")
    same = min(len(ours), len(theirs))
    return {
        "duplicate_rate": _repeated(ours),
        "duplicate_rate_reference": _repeated(theirs[:same]),
    }


def _repeated(digests: Values) -> float:
    return 1.0 - len(np.unique(digests)) / len(digests)


def _diversity(drawn: Sequence[Columns], real: Sequence[Columns]) -> Row:
    theirs = _root_mean_square_difference(real)
    if theirs <= 0:
        raise ValueError("all reference images are equal, so the ratio is undefined")
    return {"pixel_diversity_ratio": _root_mean_square_difference(drawn) / theirs}


def _root_mean_square_difference(parts: Sequence[Columns]) -> float:
    """Of a pixel of two different images, from sums: see ``metrics.pixel_diversity``."""
    count = sum(int(part["count"]) for part in parts)
    total = np.sum([part["pixel_sum"] for part in parts], axis=0)
    squares = sum(float(part["pixel_square_sum"]) for part in parts)
    scatter = squares - float((total**2).sum()) / count
    return math.sqrt(2.0 * max(0.0, scatter) / total.size / max(1, count - 1))


def _joined(parts: Sequence[Columns], name: str) -> Values:
    found = [part[name] for part in parts if name in part]
    if not found:
        raise ValueError("the images are too small for it")
    return np.concatenate(found)


def _warnings(row: Row) -> list[str]:
    """What eyes would see, in sentences with the number and that of real images."""
    found = []
    if (ratio := row.get("sharpness_ratio")) is not None and ratio < _BLURRED:
        found.append(f"samples are blurred: {ratio:.2g} of the sharpness of real images")
    if (ratio := row.get("high_frequency_ratio")) is not None and ratio > _NOISY:
        found.append(f"samples are noisy: {ratio:.2g} times the high frequencies of real images")
    rate, real = row.get("duplicate_rate"), row.get("duplicate_rate_reference")
    if rate is not None and real is not None and rate > real + _COPIES:
        found.append(f"samples repeat: {rate:.1%} are exact copies ({real:.1%} of real images)")
    return found
