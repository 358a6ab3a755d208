"""Reconstruction losses of decoded images, in the decoder's own likelihood."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.likelihood.densities import bernoulli_nll, bernoulli_nll_from_probabilities
from vae_batch.metrics.likelihood.families import (
    continuous_bernoulli_nll,
    discretized_logistic_nll,
    gaussian_nll_of_scales,
)
from vae_batch.models.autoencoder.vae import PROBABILITY_CLIP, Autoencoder, Decoded
from vae_batch.models.image_range import bounds_of
from vae_batch.plan import CheckpointError, Reading
from vae_batch.run.stages.inputs import Arrays, Floats

#: Steps between black and white of an 8-bit image.
_GREY_STEPS = 255


def observed(
    vae: Autoencoder, reading: Reading, found: Decoded, images: Floats, suffix: str = ""
) -> Arrays:
    """Loss of each image under its decoded distribution.

    For a gaussian the squared error is stored instead, from which the loss for any sigma follows.

    Args:
        vae: Decoded the images.
        reading: The declared scale of a discretised logistic.
        found: Decoded images, and their scale where it is learned.
        images: (n, H, W, C) in the model's range.
        suffix: End of the columns' names.

    Returns:
        ``squared_error`` (n,) in squared units of the model's range for a gaussian; else
        ``reconstruction_nll`` (n,) nats, with ``clipped_pixels`` (n,) int64 for probabilities.
    """
    likelihood, decoded = vae.description.likelihood, found.images
    name = f"reconstruction_nll{suffix}"
    if likelihood == "gaussian":
        if found.log_scale is not None:
            return {name: gaussian_nll_of_scales(decoded, found.log_scale, images)}
        return {f"squared_error{suffix}": _squared_error(decoded, images)}
    if likelihood == "discretized_logistic":
        return {name: _discretized_logistic(vae, reading, found, images)}
    if vae.description.output == "logits":
        family = bernoulli_nll if likelihood == "bernoulli" else continuous_bernoulli_nll
        return {name: family(decoded, images)}
    nll, clipped = bernoulli_nll_from_probabilities(decoded, images, PROBABILITY_CLIP)
    if likelihood == "continuous_bernoulli":
        nll = continuous_bernoulli_nll(vae.to_logits(decoded), images)
    return {name: nll, f"clipped_pixels{suffix}": clipped}


def _squared_error(decoded: Floats, images: Floats) -> npt.NDArray[np.float64]:
    difference = decoded.astype(np.float64) - images
    squared: npt.NDArray[np.float64] = (difference**2).reshape(len(images), -1).sum(axis=1)
    return squared


def _discretized_logistic(
    vae: Autoencoder, reading: Reading, found: Decoded, images: Floats
) -> npt.NDArray[np.float64]:
    low, high = bounds_of(vae.description.value_range)
    step = (high - low) / _GREY_STEPS
    # Pixels are 8-bit levels up to float32's rounding, also after padding and change of range.
    levels = low + step * np.rint((images.astype(np.float64) - low) / step)
    log_scale = _log_scale(reading) if found.log_scale is None else found.log_scale
    return discretized_logistic_nll(found.images, log_scale, levels, step, low, high)


def _log_scale(reading: Reading) -> float:
    if not isinstance(reading.sigma, float):
        raise CheckpointError(
            "a discretised logistic needs the scale of its logistic distribution; declare "
            "--sigma S in units of the model's value range",
            {"sigma": 0.1},
        )
    return math.log(reading.sigma)
