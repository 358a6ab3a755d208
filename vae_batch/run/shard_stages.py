"""The stages of a shard: decode, extract, lose, picture; each returns the shard's arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import (
    bernoulli_nll,
    bernoulli_nll_from_probabilities,
    gaussian_kl,
    gaussian_nll,
)
from vae_batch.models.batching import map_batches
from vae_batch.models.extractors import Extractor
from vae_batch.models.gallery import draw_gallery
from vae_batch.models.image_range import from_uint8, to_three_channels, to_uint8
from vae_batch.models.sampling import standard_normals
from vae_batch.models.vae import KerasVae, to_images
from vae_batch.plan import CheckpointError, EvaluationSpec, Shard
from vae_batch.run.recipe import Recipe
from vae_batch.run.reference_images import read_reference

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[np.generic]]

#: Reference images of the gallery: enough to order latent dimensions by their KL.
_GALLERY_IMAGES = 512


def activations_of_reference(recipe: Recipe, extractor: Extractor, shard: Shard) -> Arrays:
    """The extractor's output on reference images."""
    images = read_reference(recipe.stores.reference, recipe.reference, shard.start, shard.stop)
    return _activations(recipe.spec, extractor, shard, to_three_channels(images), extractor.extract)


def activations_of_generated(
    spec: EvaluationSpec, vae: KerasVae, extractor: Extractor, shard: Shard
) -> Arrays:
    """The extractor's output on decoded latent samples, rounded to 8 bits.

    Generated images are rounded as if they had been saved as PNG, like the reference's, which is
    what the literature's tools score. One batch is decoded while another is extracted.
    """
    latents = standard_normals(spec.seed, "latents", shard.start, shard.stop, vae.latent_shape)

    def decode_and_extract(batch: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
        images = to_uint8(to_images(vae.decode(batch), vae.output), spec.model_range)
        return extractor.extract(to_three_channels(images))

    return _activations(spec, extractor, shard, latents, decode_and_extract)


def losses_of_checkpoint(recipe: Recipe, vae: KerasVae, shard: Shard) -> Arrays:
    """Per-image losses (nats) and posteriors on reference images."""
    spec = recipe.spec
    pixels = read_reference(recipe.stores.reference, recipe.reference, shard.start, shard.stop)
    images = from_uint8(pixels, spec.model_range)
    mean, logvar = vae.encode(images)
    try:
        kl = gaussian_kl(mean, logvar)
    except ValueError as error:
        raise CheckpointError(f"the posterior of images from {shard.start}: {error}") from error
    noise = standard_normals(
        spec.seed, "posterior_noise", shard.start, shard.stop, vae.latent_shape
    )
    decoded = vae.decode(mean + np.exp(0.5 * logvar) * noise)
    nll, clipped = _reconstruction_nll(spec, vae, decoded, images)
    return {
        "index": np.arange(shard.start, shard.stop),
        "reconstruction_nll": nll,
        "kl": kl,
        "clipped_pixels": clipped,
        "mean": mean,
        "logvar": logvar,
    }


def gallery_of_checkpoint(recipe: Recipe, vae: KerasVae) -> Arrays:
    """The pictures that the report shows."""
    count = min(_GALLERY_IMAGES, recipe.reference.count)
    images = read_reference(recipe.stores.reference, recipe.reference, 0, count)
    return draw_gallery(vae, images, recipe.spec)


def _activations(
    spec: EvaluationSpec,
    extractor: Extractor,
    shard: Shard,
    inputs: npt.NDArray[np.generic],
    extract: Callable[..., tuple[Floats, Floats]],
) -> Arrays:
    features, probabilities = map_batches(
        extract, spec.settled_batch_size, inputs, concurrency=extractor.concurrent_batches
    )
    return {
        "index": np.arange(shard.start, shard.stop),
        "features": features,
        "probabilities": probabilities,
    }


def _reconstruction_nll(
    spec: EvaluationSpec,
    vae: KerasVae,
    decoded: npt.NDArray[np.float32],
    images: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """NLL a row, and how many pixels' probabilities were clipped on the way."""
    none_clipped = np.zeros(len(images), np.int64)
    if vae.output == "logits":
        return bernoulli_nll(decoded, images), none_clipped
    if vae.output == "probabilities":
        nll, clipped = bernoulli_nll_from_probabilities(decoded, images)
        return nll, clipped.astype(np.int64)
    if spec.sigma is None:
        raise CheckpointError("a gaussian likelihood needs --sigma")
    return gaussian_nll(decoded, images, spec.sigma), none_clipped
