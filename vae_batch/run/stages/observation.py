"""What a decoded image says about a real one: its loss, in the decoder's own likelihood."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_batch.metrics import bernoulli_nll, bernoulli_nll_from_probabilities
from vae_batch.metrics.likelihood.families import (
    continuous_bernoulli_nll,
    discretized_logistic_nll,
)
from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.models.image_range import bounds_of
from vae_batch.plan import CheckpointError, Reading
from vae_batch.run.stages.inputs import Arrays, Floats

#: Steps between black and white of an 8-bit image.
_GREY_STEPS = 255


def observed(
    vae: Autoencoder, reading: Reading, decoded: Floats, images: Floats, suffix: str = ""
) -> Arrays:
    """Loss of each image under its decoding.

    A gaussian's standard deviation enters its loss in a known way, so its squared error is
    kept instead, from which any sigma's loss follows.

    Args:
      vae: What ``decoded`` came from.
      reading: The declared scale of a discretised logistic.
      decoded: (n, H, W, C) as ``vae.description.output`` says.
      images: (n, H, W, C) in the model's range.
      suffix: Of the columns' names.

    Returns:
      ``squared_error`` (n,) in squared units of the model's range for a gaussian; else
      ``reconstruction_nll`` (n,) nats, with ``clipped_pixels`` (n,) for probabilities.
    """
    likelihood = vae.description.likelihood
    if likelihood == "gaussian":
        return {f"squared_error{suffix}": _squared_error(decoded, images)}
    name = f"reconstruction_nll{suffix}"
    if likelihood == "discretized_logistic":
        return {name: _discretized_logistic(vae, reading, decoded, images)}
    if likelihood == "continuous_bernoulli":
        return {name: continuous_bernoulli_nll(vae.to_logits(decoded), images)}
    if vae.description.output == "probabilities":
        nll, clipped = bernoulli_nll_from_probabilities(decoded, images)
        return {name: nll, f"clipped_pixels{suffix}": clipped.astype(np.int64)}
    return {name: bernoulli_nll(decoded, images)}


def _squared_error(decoded: Floats, images: Floats) -> npt.NDArray[np.float64]:
    difference = decoded.astype(np.float64) - images
    return (difference**2).reshape(len(images), -1).sum(axis=1)


def _discretized_logistic(
    vae: Autoencoder, reading: Reading, decoded: Floats, images: Floats
) -> npt.NDArray[np.float64]:
    if not isinstance(reading.sigma, float):
        raise CheckpointError(
            "a discretised logistic needs the scale of its logistic distribution; declare "
            "--sigma S in units of the model's value range",
            {"sigma": 0.1},
        )
    low, high = bounds_of(vae.description.value_range)
    step = (high - low) / _GREY_STEPS
    # Pixels are 8-bit levels; padding and ranges leave them so up to float32's rounding.
    levels = low + step * np.rint((images.astype(np.float64) - low) / step)
    return discretized_logistic_nll(decoded, np.log(reading.sigma), levels, step, low, high)
