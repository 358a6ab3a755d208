"""Default rates: what one image costs, for output folders without receipts to measure it from.

Measured on two cores (:data:`MEASURED_ON`). On other machines, or for larger images and models,
estimates from these rates are rough, and say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.metrics.catalogue import GROUPS
from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind

ACTIVATIONS: tuple[Kind, ...] = ("reference", "generated", "reconstructed")

#: Where the rates were measured.
MEASURED_ON = "2 cores of an AVX-512 AMD EPYC, 28x28 images, small convolutional VAEs"

#: Core seconds per sample; a description and a gallery are one sample per checkpoint.
_CORE_SECONDS: Mapping[Kind, float] = {
    "description": 2.6,
    "gallery": 0.6,
    "losses": 2.6e-3,
    "importance": 2.0e-2,
    "pictures": 8e-4,
    "reference_pictures": 8e-4,
}

#: Core seconds of extraction per image: Inception (18.1 images/s on two cores), or a classifier.
_INCEPTION_SECONDS, _CLASSIFIER_SECONDS = 2 / 18.1, 4e-4

#: Core seconds per image of decoding, or of encoding and decoding, before extraction.
_DECODING: Mapping[Kind, float] = {"reference": 0.0, "generated": 1.2e-3, "reconstructed": 2.0e-3}

#: Compressed share of activations: 9,607 of 12,192 bytes per row.
_STORED_SHARE = 0.79

#: Bytes per row in the file, at 28x28 pixels and 8 latents.
_ROW_BYTES: Mapping[Kind, float] = {
    "description": 1300.0,
    "losses": 180.0,
    "pictures": 33.0,
    "reference_pictures": 33.0,
}
_GALLERY_BYTES_PER_PIXEL = 146.0
_IMPORTANCE_BYTES_PER_DRAW = 14.0
_CLASSIFIER_ROW_BYTES = 210.0

#: Bytes per generated sample that a score writes, such as its influences.
_SCORE_BYTES = 16.0

_REDUCTION_SECONDS = 2.5
_SAMPLES, _FEATURES = 10_000, 2048

#: Features assumed of a classifier, whose file is not opened to count them.
_CLASSIFIER_FEATURES = 64


@dataclass(frozen=True)
class ExtractorWidth:
    """Outputs of an extractor per image: features and classes; 0 if unknown without opening it."""

    features: int
    classes: int

    @property
    def is_known(self) -> bool:
        """Whether it is known."""
        return self.features > 0


@dataclass(frozen=True)
class CostFactors:
    """What the cost of a sample depends on, besides its kind.

    Attributes:
        pixels: Values of one image, H * W * C.
        batch: Images per batch; the last one of a shard is padded.
        draws: Posterior draws of the importance-weighted bound.
        splits: Splits of the Inception Score.
        extractors: Widths of extractors, by their folder.
    """

    pixels: int
    batch: int
    draws: int
    splits: int
    extractors: Mapping[str, ExtractorWidth]

    def width(self, extractor: str | None) -> ExtractorWidth:
        """Width of an extractor; unknown for one that is not the run's."""
        return self.extractors.get(extractor or "", ExtractorWidth(0, 0))

    def assumed_width(self, extractor: str | None) -> ExtractorWidth:
        """Width of an extractor, or what is assumed of it."""
        found = self.width(extractor)
        return found if found.is_known else ExtractorWidth(_CLASSIFIER_FEATURES, found.classes)


@dataclass(frozen=True)
class Tasks:
    """Reductions and scores, which run beside the workers: number, core seconds, bytes."""

    count: int = 0
    seconds: float = 0.0
    size: float = 0.0


def row_bytes(kind: Kind, extractor: str | None, factors: CostFactors) -> float:
    """Approximate bytes of one sample in the file of its shard."""
    if kind in ACTIVATIONS:
        width = factors.width(extractor)
        if not width.is_known:
            return _CLASSIFIER_ROW_BYTES
        return _STORED_SHARE * 4 * (width.features + width.classes)
    if kind == "importance":
        return _IMPORTANCE_BYTES_PER_DRAW * factors.draws
    if kind == "gallery":
        return _GALLERY_BYTES_PER_PIXEL * factors.pixels
    if kind == "images":
        return float(factors.pixels)
    return _ROW_BYTES[kind]


def core_seconds(kind: Kind, extractor: str | None, factors: CostFactors) -> float:
    """Seconds that one sample takes on one core."""
    if kind not in ACTIVATIONS:
        share = factors.draws / 64 if kind == "importance" else 1.0
        return _CORE_SECONDS.get(kind, 0.0) * share
    is_inception = factors.width(extractor).is_known
    return _DECODING[kind] + (_INCEPTION_SECONDS if is_inception else _CLASSIFIER_SECONDS)


def tasks_of(
    reductions: Iterable[Unit],
    rows: Iterable[tuple[int, str]],
    groups: Sequence[str],
    factors: CostFactors,
) -> Tasks:
    """Reductions and scores of a run.

    Args:
        reductions: Units of activations to be reduced.
        rows: Generated samples and extractor of each row to be scored.
        groups: Metric groups that were asked for.
        factors: Of the run.
    """
    count, seconds, size = 0, 0.0, 0.0
    for unit in reductions:
        width = factors.assumed_width(unit.extractor)
        count += 1
        share = (width.features / _FEATURES) ** 2
        seconds += _REDUCTION_SECONDS * share * unit.samples / _SAMPLES
        size += reduction_bytes(width, factors.splits)
    for samples, extractor in rows:
        count += 1
        seconds += score_seconds(samples, factors.assumed_width(extractor).features, groups)
        size += _SCORE_BYTES * samples
    return Tasks(count, seconds, size)


def score_seconds(samples: int, features: int, groups: Sequence[str]) -> float:
    """Core seconds of scoring one row."""
    n, d = samples / _SAMPLES, features / _FEATURES
    costs = (GROUPS[group].cost for group in groups)
    return sum((c.fixed + c.growing * d**c.by_features) * n**c.by_samples for c in costs)


def reduction_bytes(width: ExtractorWidth, splits: int) -> float:
    """Mean and upper triangle of the scatter, and class sums of each split, in float64."""
    d = width.features
    return 8.0 * (d * (d + 1) / 2 + d + splits * width.classes)
