"""Scores that need the activations themselves: kernel distance, precision, near-duplicates."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vae_batch.metrics.samples.kernel import (
    SUBSET_SIZE,
    KernelReference,
    KernelSubsets,
    kernel_influence,
)
from vae_batch.metrics.samples.precision_recall import Neighbourhoods, manifold_scores
from vae_batch.metrics.samples.set_diagnostics import (
    NearDuplicateThreshold,
    near_duplicate_rate,
    real_against_real,
    vendi_score,
)
from vae_batch.models.references.subset import subset_positions
from vae_batch.plan import Unit
from vae_batch.run.scoring.report_arrays import alike_samples
from vae_batch.run.scoring.samples import Rows, reference_features
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Reason, Score, Store

#: Nearest neighbours of a row that are looked for: density and coverage use the fifth.
_NEIGHBOURS = 5
#: More samples with a near-duplicate than real images have, by this share, are a collapsed mode.
_ALIKE = 0.2
_KERNEL = ("kid", "kid_subsets", "kid_subsets_std")
_PRECISION = ("precision", "recall", "density", "coverage")
#: Diagnostics of a set of activations as a whole, and of the reference's.
SET_COLUMNS = (
    *("vendi_score", "near_duplicate_rate"),
    *("vendi_score_reference", "near_duplicate_rate_reference"),
)


def add_manifold_scores(sheet: ScoreSheet, parts: RowParts) -> None:
    """Kernel distance, precision and recall, density and coverage, near-duplicates, diversity.

    Statistics as reference leave the Vendi score of all generated images alone. Vendi score and
    near-duplicates depend on the number of images: of the larger set only as many are used as the
    smaller set has, of generated images the first ones and of real ones, whose
    order may mean something, a fixed random draw. Warns where far more samples have a
    near-duplicate than real images do.
    """
    if not sheet.wants(*_KERNEL, *_PRECISION, *SET_COLUMNS):
        return
    if not {"generated", "reference"} <= set(parts.units):
        return
    reference = _Reference(parts.stores.reference, parts.units["reference"])
    if len(reference):
        _add_of_reference(sheet, parts, reference)
    features = parts.columns("generated", ["features"])["features"]
    if not features.shape[1]:
        return
    if len(reference):
        _refuse_few_for_subsets(sheet, min(len(features), len(reference)))
    sheet.add(lambda: _kernel(sheet, features, reference), *_KERNEL)
    sheet.add(lambda: _precision(features, reference), *_PRECISION)
    same = features[: len(reference) or None]
    sheet.add(lambda: {"vendi_score": Score(vendi_score(same))}, "vendi_score")
    sheet.add(lambda: _near_duplicates(same, reference), "near_duplicate_rate")
    if sheet.value("near_duplicate_rate") is not None:
        sheet.show("generated", lambda: alike_samples(features))
    _warn_of_near_duplicates(sheet)


def _add_of_reference(sheet: ScoreSheet, parts: RowParts, reference: _Reference) -> None:
    """Baselines by real images, which need no generated images."""
    same = min(parts.units["generated"].samples, len(reference))
    sheet.add(
        lambda: {"vendi_score_reference": Score(_vendi_of_reference(reference, same))},
        "vendi_score_reference",
    )
    sheet.add(
        lambda: {"near_duplicate_rate_reference": Score(_duplicates_of_reference(reference))},
        "near_duplicate_rate_reference",
    )


def _warn_of_near_duplicates(sheet: ScoreSheet) -> None:
    rate = sheet.value("near_duplicate_rate")
    real = sheet.value("near_duplicate_rate_reference")
    if rate is not None and real is not None and rate >= real + _ALIKE:
        text = f"samples are alike: {rate:.1%} have a near-duplicate ({real:.1%} of real images)"
        sheet.warn("near_duplicates", "severe", text)


@dataclass(frozen=True)
class _Reference:
    """The reference's activations; what is computed from them is cached per process."""

    store: Store
    unit: Unit

    def __len__(self) -> int:
        return self.unit.samples

    @property
    def features(self) -> Rows:
        return reference_features(self.store, self.unit)


def _refuse_few_for_subsets(sheet: ScoreSheet, few: int) -> None:
    if few < SUBSET_SIZE:
        text = f"needs {SUBSET_SIZE} generated and reference images, found {few}"
        sheet.refuse(Reason("too_few_images", text), "kid_subsets", "kid_subsets_std")


def _kernel(sheet: ScoreSheet, features: Rows, reference: _Reference) -> Scores:
    found = kernel_influence(features, _kernel_reference(reference, len(features)))
    sheet.influences["kid"] = found.score
    scores = {"kid": Score(found.distance.value, found.distance.standard_error)}
    if found.subsets is not None:
        scores["kid_subsets"] = Score(found.subsets.mean)
        scores["kid_subsets_std"] = Score(found.subsets.std)
    return scores


def _precision(features: Rows, reference: _Reference) -> Scores:
    literature, prdc = manifold_scores(_neighbourhoods(reference), features)
    return {
        "precision": Score(literature.precision),
        "recall": Score(literature.recall),
        "density": Score(prdc.density),
        "coverage": Score(prdc.coverage),
    }


def _near_duplicates(features: Rows, reference: _Reference) -> Scores:
    rate = near_duplicate_rate(features, _threshold(reference, len(features)))
    return {"near_duplicate_rate": Score(rate)}


@functools.lru_cache(maxsize=2)
def _kernel_reference(reference: _Reference, samples: int) -> KernelReference:
    enough = min(samples, len(reference)) >= SUBSET_SIZE
    subsets = KernelSubsets.draw(samples, len(reference)) if enough else None
    return KernelReference.from_activations(reference.features, subsets)


@functools.lru_cache(maxsize=2)
def _neighbourhoods(reference: _Reference) -> Neighbourhoods:
    return Neighbourhoods.from_activations(reference.features, _NEIGHBOURS)


def _drawn(reference: _Reference, samples: int) -> Rows:
    """Activations of at most so many real images."""
    features = reference.features
    return features[subset_positions("random", samples, len(features))]


@functools.lru_cache(maxsize=4)
def _threshold(reference: _Reference, samples: int) -> NearDuplicateThreshold:
    return NearDuplicateThreshold.from_activations(_drawn(reference, samples))


@functools.lru_cache(maxsize=4)
def _duplicates_of_reference(reference: _Reference) -> float:
    return real_against_real(near_duplicate_rate, reference.features)


@functools.lru_cache(maxsize=4)
def _vendi_of_reference(reference: _Reference, samples: int) -> float:
    return vendi_score(_drawn(reference, samples))
