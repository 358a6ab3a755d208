"""Influence of each sample on a score, kept beside the activations it came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vae_batch.metrics.comparison.paired_difference import PairedScore
from vae_batch.plan import Unit
from vae_batch.storage import (
    INFLUENCES,
    DamagedFileError,
    Store,
    decode_arrays,
    encode_arrays,
    read_verified,
    write_with_receipt,
)


def write_influences(store: Store, unit: Unit, scores: Mapping[str, PairedScore]) -> None:
    """Write scores and influences of a unit of generated samples; those of other metrics stay."""
    try:
        arrays = decode_arrays(read_verified(store, unit, INFLUENCES))
    except DamagedFileError:
        arrays = {}
    for metric, score in scores.items():
        arrays[f"{metric}.value"] = np.asarray(score.value)
        arrays[f"{metric}.influence"] = score.influence
    write_with_receipt(store, unit, INFLUENCES, encode_arrays(arrays), rows=unit.samples)


def read_influences(store: Store, unit: Unit) -> dict[str, PairedScore]:
    """Scores by metric.

    Raises:
      DamagedFileError: The file is missing or differs from its receipt.
    """
    arrays = decode_arrays(read_verified(store, unit, INFLUENCES))
    metrics = {name.rpartition(".")[0] for name in arrays}
    return {
        metric: PairedScore(float(arrays[f"{metric}.value"]), arrays[f"{metric}.influence"])
        for metric in sorted(metrics)
    }
