"""Runs an assembled autoencoder on a few images: what it gives must look like what it should."""

from __future__ import annotations

import numpy as np

from vae_batch.models.autoencoder.decoder_reading import trial_latents
from vae_batch.models.autoencoder.halves import ImageInput
from vae_batch.models.autoencoder.reading_context import Floats, Terms
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.autoencoder.value_range import check_value_range

#: With fewer reference images their own mean is too good a guess to be beaten.
_COMPARED = 16


def probe(vae: Autoencoder, terms: Terms) -> list[str]:
    """Warnings about an autoencoder.

    Raises:
      CheckpointError: A value is not finite, or an inferred value range does not fit.
    """
    reconstructed = _reconstructed(vae, terms)
    warnings = []
    if vae.description.output == "mean":
        means = _generated(vae) if reconstructed is None else reconstructed
        if means is not None:
            declared = terms.reading.model_range is not None
            warnings += check_value_range(means, vae.fit.value_range, declared)
    if reconstructed is not None and terms.pixels is not None and len(reconstructed) >= _COMPARED:
        warnings += _compare_with_mean_image(vae.to_model(terms.pixels), reconstructed)
    return warnings


def _reconstructed(vae: Autoencoder, terms: Terms) -> Floats | None:
    """Means at the posterior mean of the reference images; None where there are none."""
    if "encoder" in vae.description.missing:
        return None
    if terms.pixels is None or (vae.takes_labels and terms.pixel_labels is None):
        pixels, labels = terms.probe_images(2)
        vae.encode(vae.to_model(pixels), labels)
        return None
    mean, _ = vae.encode(vae.to_model(terms.pixels), terms.pixel_labels)
    if "decoder" in vae.description.missing:
        return None
    return vae.to_means(vae.decode(mean, terms.pixel_labels))


def _generated(vae: Autoencoder) -> Floats | None:
    """Means of latents from the prior; None where there is no prior or no decoder."""
    decoder = vae.decoder
    if decoder is None or isinstance(decoder.input, ImageInput):
        return None
    if "prior" in vae.description.missing:
        return None
    latents = trial_latents(vae.latent_shape)
    label = decoder.input.label
    labels = np.arange(len(latents)) % (label.classes if label else 1)
    return vae.to_means(vae.decode(latents, labels))


def _compare_with_mean_image(images: Floats, reconstructed: Floats) -> list[str]:
    """A warning where reconstructions are no better than the images' mean."""
    error = float(np.mean((images - reconstructed) ** 2, dtype=np.float64))
    mean_image = images.mean(axis=0, dtype=np.float64)
    spread = float(np.mean((images - mean_image) ** 2, dtype=np.float64))
    if error < spread:
        return []
    return [
        f"reconstructions at the posterior mean are no better than the mean of the first "
        f"{len(images)} reference images (mean squared error {error:.2g} against {spread:.2g}): "
        "the VAE is untrained or collapsed, or it is read with the wrong range, layout or head"
    ]
