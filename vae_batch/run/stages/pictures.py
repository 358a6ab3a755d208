"""Pictures that the report shows: the gallery of a checkpoint, and its worst reconstructions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.models.gallery import SAMPLES, draw_gallery
from vae_batch.models.sample_sets import SampleSet
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.stages.inputs import Array, Arrays, Generator, first_images

#: Reference images of the gallery: enough to order latent dimensions by their KL.
_GALLERY_IMAGES = 512

#: Pictures stored per shard, and shown per checkpoint: each of these is among its shard's worst.
WORST = 16

_PREFIX = "worst_"


def gallery_of_checkpoint(config: WorkerConfig, vae: Generator) -> Arrays:
    """Samples, reconstructions, interpolations and traversals, as the parts allow."""
    facts = config.reference
    pixels, labels = first_images(config, _GALLERY_IMAGES)
    if isinstance(vae, SampleSet):
        drawn = vae.pictures(np.arange(min(SAMPLES, len(vae.images))))
        return {
            "samples": drawn,
            **({} if pixels is None else {"reference_samples": pixels[:SAMPLES]}),
        }
    return draw_gallery(vae, pixels, labels, config.spec.seed, facts.label_counts)


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
