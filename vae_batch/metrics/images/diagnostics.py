"""Diagnostics on pixels, one value an image: blur and missing high frequencies.

Images are (n, H, W, C) or (n, H, W), integers or floats in any one range. Generated images are
read beside real ones: a ratio of medians is best at 1, and noise raises all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import rfft2  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.validation import (
    FloatArray,
    channel_maps,
    image_array,
    image_blocks,
    real_array,
    require_finite,
    require_positive,
    require_same_shape,
    sample_rows,
)

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


TRIM = (1.0, 99.0)
"""Percentiles between which path lengths are averaged, both included."""


def path_changes(image_a: ArrayLike, image_b: ArrayLike, epsilon: float) -> FloatArray:
    """Squared change of a decoded pixel per squared step, one value a path.

    The mean is E d(G(z_t), G(z_t + epsilon)) / epsilon^2, as StyleGAN's perceptual path length
    (Karras et al. 2019, arXiv:1812.04948, section 4.1) with d the squared error per pixel value.
    Zero means a decoder that ignores z.

    Args:
        image_a: (n, ...) decoded floats at z_t.
        image_b: The same at z_t + epsilon.
        epsilon: Step, about 1e-2; much smaller ones drown in the rounding of float32.

    Returns:
        (n,) in squared units of a pixel per squared unit of latent path, >= 0.

    Raises:
        ValueError: Integer images (their quantisation would be all that is measured), shapes that
            differ, non-finite pixels, or an epsilon that is not positive.
    """
    require_same_shape("image_a", image_a, "image_b", image_b)
    require_positive("epsilon", epsilon)
    for name, image in (("image_a", image_a), ("image_b", image_b)):
        if real_array(name, image).dtype.kind != "f":
            raise ValueError(
                f"{name}: expected decoded floats, got {np.asarray(image).dtype}; quantised "
                "pixels change in steps that drown a small latent step"
            )
    a, b = np.asarray(image_a), np.asarray(image_b)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"image_a: expected at least one pair of images, got shape {a.shape}")
    changes = np.empty(len(a))
    for block in image_blocks(a):
        change = sample_rows("image_b", b[block]) - sample_rows("image_a", a[block])
        changes[block] = (change**2).mean(axis=1) / epsilon**2
    return changes


def trimmed_mean(changes: ArrayLike) -> float:
    """Mean of (n,) values between their 1st and 99th percentile, both included.

    Raises:
        ValueError: No values, or non-finite ones.
    """
    values = real_array("changes", changes)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"changes: expected at least one value a path, got shape {values.shape}")
    require_finite("changes", values)
    lengths: FloatArray = values.astype(np.float64)
    low = np.percentile(lengths, TRIM[0], method="lower")
    high = np.percentile(lengths, TRIM[1], method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
