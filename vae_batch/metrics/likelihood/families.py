"""Likelihood families beyond Bernoulli and fixed sigma; one float64 value (nats) a sample.

The sample axis comes first; every other axis is summed. Values of different families, and
densities in different units of x, are never comparable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vae_batch.metrics.likelihood.elbo import LOG_2PI, MeanLoss, bernoulli_nll
from vae_batch.metrics.validation import (
    FloatArray,
    real_array,
    require_positive,
    require_range,
    require_same_shape,
    sample_rows,
)

LOG_SCALE_LIMIT = 300.0
"""Beyond this the square of an error in units of exp(log_scale) leaves float64."""

SERIES_BELOW = 1e-2
"""Logits of smaller size take the series: its next term, 3e-4 l^6, is below rounding."""

GRID_TOLERANCE = 0.1
"""How far a target may be from its grid, in bins: images kept as float16 on [0, 1] pass."""


def continuous_bernoulli_nll(logits: ArrayLike, x: ArrayLike) -> FloatArray:
    """-log density of x in [0, 1] under independent continuous Bernoulli pixels.

    ``bernoulli_nll`` less the log normaliser, which makes the density integrate to 1
    (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845):
    log C = log(2 atanh(1 - 2p) / (1 - 2p)) = log(l / tanh(l / 2)) for p = sigmoid(l), between
    log 2 at l = 0 and about log |l|. The logits form never subtracts p from 1/2; at l = 0,
    where it is 0/0, stands its Taylor series. The sigmoid is not the density's mean.

    Args:
        logits: (n, ...) real logits.
        x: The same shape, targets in [0, 1].

    Returns:
        (n,) nats; negative where the density exceeds 1.

    Raises:
        ValueError: Shapes differ, non-finite values, or targets outside [0, 1].
    """
    unnormalised = bernoulli_nll(logits, x)
    nll: FloatArray = unnormalised - _log_normaliser(sample_rows("logits", logits)).sum(axis=1)
    return nll


def continuous_bernoulli_mean(logits: ArrayLike) -> FloatArray:
    """Mean of a continuous Bernoulli, which is not its parameter (arXiv:1907.06845, eq. 8).

    With lambda = sigmoid(t): lambda / (2 lambda - 1) + 1 / (2 atanh(1 - 2 lambda)), which is
    1 / (1 - exp(-t)) - 1 / t; near t = 0 its Taylor series 1/2 + t/12 - t^3/720.

    Args:
        logits: Any shape.

    Returns:
        The same shape, in (0, 1).

    Raises:
        ValueError: non-finite logits.
    """
    t = real_array("logits", logits).astype(np.float64)
    if not np.isfinite(t).all():
        raise ValueError("logits: expected finite values, found NaN or infinity")
    near = np.abs(t) < SERIES_BELOW
    safe = np.where(near, 1.0, t)
    far = -1.0 / np.expm1(np.minimum(-safe, 700.0)) - 1.0 / safe
    mean: FloatArray = np.where(near, 0.5 + t / 12.0 - t**3 / 720.0, far)
    return mean


def discretized_logistic_nll(
    mean: ArrayLike,
    log_scale: ArrayLike,
    x: ArrayLike,
    bin_width: float,
    low: float,
    high: float,
) -> FloatArray:
    """-log probability of x on a grid of bins under independent logistics.

    P = sigmoid((x + w/2 - mean) / s) - sigmoid((x - w/2 - mean) / s), where the first bin
    reaches down to -inf and the last up to +inf, so that the bins sum to 1 (Salimans et al.
    2017, arXiv:1701.05517, section 2.1). With a > b the two arguments,
    log P = log(1 - exp(b - a)) - softplus(-a) - softplus(b): no term is positive, so nothing
    cancels at any scale.

    Args:
        mean: (n, ...) decoder means.
        log_scale: Log s: one number, (n,) one a sample, (1, ...) one a pixel, or the shape of x.
        x: The shape of ``mean``, bin centres low, low + bin_width, ..., high.
        bin_width: w in the units of x: 1/255 for 8-bit images on [0, 1], 2/255 on [-1, 1].
        low: Centre of the first bin.
        high: Centre of the last bin.

    Returns:
        (n,) nats, >= 0: a probability mass, free of the units of x.

    Raises:
        ValueError: Shapes differ, non-finite values, log scales beyond 300, bins that do not fill
            [low, high], or targets off the grid (dequantised images).
    """
    require_same_shape("mean", mean, "x", x)
    last = _last_bin(bin_width, low, high)
    rows = sample_rows("mean", mean)
    index = _bin_index(sample_rows("x", x), bin_width, low, high)
    narrowness = np.exp(-_log_scales(log_scale, np.shape(x)))
    # Neighbours compute their common edge alike, so that the bins sum to 1 at any scale.
    upper_edge, lower_edge = low + (index + 0.5) * bin_width, low + (index - 0.5) * bin_width
    upper = np.where(index == last, np.inf, (upper_edge - rows) * narrowness)
    lower = np.where(index == 0, -np.inf, (lower_edge - rows) * narrowness)
    inner = (index > 0) & (index < last)
    nll = _softplus(-upper) + _softplus(lower) - inner * _log1mexp(bin_width * narrowness)
    total: FloatArray = nll.sum(axis=1)
    return total


def gaussian_nll_of_scales(mean: ArrayLike, log_scale: ArrayLike, x: ArrayLike) -> FloatArray:
    """``gaussian_nll`` from log standard deviations, as a decoder's second head gives them.

    Args:
        mean: (n, ...) decoder means.
        log_scale: Log sigma: one number, (n,) one a sample, (1, ...) one a pixel, or the shape of
            x.
        x: The shape of ``mean``.

    Returns:
        (n,) nats, a density in the units of x. Unbounded below: a decoder that fits one constant
        pixel exactly may reach any value by its scale.

    Raises:
        ValueError: Shapes differ, non-finite values, or log scales beyond 300.
    """
    require_same_shape("mean", mean, "x", x)
    scales = _log_scales(log_scale, np.shape(x))
    errors = (sample_rows("x", x) - sample_rows("mean", mean)) * np.exp(-scales)
    total: FloatArray = (scales + 0.5 * LOG_2PI + 0.5 * errors**2).sum(axis=1)
    return total


def optimal_sigma(squared_errors: MeanLoss | ArrayLike, dimensions: int) -> float:
    """Maximum-likelihood sigma of a model: the root of its mean squared error a pixel value.

    Rybkin, Daniilidis and Levine 2021 (sigma-VAE, arXiv:2006.13202). With it the
    mean Gaussian NLL is D/2 (log(2 pi sigma^2) + 1). Fitted on the images it scores, it
    flatters a checkpoint a little: fit it on training or validation images.

    Args:
        squared_errors: Sums over the pixel values of each image: (n,), or their ``MeanLoss``, which
            merges over shards.
        dimensions: D, pixels times channels of one image.

    Returns:
        Sigma > 0 in the units of x.

    Raises:
        ValueError: Dimensions < 1, no images, non-finite or negative errors, or no error at all,
            where the likelihood has no maximum.
    """
    if dimensions < 1:
        raise ValueError(f"dimensions: expected at least 1, got {dimensions}")
    if not isinstance(squared_errors, MeanLoss):
        errors = sample_rows("squared_errors", squared_errors)
        require_range("squared_errors", errors, 0.0, math.inf, "pass sums of squares")
        squared_errors = MeanLoss.from_values(squared_errors)
    if squared_errors.count == 0:
        raise ValueError("squared_errors: expected at least 1 image, got 0")
    if not squared_errors.mean > 0:
        raise ValueError(
            "squared_errors: expected a positive mean, got "
            f"{squared_errors.mean:g}; a perfect reconstruction has no optimal sigma, declare one"
        )
    return math.sqrt(squared_errors.mean / dimensions)


def _log_normaliser(logits: FloatArray) -> FloatArray:
    near = np.abs(logits) < SERIES_BELOW
    square = np.where(near, logits, 0.0) ** 2
    series = math.log(2.0) + square / 12.0 - 7.0 * square**2 / 1440.0
    away = np.where(near, 1.0, logits)
    result: FloatArray = np.where(near, series, np.log(away / np.tanh(0.5 * away)))
    return result


def _softplus(values: FloatArray) -> FloatArray:
    result: FloatArray = np.maximum(values, 0.0) + np.log1p(np.exp(-np.abs(values)))
    return result


def _log1mexp(positive: FloatArray) -> FloatArray:
    """log(1 - exp(-t)) for t > 0, by whichever of two forms keeps its digits."""
    small = positive < math.log(2.0)
    inner = np.where(small, positive, 1.0)
    outer = np.where(small, 1.0, positive)
    result: FloatArray = np.where(small, np.log(-np.expm1(-inner)), np.log1p(-np.exp(-outer)))
    return result


def _last_bin(bin_width: float, low: float, high: float) -> int:
    require_positive("bin_width", bin_width)
    bins = (high - low) / bin_width
    if not (math.isfinite(bins) and bins > 0 and abs(bins - round(bins)) <= 1e-6 * bins):
        raise ValueError(
            f"bin_width: expected a whole number of steps from low to high, got {bins:g} steps of "
            f"{bin_width:g} from {low:g} to {high:g}; 8-bit images on [0, 1] have 255 of 1/255"
        )
    return round(bins)


def _bin_index(targets: FloatArray, bin_width: float, low: float, high: float) -> FloatArray:
    slack = GRID_TOLERANCE * bin_width
    remedy = "scale images to the declared range"
    require_range("x", targets, low - slack, high + slack, remedy)
    steps = (targets - low) / bin_width
    index: FloatArray = np.rint(steps)
    off = np.abs(steps - index) > GRID_TOLERANCE
    if off.any():
        row = int(np.argwhere(off)[0][0])
        raise ValueError(
            f"x: expected bin centres {low:g} + k {bin_width:g}, found {targets[off][0]:g} in row "
            f"{row}; a discretised likelihood takes 8-bit images without dequantisation noise"
        )
    return index


def _log_scales(log_scale: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Log scales as rows that broadcast to (n, D)."""
    array = real_array("log_scale", log_scale).astype(np.float64, copy=False)
    if array.ndim == 0 or array.shape == shape[:1]:
        rows = array.reshape(-1, 1)
    elif array.shape in (shape, (1, *shape[1:])):
        rows = array.reshape(len(array), -1)
    else:
        raise ValueError(
            f"log_scale: expected one number, ({shape[0]},) one a sample, "
            f"{(1, *shape[1:])} one a pixel, or {shape}, got shape {array.shape}"
        )
    bad = ~(np.abs(rows) <= LOG_SCALE_LIMIT)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"log_scale: expected finite values of size at most {LOG_SCALE_LIMIT:g}, got "
            f"{rows[bad][0]:g} in row {row}; the decoder diverged, or this output is a scale"
        )
    return rows
