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
from vae_batch.run.scoring.score_sheet import Scores, ScoreSheet
from vae_batch.run.scoring.stored import RowParts
from vae_batch.storage import Reason, Score, Store

_COLUMNS = (
    "authentic_fraction",
    "authentic_fraction_reference",
    "training_distance_ratio",
    "data_copying_z",
)

_NEEDED = {"generated", "reference", "training"}

#: Below this the samples are considered copies (arXiv:2004.05675).
_COPYING = -3.0


_NO_TRAINING = Reason(
    "no_training_images", "needs the training images; give --training (such as train)"
)


def add_memorisation(sheet: ScoreSheet, parts: RowParts) -> None:
    """Nearest training neighbours of generated images against those of the reference.

    Warns where samples are closer to training images than real ones are.
    """
    if parts.spec.training is None:
        sheet.refuse(_NO_TRAINING, *_COLUMNS)
    if not sheet.wants(*_COLUMNS) or not set(parts.units) >= _NEEDED:
        return
    features = parts.columns("generated", ["features"])["features"]
    store = parts.stores.reference
    reference, training = parts.units["reference"], parts.units["training"]

    def compute() -> Scores:
        copies = TrainingNeighbours.from_activations(features, reference_features(store, training))
        sheet.show("generated", lambda: nearest_training(parts, copies))
        held_out = _held_out(store, reference, training)
        return {
            "authentic_fraction": Score(authentic_fraction(copies)),
            "authentic_fraction_reference": Score(authentic_fraction(held_out)),
            "training_distance_ratio": Score(training_distance_ratio(copies, held_out)),
            "data_copying_z": Score(data_copying_z(copies, held_out)),
        }

    sheet.add(compute, *_COLUMNS)
    _warn_of_copies(sheet)


def _warn_of_copies(sheet: ScoreSheet) -> None:
    """Copies are nearer to the training set than real images are, and than its own spacing.

    The former alone also holds for images near the middle of the data, such as those of a
    collapsed posterior.
    """
    z, ours = sheet.value("data_copying_z"), sheet.value("authentic_fraction")
    real = sheet.value("authentic_fraction_reference")
    if z is None or ours is None or real is None or z > _COPYING or ours >= real:
        return
    sheet.warn(
        "memorisation",
        "severe",
        f"samples copy training images: data-copying z = {z:.1f}, {ours:.1%} authentic "
        f"({real:.1%} of real images)",
    )


@functools.lru_cache(maxsize=2)
def _held_out(store: Store, reference: Unit, training: Unit) -> TrainingNeighbours:
    real, trained = reference_features(store, reference), reference_features(store, training)
    return TrainingNeighbours.from_activations(real, trained)
