"""Scores that need the activations themselves: kernel distance, precision, near-duplicates."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vae_batch.metrics import (
    KernelReference,
    NearDuplicateThreshold,
    Neighbourhoods,
    kernel_distance_of_subsets,
    kernel_influence,
    manifold_scores,
    near_duplicate_rate,
    real_against_real,
    vendi_score,
)
from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.plan import Unit
from vae_batch.run.scoring.defined import Row, ScoreSheet
from vae_batch.run.scoring.samples import Rows, reference_features
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Store

_NEIGHBOURS = 5
#: More samples with a near-duplicate than real images have, by this share, are a collapsed mode.
_ALIKE = 0.2
_PRECISION = ("precision", "recall", "density", "coverage")
_VENDI = ("vendi_score", "vendi_score_reference")
_DUPLICATES = ("near_duplicate_rate", "near_duplicate_rate_reference")


def near_duplicate_warnings(sheet: ScoreSheet) -> list[str]:
    """A sentence where far more samples have a twin than real images do."""
    rate = sheet.values.get("near_duplicate_rate")
    real = sheet.values.get("near_duplicate_rate_reference")
    if rate is None or real is None or rate < real + _ALIKE:
        return []
    return [f"samples are alike: {rate:.1%} have a near-duplicate ({real:.1%} of real images)"]


def add_manifold_scores(sheet: ScoreSheet, parts: RowParts) -> dict[str, PairedScore]:
    """Kernel distance, precision and recall, density and coverage, near-duplicates, diversity.

    Returns:
      The kernel distance with the influence of each sample.
    """
    wanted = ("kid", "kid_subsets", *_PRECISION, *_VENDI, *_DUPLICATES)
    if not sheet.wants(*wanted):
        return {}
    features = parts.columns("generated", ["features"])["features"]
    if not features.shape[1]:
        return {}
    reference = _Reference(parts.stores.reference, parts.units["reference"])
    influences: dict[str, PairedScore] = {}
    sheet.add(lambda: _kernel(features, reference, influences), "kid")
    sheet.add(lambda: _subsets(features, reference), "kid_subsets", "kid_subsets_std")
    sheet.add(lambda: _precision(features, reference), *_PRECISION)
    sheet.add(lambda: _near_duplicates(features, reference), *_DUPLICATES)
    sheet.add(
        lambda: {
            "vendi_score": vendi_score(features),
            "vendi_score_reference": _vendi_of_reference(reference, len(features)),
        },
        *_VENDI,
    )
    return influences


@dataclass(frozen=True)
class _Reference:
    """Where the reference's activations lie; what is made of them is kept by process."""

    store: Store
    unit: Unit

    @property
    def features(self) -> Rows:
        return reference_features(self.store, self.unit)


def _kernel(features: Rows, reference: _Reference, influences: dict[str, PairedScore]) -> Row:
    found = kernel_influence(features, _kernel_reference(reference))
    influences["kid"] = PairedScore(found.distance.value, found.influence)
    return {"kid": found.distance.value, "kid_se": found.distance.standard_error}


def _subsets(features: Rows, reference: _Reference) -> Row:
    found = kernel_distance_of_subsets(features, _kernel_reference(reference).activations)
    return {"kid_subsets": found.mean, "kid_subsets_std": found.std}


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
        "near_duplicate_rate": near_duplicate_rate(features, _threshold(reference)),
        "near_duplicate_rate_reference": _duplicates_of_reference(reference),
    }


@functools.lru_cache(maxsize=2)
def _kernel_reference(reference: _Reference) -> KernelReference:
    return KernelReference.from_activations(reference.features)


@functools.lru_cache(maxsize=2)
def _neighbourhoods(reference: _Reference) -> Neighbourhoods:
    return Neighbourhoods.from_activations(reference.features, _NEIGHBOURS)


@functools.lru_cache(maxsize=4)
def _threshold(reference: _Reference) -> NearDuplicateThreshold:
    return NearDuplicateThreshold.from_activations(reference.features)


@functools.lru_cache(maxsize=4)
def _duplicates_of_reference(reference: _Reference) -> float:
    return real_against_real(near_duplicate_rate, reference.features)


@functools.lru_cache(maxsize=4)
def _vendi_of_reference(reference: _Reference, count: int) -> float:
    """Of as many reference images as there are generated ones, or of all."""
    return vendi_score(reference.features[:count])
