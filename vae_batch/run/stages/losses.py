"""Per-image losses and posteriors on reference images, as far as a checkpoint's parts allow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import (
    bernoulli_nll,
    bernoulli_nll_from_probabilities,
    gaussian_kl,
    gaussian_nll,
)
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.sampling import standard_normals
from vae_batch.plan import CheckpointError, Shard
from vae_batch.run.recipe import Recipe
from vae_batch.run.stages.inputs import Arrays, Floats, reference_rows


def losses_of_checkpoint(
    recipe: Recipe, vae: Autoencoder, sigma: float | None, shard: Shard
) -> Arrays:
    """Losses (nats) and posteriors of one shard; columns that have no meaning are left out."""
    missing, start, stop = vae.description.missing, shard.start, shard.stop
    columns: Arrays = {"index": np.arange(start, stop)}
    if "encoder" in missing:
        return columns
    pixels, labels = reference_rows(recipe, start, stop)
    images = vae.to_model(pixels)
    mean, logvar = vae.encode(images, labels)
    columns["mean"] = latents = mean
    if logvar is not None:
        columns |= {"logvar": logvar, "kl": _kl(mean, logvar, start)}
        latents = posterior_draws(recipe.spec.seed, start, stop, mean, logvar)
    if "decoder" not in missing:
        nll, clipped = reconstruction_nll(vae, sigma, vae.decode(latents, labels), images)
        columns |= {"reconstruction_nll": nll, "clipped_pixels": clipped}
    return columns


def posterior_draws(seed: int, start: int, stop: int, mean: Floats, logvar: Floats) -> Floats:
    """One draw a sample from N(mean, exp(logvar)), by global sample index."""
    noise = standard_normals(seed, "posterior_noise", start, stop, mean.shape[1:])
    return mean + np.exp(0.5 * logvar) * noise


def reconstruction_nll(
    vae: Autoencoder, sigma: float | None, decoded: Floats, images: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """NLL a row, and how many pixels' probabilities were clipped on the way."""
    none_clipped = np.zeros(len(images), np.int64)
    output = vae.description.output
    if output == "logits":
        return bernoulli_nll(decoded, images), none_clipped
    if output == "probabilities":
        nll, clipped = bernoulli_nll_from_probabilities(decoded, images)
        return nll, clipped.astype(np.int64)
    if sigma is None:
        raise CheckpointError("a gaussian likelihood needs --sigma")
    return gaussian_nll(decoded, images, sigma), none_clipped


def _kl(mean: Floats, logvar: Floats, start: int) -> npt.NDArray[np.float64]:
    try:
        return gaussian_kl(mean, logvar)
    except ValueError as error:
        raise CheckpointError(f"the posterior of images from {start}: {error}") from error
