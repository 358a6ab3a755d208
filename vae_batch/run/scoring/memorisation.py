"""Whether generated images are copies of training images, by an extractor's activations."""

from __future__ import annotations

import functools

from vae_batch.metrics.samples.set_diagnostics import (
    TrainingNeighbours,
    authentic_fraction,
    data_copying_z,
    training_distance_ratio,
)
from vae_batch.plan import Unit
from vae_batch.run.scoring.report_arrays import nearest_training
from vae_batch.run.scoring.samples import reference_features
from vae_batch.run.scoring.score_sheet import Row, ScoreSheet
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
        sheet.show("generated", lambda: nearest_training(parts, copies))
        held_out = _held_out(store, reference, training)
        return {
            "authentic_fraction": authentic_fraction(copies),
            "authentic_fraction_reference": authentic_fraction(held_out),
            "training_distance_ratio": training_distance_ratio(copies, held_out),
            "data_copying_z": data_copying_z(copies, held_out),
        }

    sheet.add(compute, *_COLUMNS)
    return _warnings(sheet.values)


def _warnings(row: Row) -> list[str]:
    """Copies are both nearer to the training set than real images and closer than its own spacing.

    The first alone is also what images near the middle of the data are, such as those of a
    collapsed posterior.
    """
    z, ours = row.get("data_copying_z"), row.get("authentic_fraction")
    if z is None or ours is None or z > _COPYING or ours >= row["authentic_fraction_reference"]:
        return []
    return [
        f"samples copy training images: data-copying z = {z:.1f}, {ours:.1%} authentic "
        f"({row['authentic_fraction_reference']:.1%} of real images)"
    ]


@functools.lru_cache(maxsize=2)
def _held_out(store: Store, reference: Unit, training: Unit) -> TrainingNeighbours:
    real, trained = reference_features(store, reference), reference_features(store, training)
    return TrainingNeighbours.from_activations(real, trained)
