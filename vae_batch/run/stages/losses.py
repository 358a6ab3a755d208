"""Per-image losses and posteriors on reference images, as far as a checkpoint's parts allow."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vae_batch.metrics.images.diagnostics import sharpness
from vae_batch.metrics.images.reconstruction import (
    MULTISCALE_SIDE,
    WINDOW_SIDE,
    mean_absolute_error,
    mean_squared_error,
    multiscale_structural_similarity,
    peak_signal_to_noise_ratio,
    structural_similarity,
)
from vae_batch.metrics.likelihood.elbo import (
    bernoulli_nll,
    bernoulli_nll_from_probabilities,
    gaussian_kl,
)
from vae_batch.metrics.likelihood.families import (
    continuous_bernoulli_nll,
    discretized_logistic_nll,
    gaussian_nll_of_scales,
)
from vae_batch.models.autoencoder.vae import PROBABILITY_CLIP, Autoencoder, Decoded
from vae_batch.models.image_range import bounds_of
from vae_batch.models.sampling import standard_normals
from vae_batch.plan import CheckpointError, Reading, Shard
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.stages.inputs import Arrays, Floats, Pixels, reference_rows
from vae_batch.run.stages.pictures import worst_pictures

#: Steps between black and white of an 8-bit image.
_GREY_STEPS = 255

#: Images with a shorter side have no Laplacian.
_SHARPNESS_SIDE = 3


def losses_of_checkpoint(
    config: WorkerConfig, vae: Autoencoder, reading: Reading, shard: Shard
) -> Arrays:
    """Losses (nats), reconstruction errors and posteriors of one shard.

    Columns that are undefined for the checkpoint are omitted. A plain autoencoder reconstructs
    from its code. Requested reconstruction metrics add the arrays of `worst_pictures`.
    """
    missing, start, stop = vae.description.missing, shard.start, shard.stop
    columns: Arrays = {"index": np.arange(start, stop)}
    if "encoder" in missing:
        return columns
    pixels, labels = reference_rows(config, np.arange(start, stop))
    images = vae.to_model(pixels)
    mean, logvar = vae.encode(images, labels)
    columns["mean"] = latents = mean
    if logvar is not None:
        columns |= {"logvar": logvar, "kl": _kl(mean, logvar, start)}
        latents = _drawn(config.spec.seed, mean, logvar, start)
    if "decoder" in missing:
        return columns
    at_mean = vae.decode_with_scale(mean, labels)
    drawn = at_mean if logvar is None else vae.decode_with_scale(latents, labels)
    columns |= observed(vae, reading, drawn, images)
    columns |= observed(vae, reading, at_mean, images, "_at_mean")
    pictures = vae.to_pictures(at_mean.images)
    errors = _reconstruction_errors(vae, at_mean.images, images, pictures)
    if "reconstruction" in config.spec.metrics:
        errors |= worst_pictures(errors["mse"], pictures, start)
    return {**columns, **errors}


def _reconstruction_errors(
    vae: Autoencoder, decoded: Floats, images: Floats, pictures: Pixels
) -> Arrays:
    """Errors of pixels scaled to 0..1, and sharpness of the picture as it would be saved."""
    low, high = bounds_of(vae.description.value_range)
    found = (vae.to_means(decoded).astype(np.float64) - low) / (high - low)
    wanted = np.clip((images.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    errors: Arrays = {
        "mse": mean_squared_error(found, wanted, 1.0),
        "mae": mean_absolute_error(found, wanted, 1.0),
        "psnr": peak_signal_to_noise_ratio(found, wanted, 1.0),
    }
    side = min(wanted.shape[1:3])
    if side >= WINDOW_SIDE:
        errors["ssim"] = structural_similarity(found, wanted, 1.0)
    if side >= MULTISCALE_SIDE:
        errors["ms_ssim"] = multiscale_structural_similarity(found, wanted, 1.0)
    if min(pictures.shape[1:3]) >= _SHARPNESS_SIDE:
        errors["reconstruction_sharpness"] = sharpness(pictures)
    return errors


def _kl(mean: Floats, logvar: Floats, start: int) -> npt.NDArray[np.float64]:
    try:
        return gaussian_kl(mean, logvar)
    except ValueError as error:
        raise CheckpointError(f"the posterior of images from {start}: {error}") from error


def _drawn(seed: int, mean: Floats, logvar: Floats, start: int) -> Floats:
    """One draw from each image's posterior, rounded to float32 once."""
    noise = standard_normals(seed, "posterior_noise", start, start + len(mean), mean.shape[1:])
    with np.errstate(over="ignore"):
        drawn = (mean + np.exp(0.5 * logvar.astype(np.float64)) * noise).astype(np.float32)
    wrong = ~np.isfinite(drawn).reshape(len(drawn), -1).all(axis=1)
    if wrong.any():
        raise CheckpointError(
            f"the posterior of image {start + int(np.argmax(wrong))} is too wide for float32 (log "
            f"variances up to {logvar.max():.4g}); the encoder diverged, or this output is no log "
            "variance (--second-head)"
        )
    return drawn


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
