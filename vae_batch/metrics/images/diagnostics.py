"""Diagnostics on pixels, one value an image: blur and missing high frequencies.

Images are (n, H, W, C) or (n, H, W), integers or floats in any one range. Generated images are
read beside real ones: a ratio of medians is best at 1, and noise raises all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import rfft2  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.images.arrays import channel_maps, image_array, image_blocks
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
