"""Scores that need the activations themselves: kernel distance, precision, near-duplicates."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.metrics.images.diagnostics import real_against_real
from vae_batch.metrics.samples.kernel import KernelReference, kernel_influence
from vae_batch.metrics.samples.kernel_subsets import SUBSET_SIZE, KernelSubsets
from vae_batch.metrics.samples.neighbours import Neighbourhoods
from vae_batch.metrics.samples.precision_recall import manifold_scores
from vae_batch.metrics.samples.set_diagnostics import (
    NearDuplicateThreshold,
    near_duplicate_rate,
    vendi_score,
)
from vae_batch.plan import Unit
from vae_batch.run.scoring.report_arrays import alike_samples
from vae_batch.run.scoring.samples import Rows, reference_features
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Store

#: Nearest neighbours of a row that are looked for: density and coverage use the fifth.
_NEIGHBOURS = 5
#: More samples with a near-duplicate than real images have, by this share, are a collapsed mode.
_ALIKE = 0.2
_KERNEL = ("kid", "kid_subsets", "kid_subsets_std")
_PRECISION = ("precision", "recall", "density", "coverage")
_OF_SET = ("vendi_score", "near_duplicate_rate")
_OF_REFERENCE = ("vendi_score_reference", "near_duplicate_rate_reference")


def add_manifold_scores(sheet: ScoreSheet, parts: RowParts) -> dict[str, PairedScore]:
    """Kernel distance, precision and recall, density and coverage, near-duplicates, diversity.

    Vendi score and near-duplicates depend on the number of images: of the larger set only the
    first are taken, as many as the smaller one has.

    Returns:
      The kernel distance with the influence of each sample.
    """
    if not sheet.wants(*_KERNEL, *_PRECISION, *_OF_SET, *_OF_REFERENCE):
        return {}
    if not {"generated", "reference"} <= set(parts.units):
        return {}
    reference = _Reference(parts.stores.reference, parts.units["reference"])
    _add_of_reference(sheet, parts, reference)
    features = parts.columns("generated", ["features"])["features"]
    if not features.shape[1]:
        return {}
    influences: dict[str, PairedScore] = {}
    _refuse_few_for_subsets(sheet, min(len(features), len(reference)))
    sheet.add(lambda: _kernel(features, reference, influences), *_KERNEL)
    sheet.add(lambda: _precision(features, reference), *_PRECISION)
    same = features[: len(reference)]
    sheet.add(lambda: {"vendi_score": vendi_score(same)}, "vendi_score")
    sheet.add(lambda: _near_duplicates(same, reference), "near_duplicate_rate")
    if sheet.wants("near_duplicate_rate"):
        sheet.show("generated", lambda: alike_samples(features))
    return influences


def _add_of_reference(sheet: ScoreSheet, parts: RowParts, reference: _Reference) -> None:
    """Baselines, which a checkpoint has that generates nothing, too."""
    same = min(parts.units["generated"].samples, len(reference))
    sheet.add(
        lambda: {"vendi_score_reference": _vendi_of_reference(reference, same)},
        "vendi_score_reference",
    )
    sheet.add(
        lambda: {"near_duplicate_rate_reference": _duplicates_of_reference(reference)},
        "near_duplicate_rate_reference",
    )


def near_duplicate_warnings(sheet: ScoreSheet) -> list[str]:
    """A sentence where far more samples have a twin than real images do."""
    rate = sheet.values.get("near_duplicate_rate")
    real = sheet.values.get("near_duplicate_rate_reference")
    if rate is None or real is None or rate < real + _ALIKE:
        return []
    return [f"samples are alike: {rate:.1%} have a near-duplicate ({real:.1%} of real images)"]


@dataclass(frozen=True)
class _Reference:
    """Where the reference's activations lie; what is made of them is kept by process."""

    store: Store
    unit: Unit

    def __len__(self) -> int:
        return self.unit.samples

    @property
    def features(self) -> Rows:
        return reference_features(self.store, self.unit)


def _refuse_few_for_subsets(sheet: ScoreSheet, few: int) -> None:
    if few < SUBSET_SIZE:
        reason = f"needs {SUBSET_SIZE} generated and reference images, found {few}"
        sheet.refuse(reason, "kid_subsets", "kid_subsets_std")


def _kernel(features: Rows, reference: _Reference, influences: dict[str, PairedScore]) -> Row:
    found = kernel_influence(features, _kernel_reference(reference, len(features)))
    influences["kid"] = PairedScore(found.distance.value, found.influence)
    row = {"kid": found.distance.value, "kid_se": found.distance.standard_error}
    if found.subsets is not None:
        row |= {"kid_subsets": found.subsets.mean, "kid_subsets_std": found.subsets.std}
    return row


def _precision(features: Rows, reference: _Reference) -> Row:
    literature, prdc = manifold_scores(_neighbourhoods(reference), features)
    return {
        "precision": literature.precision,
        "recall": literature.recall,
        "density": prdc.density,
        "coverage": prdc.coverage,
    }


def _near_duplicates(features: Rows, reference: _Reference) -> Row:
    return {
        "near_duplicate_rate": near_duplicate_rate(features, _threshold(reference, len(features)))
    }


@functools.lru_cache(maxsize=2)
def _kernel_reference(reference: _Reference, samples: int) -> KernelReference:
    enough = min(samples, len(reference)) >= SUBSET_SIZE
    subsets = KernelSubsets.draw(samples, len(reference)) if enough else None
    return KernelReference.from_activations(reference.features, subsets)


@functools.lru_cache(maxsize=2)
def _neighbourhoods(reference: _Reference) -> Neighbourhoods:
    return Neighbourhoods.from_activations(reference.features, _NEIGHBOURS)


@functools.lru_cache(maxsize=4)
def _threshold(reference: _Reference, samples: int) -> NearDuplicateThreshold:
    return NearDuplicateThreshold.from_activations(reference.features[:samples])


@functools.lru_cache(maxsize=4)
def _duplicates_of_reference(reference: _Reference) -> float:
    return real_against_real(near_duplicate_rate, reference.features)


@functools.lru_cache(maxsize=4)
def _vendi_of_reference(reference: _Reference, samples: int) -> float:
    return vendi_score(reference.features[:samples])
