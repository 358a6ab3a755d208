"""Pictures of one checkpoint for the report, at latents that all checkpoints share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.likelihood.posterior import COLLAPSED_SHARE, latent_usage
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.formats.format import Array, Floats
from vae_batch.models.sampling import draw_labels, standard_normals

SAMPLES = 64
RECONSTRUCTIONS = 16
INTERPOLATIONS = 5
STEPS = 9
TRAVERSED_DIMENSIONS = 10
TRAVERSAL_REACH = 3.0

Labels = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[np.generic]]


def draw_gallery(
    vae: Autoencoder,
    images: npt.NDArray[np.uint8] | None,
    labels: npt.NDArray[np.int64] | None,
    seed: int,
    label_counts: Sequence[int] = (),
) -> Arrays:
    """Arrays of the report's pictures, as far as the checkpoint has the parts for them.

    Args:
        vae: The checkpoint.
        images: (n, H, W, C) uint8 reference images; the first are reconstructed, all order the
            latent dimensions by their mean KL. None where there are none.
        labels: (n,) their classes, where the reference has them.
        seed: Of the run.
        label_counts: Reference images of each class; a conditional VAE's classes are drawn by them.

    Returns:
        ``samples`` (64, H, W, C) of the run's first latents, ``originals`` and ``reconstructions``
        (at the posterior mean), ``interpolation`` (rows, steps, H, W, C), ``traversal`` (dims,
        values, H, W, C) by decreasing KL with ``traversal_dimensions``, ``traversal_kl`` (nats),
        ``traversal_collapsed`` (dims,) bool and ``traversal_values``, ``reference_samples``; images
        are uint8.
    """
    missing = vae.description.missing
    pictures: Arrays = {} if images is None else {"reference_samples": images[:SAMPLES]}
    if "decoder" not in missing and "prior" not in missing:
        drawn = draw_labels(seed, 0, SAMPLES, label_counts) if label_counts else None
        pictures |= _generated(vae, seed, drawn)
    if "encoder" in missing or images is None:
        return pictures
    mean, logvar = vae.encode(vae.to_model(images), labels)
    if "decoder" not in missing:
        rows = slice(RECONSTRUCTIONS)
        pictures["originals"] = images[rows]
        pictures["reconstructions"] = _decode(vae, mean[rows], _rows(labels, rows))
        if logvar is not None:
            pictures |= _traversals(vae, mean, logvar, labels)
    return pictures


def _generated(vae: Autoencoder, seed: int, labels: Labels | None) -> Arrays:
    latents = standard_normals(seed, "latents", 0, SAMPLES, vae.latent_shape)
    paths = interpolate(latents)
    # A path keeps the class of its beginning.
    ends = None if labels is None else np.repeat(labels[: 2 * INTERPOLATIONS : 2], STEPS)
    return {
        "samples": _decode(vae, latents, labels),
        "interpolation": _decode(vae, paths, ends),
    }


def _traversals(vae: Autoencoder, mean: Floats, logvar: Floats, labels: Labels | None) -> Arrays:
    usage = latent_usage(mean, logvar)
    dimensions = np.argsort(-usage.kl, kind="stable")[:TRAVERSED_DIMENSIONS]
    values = np.linspace(-TRAVERSAL_REACH, TRAVERSAL_REACH, STEPS).astype(np.float32)
    swept = traverse(mean[0], dimensions, values)
    repeated = None if labels is None else np.repeat(labels[:1], len(dimensions) * STEPS)
    return {
        "traversal": _decode(vae, swept, repeated),
        "traversal_dimensions": dimensions,
        "traversal_kl": usage.kl[dimensions],
        "traversal_collapsed": usage.low_kl_shares[dimensions] >= COLLAPSED_SHARE,
        "traversal_values": values,
    }


def interpolate(latents: Floats) -> Floats:
    """Paths between consecutive latent samples that stay on the prior.

    Args:
        latents: (n, *latent_shape) with n >= 2 * INTERPOLATIONS.

    Returns:
        (INTERPOLATIONS, STEPS, *latent_shape).
    """
    pairs = latents[: 2 * INTERPOLATIONS].reshape(INTERPOLATIONS, 2, 1, *latents.shape[1:])
    return prior_path(pairs[:, 0], pairs[:, 1], np.linspace(0, 1, STEPS)[None])


def prior_path(begins: Array, ends: Array, places: npt.NDArray[np.float64]) -> Floats:
    """Points between pairs of latent samples that stay on the prior.

    z(t) = ((1 - t) a + t b) / sqrt(t^2 + (1 - t)^2) is standard normal for every t when a and b
    are (arXiv:1711.01970); the plain straight line would have half the norm in its middle.

    Args:
        begins: (..., *latent_shape), a.
        ends: (..., *latent_shape), b.
        places: t in [0, 1], of the leading axes' shape; all broadcast.

    Returns:
        float32 of the broadcast shape.
    """
    t = places.reshape(*places.shape, *(1 for _ in range(begins.ndim - places.ndim)))
    path = ((1 - t) * begins + t * ends) / np.sqrt(t**2 + (1 - t) ** 2)
    return np.asarray(path, np.float32)


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


def _decode(vae: Autoencoder, latents: Floats, labels: Labels | None) -> npt.NDArray[np.uint8]:
    """Images of latents with any number of leading axes; labels run over all of them."""
    leading = latents.shape[: latents.ndim - len(vae.latent_shape)]
    decoded = vae.decode(latents.reshape(-1, *vae.latent_shape), labels)
    images = vae.to_pictures(decoded)
    return images.reshape(*leading, *images.shape[1:])


def _rows(labels: Labels | None, rows: slice) -> Labels | None:
    return None if labels is None else labels[rows]
