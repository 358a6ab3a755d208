"""A short table of what an image costs, measured once, for runs that have measured nothing yet.

It was measured on two cores (:data:`TABLE_DEVICE`) and holds for them; what it gives for another
machine, or for larger images and models, is a rough figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vae_batch.plan import Unit
from vae_batch.plan.shards import Kind

ACTIVATIONS: tuple[Kind, ...] = ("reference", "generated", "reconstructed")

#: What these make is no image, or one that was there before.
MAKE_NO_IMAGE = frozenset({"description", "gallery", "images"})

#: Where the table was measured.
TABLE_DEVICE = "2 cores of an AVX-512 AMD EPYC, 28x28 images, small convolutional VAEs"

#: Core seconds of one image; a description and a gallery are one "image" a checkpoint.
_CORE_SECONDS: Mapping[Kind, float] = {
    "description": 2.6,
    "gallery": 0.6,
    "losses": 2.6e-3,
    "importance": 2.0e-2,
    "pictures": 8e-4,
    "reference_pictures": 8e-4,
}

#: Of an extractor's pass: Inception (18.1 images a second on two cores), or a small classifier.
_INCEPTION_SECONDS, _CLASSIFIER_SECONDS = 2 / 18.1, 4e-4

#: Of decoding an image, or of encoding and decoding it, before the extractor has it.
_DECODING: Mapping[Kind, float] = {"reference": 0.0, "generated": 1.2e-3, "reconstructed": 2.0e-3}

#: Share of activations' raw bytes that is left in the file: 9,607 of 12,192 a row were.
_STORED_SHARE = 0.79

#: Bytes of a row in the file, at 28x28 pixels and 8 latents.
_ROW_BYTES: Mapping[Kind, float] = {
    "description": 1300.0,
    "losses": 180.0,
    "pictures": 33.0,
    "reference_pictures": 33.0,
}
_GALLERY_BYTES_A_PIXEL = 146.0
_IMPORTANCE_BYTES_A_DRAW = 14.0
_CLASSIFIER_ROW_BYTES = 210.0

#: Influences and the like, written beside a scored row: bytes a generated sample.
_SCORE_BYTES = 16.0


@dataclass(frozen=True)
class _ScoreCost:
    """Core seconds of one group of a row at 10,000 samples.

    Attributes:
      fixed: Whatever the features.
      growing: More at 2,048 features.
      by_features: The power of the features that the latter grow with.
      by_samples: The power of the samples that all of it grows with.
    """

    fixed: float
    growing: float
    by_features: int
    by_samples: int


#: By ``jobs/benchmarks/scoring.py``, with a prepared reference; other groups cost next to nothing.
#: Memorisation was not measured, and is taken for precision, which looks for neighbours too.
_SCORES: Mapping[str, _ScoreCost] = {
    "latents": _ScoreCost(2.2, 0.0, 1, 1),
    "reconstruction_fid": _ScoreCost(0.0, 1.2, 2, 1),
    "fid": _ScoreCost(0.0, 31.0, 2, 1),
    "fid_infinity": _ScoreCost(0.0, 14.0, 2, 1),
    "inception_score": _ScoreCost(0.0, 0.7, 1, 1),
    "kid": _ScoreCost(2.0, 13.0, 1, 2),
    "precision": _ScoreCost(5.0, 20.0, 1, 2),
    "diagnostics": _ScoreCost(0.6, 8.7, 1, 2),
    "memorisation": _ScoreCost(5.0, 20.0, 1, 2),
}
_REDUCTION_SECONDS = 2.5
_TABLE_SAMPLES, _TABLE_FEATURES = 10_000, 2048

#: Features taken for a classifier, whose file is not opened to count them.
_CLASSIFIER_FEATURES = 64


@dataclass(frozen=True)
class Extracted:
    """What an extractor gives an image: features and classes; 0 where its file does not say."""

    features: int
    classes: int

    @property
    def is_known(self) -> bool:
        """Whether its widths are known without opening it."""
        return self.features > 0


@dataclass(frozen=True)
class Terms:
    """What the cost of an image depends on, beside its kind.

    Attributes:
      pixels: Values of one image, H * W * C.
      batch: Images a batch; the last one of a shard is padded.
      draws: Of the importance-weighted bound.
      splits: Of the Inception Score.
      extractors: By their folder.
    """

    pixels: int
    batch: int
    draws: int
    splits: int
    extractors: Mapping[str, Extracted]

    def extracted(self, folder: str | None) -> Extracted:
        """What an extractor gives; nothing is known of one that is not the run's."""
        return self.extractors.get(folder or "", Extracted(0, 0))


def row_bytes(kind: Kind, extractor: str | None, terms: Terms) -> float:
    """Bytes of one sample in its shard's file, about."""
    if kind in ACTIVATIONS:
        extracted = terms.extracted(extractor)
        if not extracted.is_known:
            return _CLASSIFIER_ROW_BYTES
        return _STORED_SHARE * 4 * (extracted.features + extracted.classes)
    if kind == "importance":
        return _IMPORTANCE_BYTES_A_DRAW * terms.draws
    if kind == "gallery":
        return _GALLERY_BYTES_A_PIXEL * terms.pixels
    if kind == "images":
        return float(terms.pixels)
    return _ROW_BYTES[kind]


def core_seconds(kind: Kind, extractor: str | None, terms: Terms) -> float:
    """Seconds that one sample keeps one core busy, by the table."""
    if kind not in ACTIVATIONS:
        share = terms.draws / 64 if kind == "importance" else 1.0
        return _CORE_SECONDS.get(kind, 0.0) * share
    is_inception = terms.extracted(extractor).is_known
    return _DECODING[kind] + (_INCEPTION_SECONDS if is_inception else _CLASSIFIER_SECONDS)


def light_work(
    reductions: Iterable[Unit],
    rows: Iterable[tuple[int, str]],
    groups: Sequence[str],
    terms: Terms,
) -> tuple[int, float, float]:
    """Number, core seconds and bytes of light tasks.

    Args:
      reductions: Units of activations to be reduced.
      rows: Generated samples and extractor of each row to be scored.
      groups: Of metrics that were asked for.
      terms: Of the run.
    """
    count, seconds, size = 0, 0.0, 0.0
    for unit in reductions:
        features, classes = _widths(unit.extractor, terms)
        share = (features / _TABLE_FEATURES) ** 2
        count += 1
        seconds += _REDUCTION_SECONDS * share * unit.samples / _TABLE_SAMPLES
        size += reduction_bytes(features, classes, terms.splits)
    for samples, extractor in rows:
        features, _ = _widths(extractor, terms)
        count += 1
        seconds += score_seconds(samples, features, groups)
        size += _SCORE_BYTES * samples
    return count, seconds, size


def score_seconds(samples: int, features: int, groups: Sequence[str]) -> float:
    """Core seconds of one row's score."""
    n, d = samples / _TABLE_SAMPLES, features / _TABLE_FEATURES
    known = (_SCORES[group] for group in groups if group in _SCORES)
    return sum((c.fixed + c.growing * d**c.by_features) * n**c.by_samples for c in known)


def reduction_bytes(features: int, classes: int, splits: int) -> float:
    """Mean and upper triangle of the scatter, and class sums of each split, in float64."""
    return 8.0 * (features * (features + 1) / 2 + features + splits * classes)


def _widths(extractor: str | None, terms: Terms) -> tuple[int, int]:
    extracted = terms.extracted(extractor)
    return (extracted.features or _CLASSIFIER_FEATURES), extracted.classes
