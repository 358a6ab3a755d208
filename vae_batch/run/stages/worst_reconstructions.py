"""The worst reconstructions of a shard, stored as pictures beside its columns of losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.run.stages.inputs import Array, Arrays

#: Pictures stored per shard, and shown per checkpoint: each of these is among its shard's worst.
WORST = 16

_PREFIX = "worst_"


def worst_first(errors: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Indices of the 16 largest errors, in descending order; ties keep the images' order."""
    return np.argsort(-errors, kind="stable")[:WORST]


def worst_pictures(errors: Array, pictures: npt.NDArray[np.uint8], start: int) -> Arrays:
    """Pictures of the worst reconstructions of a shard, by names that `split_pictures` knows.

    Args:
        errors: (n,) of each image.
        pictures: (n, H, W, C) reconstructions.
        start: Global index of the first image.

    Returns:
        ``worst_index`` (k,) global indices, and ``worst_reconstruction`` (k, H, W, C), k <= 16.
    """
    worst = worst_first(errors.astype(np.float64))
    return {f"{_PREFIX}index": worst + start, f"{_PREFIX}reconstruction": pictures[worst]}


def split_pictures(computed: Arrays | bytes) -> tuple[Arrays | bytes, Arrays]:
    """The content of a shard's file, and the pictures beside it by names without prefix."""
    if isinstance(computed, bytes):
        return computed, {}
    columns = {name: array for name, array in computed.items() if not name.startswith(_PREFIX)}
    beside = {name: array for name, array in computed.items() if name.startswith(_PREFIX)}
    return columns, {name.removeprefix(_PREFIX): array for name, array in beside.items()}
