"""Pixel statistics of generated and of reference images: blur, artifacts, duplicates."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.diagnostics import (
    SPECTRUM_SIDE,
    high_frequency_fraction,
    path_changes,
    radial_power_spectrum,
    sharpness,
)
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.gallery import prior_path
from vae_batch.models.image_range import bounds_of
from vae_batch.models.sampling import standard_normals, standard_uniforms
from vae_batch.plan import Shard
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.reference.images import read_reference
from vae_batch.run.stages.inputs import (
    Array,
    Arrays,
    Generator,
    can_generate,
    generated_inputs,
    generated_pictures,
)

#: Step along a path through the prior; much smaller steps are lost in the rounding of float32.
SMOOTHNESS_STEP = 1e-2

#: Samples from which smoothness is measured, from the first.
_SMOOTHNESS_SAMPLES = 1000


def pictures_of_reference(config: WorkerConfig, shard: Shard) -> Arrays:
    """Pixel statistics of reference images."""
    positions = np.arange(shard.start, shard.stop)
    return picture_statistics(read_reference(config.stores.reference, config.reference, positions))


def pictures_of_checkpoint(config: WorkerConfig, vae: Generator, shard: Shard) -> Arrays:
    """Pixel statistics of generated images, and how smoothly the first follow their latents."""
    if not can_generate(vae):
        return {"index": np.arange(shard.start, shard.stop)}
    inputs = generated_inputs(config.spec, config.reference, vae, shard)
    statistics = picture_statistics(generated_pictures(config.spec, vae, inputs))
    stop = min(shard.stop, _SMOOTHNESS_SAMPLES)
    if shard.start < stop and isinstance(vae, Autoencoder):
        first = [array[: stop - shard.start] for array in inputs]
        statistics["path_change"] = _path_change(config, vae, shard.start, stop, *first)
    return statistics


def picture_statistics(pixels: npt.NDArray[np.uint8]) -> Arrays:
    """Statistics per image, and sums from which the set's diversity and spectrum follow.

    Args:
        pixels: (n, H, W, C).

    Returns:
        ``digest`` (n,) uint64; ``pixel_sum`` (H, W, C), ``pixel_square_sum`` and ``count``; and for
        images of at least ``SPECTRUM_SIDE`` pixels a side ``sharpness`` and ``high_frequency``
        (n,) and the mean spectrum.
    """
    values = pixels.astype(np.float64)
    statistics: Arrays = {
        "digest": np.array([_digest(image) for image in pixels], np.uint64),
        "pixel_sum": values.sum(axis=0),
        "pixel_square_sum": np.array((values**2).sum()),
        "count": np.array(len(pixels)),
    }
    if min(pixels.shape[1:3]) >= SPECTRUM_SIDE:
        spectrum = radial_power_spectrum(pixels)
        statistics |= {
            "sharpness": sharpness(pixels),
            "high_frequency": high_frequency_fraction(pixels),
            "spectrum_frequencies": spectrum.frequencies,
            "spectrum_power": spectrum.power,
        }
    return statistics


def _path_change(
    config: WorkerConfig,
    vae: Autoencoder,
    start: int,
    stop: int,
    latents: Array,
    labels: Array | None = None,
) -> npt.NDArray[np.float64]:
    """(n,) squared change of pixels (0..1) per squared step, on a path to another prior sample."""
    seed, shape = config.spec.seed, vae.latent_shape
    ends = standard_normals(seed, "path_ends", start, stop, shape)
    t = standard_uniforms(seed, "path_places", start, stop) * (1.0 - SMOOTHNESS_STEP)
    low, high = bounds_of(vae.description.value_range)

    def at(place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        decoded = vae.decode(prior_path(latents, ends, place), labels)
        return (vae.to_means(decoded).astype(np.float64) - low) / (high - low)

    before, after = at(t), at(t + SMOOTHNESS_STEP)
    return path_changes(before, after, SMOOTHNESS_STEP)


def _digest(image: npt.NDArray[np.uint8]) -> int:
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
