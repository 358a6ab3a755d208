"""Whether generated images are copies of training images, by an extractor's activations."""

from __future__ import annotations

import functools

from vae_batch.metrics import (
    TrainingNeighbours,
    authentic_fraction,
    data_copying_z,
    training_distance_ratio,
)
from vae_batch.plan import Unit
from vae_batch.run.scoring.defined import Row, ScoreSheet
from vae_batch.run.scoring.samples import reference_features
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Store

_COLUMNS = (
    "authentic_fraction",
    "authentic_fraction_reference",
    "training_distance_ratio",
    "data_copying_z",
)

#: Below this the test calls samples copies (arXiv:2004.05675).
_COPYING = -3.0


def add_memorisation(sheet: ScoreSheet, parts: RowParts) -> list[str]:
    """Nearest training neighbours of generated images against those of the reference.

    Returns:
      A warning where samples are closer to training images than real ones are.
    """
    if not sheet.wants(*_COLUMNS):
        return []
    if "training" not in parts.units:
        sheet.refuse("needs the training images; give --training (such as train)", *_COLUMNS)
        return []
    features = parts.columns("generated", ["features"])["features"]
    store = parts.stores.reference
    reference, training = parts.units["reference"], parts.units["training"]

    def compute() -> Row:
        copies = TrainingNeighbours.from_activations(features, reference_features(store, training))
        held_out = _held_out(store, reference, training)
        return {
            "authentic_fraction": authentic_fraction(copies),
            "authentic_fraction_reference": authentic_fraction(held_out),
            "training_distance_ratio": training_distance_ratio(copies, held_out),
            "data_copying_z": data_copying_z(copies, held_out),
        }

    sheet.add(compute, *_COLUMNS)
    z = sheet.values.get("data_copying_z")
    if z is None or z > _COPYING:
        return []
    return [f"samples copy training images: data-copying z = {z:.1f}"]


@functools.lru_cache(maxsize=2)
def _held_out(store: Store, reference: Unit, training: Unit) -> TrainingNeighbours:
    real, trained = reference_features(store, reference), reference_features(store, training)
    return TrainingNeighbours.from_activations(real, trained)
