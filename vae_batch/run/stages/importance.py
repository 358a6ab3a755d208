"""Log importance weights of posterior draws, from which IWAE follows (arXiv:1509.00519)."""

from __future__ import annotations

import numpy as np

from vae_batch.metrics.likelihood.importance import log_gaussian_posterior, log_standard_normal
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.references.subset import Positions, subset_positions
from vae_batch.models.sampling import standard_normals
from vae_batch.plan import Reading, Shard, sample_ranges
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.stages.inputs import Array, Arrays, reference_rows
from vae_batch.run.stages.losses import observed

#: Pixel values decoded at once; their losses take five float64 arrays of 32 MiB.
_PIXELS_AT_ONCE = 2**22


def importance_of_checkpoint(
    config: WorkerConfig, vae: Autoencoder, reading: Reading, shard: Shard
) -> Arrays:
    """Parts of the log weights log p(x|z) + log p(z) - log q(z|x) of K draws per image.

    Draw k of the i-th image of the subset depends on (seed, i, k) alone.

    Returns:
        ``log_ratio`` (n, K), log p(z) - log q(z|x) in nats, and the columns of ``observed`` as
        (n, K); nothing but ``index`` where the checkpoint has no posterior or no decoder.
    """
    index = np.arange(shard.start, shard.stop)
    if {"encoder", "decoder", "posterior"} & set(vae.description.missing):
        return {"index": index}
    pixels_a_draw = int(np.prod(vae.description.image_shape))
    images_at_once = max(1, _PIXELS_AT_ONCE // (pixels_a_draw * config.spec.iwae_draws))
    spec, count = config.spec, config.reference.count
    chosen = subset_positions(spec.reference_subset, min(spec.iwae_images, count), count)
    parts = [
        _weights(config, vae, reading, chosen[start:stop], start)
        for begin, end in sample_ranges(len(shard), images_at_once)
        for start, stop in [(shard.start + begin, shard.start + end)]
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {"index": index, **joined}


def _weights(
    config: WorkerConfig, vae: Autoencoder, reading: Reading, positions: Positions, start: int
) -> Arrays:
    """Weights of the images at some positions of the reference, whose draws begin at ``start``."""
    draws, stop = config.spec.iwae_draws, start + len(positions)
    pixels, labels = reference_rows(config, positions)
    images = vae.to_model(pixels)
    mean, logvar = vae.encode(images, labels)
    if logvar is None:
        raise ValueError("importance weights need a posterior")
    shape = (draws, *mean.shape[1:])
    noise = standard_normals(config.spec.seed, "importance", start, stop, shape)
    spread = np.exp(0.5 * logvar.astype(np.float64))[:, None]
    latents = mean[:, None].astype(np.float64) + spread * noise
    decoded = vae.decode_with_scale(
        latents.reshape(-1, *mean.shape[1:]).astype(np.float32),
        None if labels is None else np.repeat(labels, draws),
    )
    losses = observed(vae, reading, decoded, np.repeat(images, draws, axis=0))
    ratio = log_standard_normal(latents) - log_gaussian_posterior(latents, mean, logvar)
    return {
        "log_ratio": ratio,
        **{name: _by_image(values, len(pixels)) for name, values in losses.items()},
    }


def _by_image(values: Array, images: int) -> Array:
    return values.reshape(images, -1)
