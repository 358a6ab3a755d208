"""Pictures of one checkpoint: what eyes compare, at latents that all checkpoints share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import gaussian_kl_per_dimension
from vae_batch.models.image_range import from_uint8, to_uint8
from vae_batch.models.sampling import standard_normals
from vae_batch.models.vae import VariationalAutoencoder, to_images
from vae_batch.plan import EvaluationSpec

SAMPLES = 64
RECONSTRUCTIONS = 16
INTERPOLATIONS = 5
STEPS = 9
TRAVERSED_DIMENSIONS = 10
TRAVERSAL_REACH = 3.0

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[np.generic]]


def draw_gallery(
    vae: VariationalAutoencoder, images: npt.NDArray[np.uint8], spec: EvaluationSpec
) -> Arrays:
    """Arrays of the report's pictures.

    Args:
      vae: The checkpoint.
      images: (n, H, W, C) uint8 reference images; the first are reconstructed, all order the
        latent dimensions by their mean KL.
      spec: Seed and value range.

    Returns:
      ``samples`` (64, H, W, C) of the run's first latents, ``originals`` and ``reconstructions``
      (at the posterior mean), ``interpolation`` (rows, steps, H, W, C), ``traversal`` (dims,
      values, H, W, C) with ``traversal_dimensions``, ``traversal_kl`` (nats) and
      ``traversal_values``, ``reference_samples``; images are uint8.
    """
    latents = standard_normals(spec.seed, "latents", 0, SAMPLES, vae.latent_shape)
    mean, logvar = vae.encode(from_uint8(images, spec.model_range))
    kl = gaussian_kl_per_dimension(mean, logvar).mean(axis=0)
    dimensions = np.argsort(-kl, kind="stable")[:TRAVERSED_DIMENSIONS]
    values = np.linspace(-TRAVERSAL_REACH, TRAVERSAL_REACH, STEPS).astype(np.float32)
    return {
        "samples": _decode(vae, latents, spec),
        "originals": images[:RECONSTRUCTIONS],
        "reconstructions": _decode(vae, mean[:RECONSTRUCTIONS], spec),
        "interpolation": _decode(vae, interpolate(latents), spec),
        "traversal": _decode(vae, traverse(mean[0], dimensions, values), spec),
        "traversal_dimensions": dimensions,
        "traversal_kl": kl[dimensions],
        "traversal_values": values,
        "reference_samples": images[:SAMPLES],
    }


def interpolate(latents: Floats) -> Floats:
    """Paths between consecutive latent samples that stay on the prior.

    z(t) = ((1 - t) a + t b) / sqrt(t^2 + (1 - t)^2) is standard normal for every t when a and b
    are (arXiv:1711.01970); the plain straight line would have half the norm in its middle.

    Args:
      latents: (n, *latent_shape) with n >= 2 * INTERPOLATIONS.

    Returns:
      (INTERPOLATIONS, STEPS, *latent_shape).
    """
    pairs = latents[: 2 * INTERPOLATIONS].reshape(INTERPOLATIONS, 2, 1, *latents.shape[1:])
    t = np.linspace(0, 1, STEPS).reshape(1, STEPS, *(1 for _ in latents.shape[1:]))
    path = ((1 - t) * pairs[:, 0] + t * pairs[:, 1]) / np.sqrt(t**2 + (1 - t) ** 2)
    return path.astype(np.float32)


def traverse(
    centre: Floats, dimensions: npt.NDArray[np.int64], values: npt.NDArray[np.float32]
) -> Floats:
    """Copies of one latent in which one coordinate takes each of ``values``.

    Args:
      centre: (*latent_shape).
      dimensions: Flat coordinates to sweep.
      values: Coordinates' values, in prior standard deviations.

    Returns:
      (len(dimensions), len(values), *latent_shape).
    """
    swept = np.tile(centre.reshape(-1), (len(dimensions), len(values), 1))
    for row, dimension in enumerate(dimensions):
        swept[row, :, dimension] = values
    return swept.reshape(len(dimensions), len(values), *centre.shape).astype(np.float32)


def _decode(
    vae: VariationalAutoencoder, latents: Floats, spec: EvaluationSpec
) -> npt.NDArray[np.uint8]:
    """Images of latents with any number of leading axes."""
    leading = latents.shape[: latents.ndim - len(vae.latent_shape)]
    decoded = vae.decode(latents.reshape(-1, *vae.latent_shape))
    images = to_uint8(to_images(decoded, vae.output), spec.model_range)
    return images.reshape(*leading, *images.shape[1:])
