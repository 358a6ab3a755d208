"""Diagnostics on pixels: blur, missing high frequencies, exact duplicates, diversity.

    sharpness_ratio(generated, real)                   # below 1: blurred
    real_against_real(sharpness_ratio, real)           # what 1 looks like at this n

Images are (n, H, W, C) or (n, H, W), integers or floats in any one range; a comparison takes
both sets in the same range and the same size. No diagnostic is a score: each ratio is best at
1, and noise raises all of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import rfft2  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.images.arrays import (
    channel_maps,
    image_array,
    image_blocks,
    require_same_scale,
)
from vae_batch.metrics.validation import FloatArray

HALF_NYQUIST = 0.25
"""Cycles per pixel; the Nyquist frequency is 0.5."""

SPECTRUM_SIDE = 4
"""Smallest side whose spectrum has a frequency above half Nyquist in both directions."""


def sharpness(images: ArrayLike) -> FloatArray:
    """Variance of the 3 x 3 Laplacian of each image (Pech-Pacheco et al. 2000, ICPR).

    The kernel is 0 1 0, 1 -4 1, 0 1 0 over the interior pixels; the mean over channels.

    Args:
        images: (n, H, W, C) or (n, H, W), at least 3 pixels a side.

    Returns:
        (n,) in squared units of a pixel, >= 0; 0 for a constant image.

    Raises:
        ValueError: Another shape, smaller images, or a non-finite pixel.
    """
    array = image_array("images", images, smallest_side=3)
    variances = np.empty(len(array))
    for block in image_blocks(array):
        x = channel_maps(array[block])
        vertical = x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
        horizontal = x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
        laplacian = (vertical + horizontal) - 4.0 * x[..., 1:-1, 1:-1]
        variances[block] = laplacian.var(axis=(2, 3)).mean(axis=1)
    return variances


def sharpness_ratio(generated: ArrayLike, real: ArrayLike) -> float:
    """Median sharpness of generated images over that of real ones; below 1 they are blurred.

    Of reconstructions against their targets it tells the decoder's blur from the prior's.

    Raises:
        ValueError: As ``sharpness``; different ranges or sizes; or undefined, where the median real
            image is constant.
    """
    return _ratio_of_medians(sharpness, generated, real, "sharpness", "is constant")


def high_frequency_fraction(images: ArrayLike) -> FloatArray:
    """Share of each image's spectral power above half the Nyquist frequency.

    Power at radial frequencies above 1/4 cycle per pixel over all power but that of the mean,
    summed over channels, without a window. White noise has about 1 - pi/16 = .80 there.

    Args:
        images: (n, H, W, C) or (n, H, W), at least 4 pixels a side.

    Returns:
        (n,) in [0, 1]; 0 for a constant image.

    Raises:
        ValueError: Another shape, smaller images, or a non-finite pixel.
    """
    array = image_array("images", images, smallest_side=SPECTRUM_SIDE)
    radius, copies = _half_plane(*array.shape[1:3])
    above = np.where(radius > HALF_NYQUIST, copies, 0.0)
    varying = np.where(radius > 0.0, copies, 0.0)
    fractions = np.empty(len(array))
    for block in image_blocks(array):
        power = _power(array[block]).sum(axis=1)
        total = (power * varying).sum(axis=(1, 2))
        high = (power * above).sum(axis=(1, 2))
        fractions[block] = np.divide(high, total, out=np.zeros_like(total), where=total > 0)
    return fractions


def high_frequency_ratio(generated: ArrayLike, real: ArrayLike) -> float:
    """Median high-frequency fraction of generated images over that of real ones.

    Below 1 fine detail is missing, above 1 there is noise or a checkerboard of upsampling
    (Durall, Keuper and Keuper 2020, arXiv:2003.01826). Unlike ``sharpness_ratio`` it does not
    move with contrast.

    Raises:
        ValueError: As ``high_frequency_fraction``; different ranges or sizes; or undefined, where
            the median real image has no power there.
    """
    return _ratio_of_medians(
        high_frequency_fraction, generated, real, "high frequencies", "has none"
    )


@dataclass(frozen=True, eq=False)
class RadialSpectrum:
    """Radially averaged power spectrum of a set of images.

    Attributes:
        frequencies: (k,) cycles per pixel, multiples of 1 / (shorter side) up to Nyquist.
        power: (k,) mean power, squared units of a pixel; flat at v for white noise of variance v.
    """

    frequencies: FloatArray
    power: FloatArray


def radial_power_spectrum(images: ArrayLike) -> RadialSpectrum:
    """Mean of |F|^2 / (H W) over images, channels and rings of one frequency step.

    A coefficient belongs to the ring nearest to its radial frequency; the mean, and the
    corners beyond the Nyquist frequency, belong to none.

    Args:
        images: (n, H, W, C) or (n, H, W), at least 4 pixels a side.

    Raises:
        ValueError: Another shape, smaller images, or a non-finite pixel.
    """
    array = image_array("images", images, smallest_side=SPECTRUM_SIDE)
    height, width = array.shape[1:3]
    side = min(height, width)
    radius, copies = _half_plane(height, width)
    total = np.zeros(radius.shape)
    for block in image_blocks(array):
        total += _power(array[block]).mean(axis=1).sum(axis=0)
    ring = np.rint(radius * side).astype(np.intp).ravel()
    weights = np.bincount(ring, copies.ravel())
    power = np.bincount(ring, (total * copies).ravel()) / (len(array) * height * width)
    rings = np.arange(1, side // 2 + 1)
    return RadialSpectrum(rings / side, power[rings] / weights[rings])


def duplicate_rate(images: ArrayLike) -> float:
    """Share of images that repeat an earlier one exactly: 1 - distinct / n.

    Give 8-bit images, as they are saved and shown: a collapsed decoder's floats may differ in
    their last bit. Data sets hold duplicates, too: compare with as many real images.

    Args:
        images: (n, H, W, C) or (n, H, W), of any real dtype.

    Returns:
        In [0, 1 - 1/n].

    Raises:
        ValueError: No images, or a non-finite pixel.
    """
    array = image_array("images", images)
    distinct = {
        # Adding 0 makes -0.0 equal to 0.0 in its bytes, too.
        hashlib.blake2b((image + array.dtype.type(0)).tobytes(), digest_size=16).digest()
        for image in array
    }
    return 1.0 - len(distinct) / len(array)


def pixel_diversity(images: ArrayLike) -> float:
    """Root mean squared difference per pixel value of two different images of the set.

    Over all pairs this is sqrt(2 s^2), with s^2 the pixels' variance over images (ddof 1)
    averaged over pixels: exact, unbiased in its square, and linear in n. Noise counts as
    diversity, so read it beside a Fréchet distance.

    Args:
        images: (n, H, W, C) or (n, H, W), n >= 2.

    Returns:
        In units of a pixel; 0 where all images are equal.

    Raises:
        ValueError: Another shape, fewer than 2 images, or a non-finite pixel.
    """
    array = image_array("images", images)
    if len(array) < 2:
        raise ValueError(f"images: diversity needs at least 2 images, got {len(array)}")
    origin = array[0].astype(np.float64)
    total, squares = np.zeros(origin.shape), np.zeros(origin.shape)
    for block in image_blocks(array):
        shifted = np.subtract(array[block], origin, dtype=np.float64)
        total += shifted.sum(axis=0)
        squares += (shifted**2).sum(axis=0)
    scatter = squares - total**2 / len(array)
    return math.sqrt(2.0 * max(0.0, float(scatter.mean())) / (len(array) - 1))


def real_against_real(
    metric: Callable[[NDArray[Any], NDArray[Any]], float], real: ArrayLike
) -> float:
    """A generated-against-real metric with real samples in both places: its baseline.

    The samples of odd index stand in for generated ones, those of even index are the
    reference, n // 2 each; compare with the metric at that many samples.

    Raises:
        ValueError: Fewer than 4 samples, or what the metric raises.
    """
    samples = np.asarray(real)
    half = len(samples) // 2 if samples.ndim else 0
    if half < 2:
        raise ValueError(
            f"real: two halves need at least 4 samples, got an array of shape {samples.shape}"
        )
    return metric(samples[1 : 2 * half : 2], samples[0 : 2 * half : 2])


def _ratio_of_medians(
    diagnostic: Callable[[ArrayLike], FloatArray],
    generated: ArrayLike,
    real: ArrayLike,
    what: str,
    reason: str,
) -> float:
    left, right = image_array("generated", generated), image_array("real", real)
    require_same_scale(left, right)
    if left.shape[1:3] != right.shape[1:3]:
        raise ValueError(
            f"generated and real: expected images of one size, got {left.shape[1]} x "
            f"{left.shape[2]} and {right.shape[1]} x {right.shape[2]}"
        )
    reference = float(np.median(diagnostic(right)))
    if reference == 0.0:
        raise ValueError(f"{what}: the ratio is undefined, as the median real image {reason}")
    return float(np.median(diagnostic(left))) / reference


def _half_plane(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Radial frequency and multiplicity of each coefficient of a real transform, (H, W//2 + 1).

    The transform of a real image keeps one of each conjugate pair: all but the first column,
    and the last of an even width, stand for two.
    """
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    copies = np.full((height, columns.size), 2.0)
    copies[:, 0] = 1.0
    if width % 2 == 0:
        copies[:, -1] = 1.0
    return np.hypot(rows, columns), copies


def _power(block: NDArray[np.generic]) -> FloatArray:
    """|F|^2 of each channel, (b, C, H, W//2 + 1); exactly 0 for a constant channel."""
    maps = channel_maps(block)
    transform = rfft2(maps - maps[..., :1, :1])
    power: FloatArray = transform.real**2 + transform.imag**2
    return power
