"""Distortion of reconstructions: squared and absolute error, PSNR, SSIM and MS-SSIM.

Every function gives one value an image, (n,) float64; average them with ``MeanLoss`` (PSNR with
``MeanPsnr``). ``data_range`` is the span of the pixel scale: 1 for [0, 1], 255 for 8-bit images,
2 for [-1, 1].

Trap: all of these favour blur, which is the mean of what could be; read them beside a Fréchet
distance of the reconstructions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d  # type: ignore[import-untyped, unused-ignore]

from vae_batch.metrics.likelihood.elbo import MeanLoss
from vae_batch.metrics.validation import (
    FloatArray,
    channel_maps,
    image_array,
    image_blocks,
    real_array,
    require_finite,
    require_positive,
    require_same_shape,
)

WINDOW_SIDE = 11
WINDOW_SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2
"""The constants (K L)^2 of Wang et al. 2004, K = (.01, .03), for pixels scaled to L = 1."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first (Wang, Simoncelli and Bovik 2003)."""

MULTISCALE_SIDE = (WINDOW_SIDE - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
"""Smallest side that, halved four times and rounded up, still holds the window: 161."""

SLACK = 1e-6
"""How far targets may exceed their range, as a share of it: the rounding of float32."""

_OFFSETS = np.arange(WINDOW_SIDE) - WINDOW_SIDE // 2
_WINDOW: FloatArray = np.exp(-0.5 * (_OFFSETS / WINDOW_SIGMA) ** 2)
_WINDOW /= _WINDOW.sum()


def mean_squared_error(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float
) -> FloatArray:
    """Mean over an image's values of ((x - y) / data_range)^2.

    Args:
        reconstruction: (n, ...) pixels of any real dtype.
        target: The same shape and unit.
        data_range: Span of the pixel scale; the result is that of pixels in [0, 1].

    Returns:
        (n,), >= 0.

    Raises:
        ValueError: Shapes differ, non-finite pixels, or targets that span more than the range.
    """
    return _mean_error(reconstruction, target, data_range, squared=True)


def mean_absolute_error(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float
) -> FloatArray:
    """Mean over an image's values of |x - y| / data_range; see ``mean_squared_error``."""
    return _mean_error(reconstruction, target, data_range, squared=False)


def peak_signal_to_noise_ratio(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float
) -> FloatArray:
    """10 log10(data_range^2 / squared error) of each image, dB; +inf for a perfect one.

    Average it with ``MeanPsnr``: the mean of the images' values, not the value of the mean
    error (by Jensen's inequality the latter is smaller).

    Args:
        reconstruction: (n, ...) pixels of any real dtype.
        target: The same shape and unit.
        data_range: Span of the pixel scale.

    Returns:
        (n,) dB.

    Raises:
        ValueError: As ``mean_squared_error``.
    """
    error = mean_squared_error(reconstruction, target, data_range)
    with np.errstate(divide="ignore"):
        ratio: FloatArray = -10.0 * np.log10(error)
    return ratio


@dataclass(frozen=True)
class MeanPsnr:
    """Mean PSNR over images, with the perfect ones (+inf dB) counted apart; mergeable.

    Laws: ``empty()`` merged on either side changes no bit; ``merge`` is associative and
    commutative up to rounding.

    Attributes:
        finite: Mean over the images with an error, dB, with its standard error.
        perfect: Number of images without any error.
    """

    finite: MeanLoss
    perfect: int

    @classmethod
    def empty(cls) -> MeanPsnr:
        """The mean of no images: the identity of ``merge``, not a score."""
        return cls(MeanLoss.empty(), 0)

    @classmethod
    def from_values(cls, values: ArrayLike) -> MeanPsnr:
        """Mean of (n,) values in dB, n >= 1.

        Raises:
            ValueError: Not (n,), or a value that is NaN or -inf (the error names its row).
        """
        array = real_array("psnr", values).astype(np.float64, copy=False)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"psnr: expected one value an image, shape (n,), got {array.shape}")
        perfect = np.isposinf(array)
        require_finite("psnr", np.where(perfect, 0.0, array))
        if perfect.all():
            return cls(MeanLoss.empty(), len(array))
        return cls(MeanLoss.from_values(array[~perfect]), int(perfect.sum()))

    def merge(self, other: MeanPsnr) -> MeanPsnr:
        """Mean over both sets of images."""
        return MeanPsnr(self.finite.merge(other.finite), self.perfect + other.perfect)

    @property
    def count(self) -> int:
        """Number of images, perfect ones included."""
        return self.finite.count + self.perfect

    @property
    def mean(self) -> float:
        """Mean over the images that have an error, dB.

        Raises:
            ValueError: There is none: no images, or every one is perfect.
        """
        if self.finite.count == 0:
            raise ValueError(
                f"psnr: a mean needs an image with an error, got {self.perfect} perfect images "
                "and no other"
            )
        return self.finite.mean


def structural_similarity(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float
) -> FloatArray:
    """SSIM of each image (Wang, Bovik, Sheikh and Simoncelli 2004, IEEE TIP 13(4)).

    As in the original: Gaussian window of 11 x 11 and sigma 1.5, K = (.01, .03), population
    covariance, mean over the window's valid positions; the mean over channels. Agrees with
    scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, win_size=11,
    use_sample_covariance=False)`.

    Args:
        reconstruction: (n, H, W, C) or (n, H, W) pixels; a decoder's mean may leave the range.
        target: The same shape, in [0, data_range]: the luminance term needs a true black, so shift
            [-1, 1] by one.
        data_range: Span of the pixel scale.

    Returns:
        (n,) in [-1, 1]; exactly 1 for equal images.

    Raises:
        ValueError: Shapes differ, non-finite pixels, targets outside their range, or a side below
            11, where the window does not fit (8x8 digits have no SSIM).
    """
    x, y = _image_pair(reconstruction, target, data_range, WINDOW_SIDE, "SSIM's 11 x 11 window")
    values = np.empty(len(x))
    for block in image_blocks(x):
        a, b = (channel_maps(z[block]) / data_range for z in (x, y))
        values[block] = _similarity(a, b)[0].mean(axis=1)
    return values


def multiscale_structural_similarity(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float
) -> FloatArray:
    """MS-SSIM of each image (Wang, Simoncelli and Bovik 2003, Asilomar), 5 scales.

    The product over scales of the mean contrast-structure term, at the coarsest scale of the
    mean SSIM, to the powers .0448, .2856, .3001, .2363, .1333; the mean over channels. Scales
    are means of 2 x 2 pixels, an odd last row or column being repeated. A negative term, whose
    power is not real, counts as 0.

    Args:
        reconstruction: (n, H, W, C) or (n, H, W) pixels.
        target: The same shape, in [0, data_range].
        data_range: Span of the pixel scale.

    Returns:
        (n,) in [0, 1]; exactly 1 for equal images.

    Raises:
        ValueError: As ``structural_similarity``, but for a side of 160 pixels or fewer.
    """
    x, y = _image_pair(
        reconstruction, target, data_range, MULTISCALE_SIDE, "MS-SSIM's window at its fifth scale"
    )
    values = np.empty(len(x))
    for block in image_blocks(x):
        a, b = (channel_maps(z[block]) / data_range for z in (x, y))
        product = np.ones(a.shape[:2])
        for weight in SCALE_WEIGHTS[:-1]:
            product *= np.maximum(_similarity(a, b)[1], 0.0) ** weight
            a, b = _halved(a), _halved(b)
        product *= np.maximum(_similarity(a, b)[0], 0.0) ** SCALE_WEIGHTS[-1]
        values[block] = product.mean(axis=1)
    return values


def _similarity(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean SSIM and mean contrast-structure term of (b, C, H, W) maps in [0, 1], (b, C) each."""
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = _local_mean(x * y) - product
    variances = _local_mean(x * x + y * y) - squares
    contrast = (2.0 * covariance + C2) / (variances + C2)
    luminance = (2.0 * product + C1) / (squares + C1)
    return (luminance * contrast).mean(axis=(2, 3)), contrast.mean(axis=(2, 3))


def _local_mean(maps: FloatArray) -> FloatArray:
    """(b, C, H, W) to (b, C, H - 10, W - 10): the Gaussian window where it fits."""
    margin = WINDOW_SIDE // 2
    rows = correlate1d(maps, _WINDOW, axis=2, mode="nearest")[:, :, margin:-margin]
    means: FloatArray = correlate1d(rows, _WINDOW, axis=3, mode="nearest")
    return means[..., margin:-margin]


def _halved(maps: FloatArray) -> FloatArray:
    """Means of 2 x 2 pixels, (b, C, ceil(H / 2), ceil(W / 2))."""
    odd = [(0, 0), (0, 0), (0, maps.shape[2] % 2), (0, maps.shape[3] % 2)]
    even = np.pad(maps, odd, mode="edge")
    upper = even[..., ::2, ::2] + even[..., ::2, 1::2]
    lower = even[..., 1::2, ::2] + even[..., 1::2, 1::2]
    means: FloatArray = (upper + lower) / 4.0
    return means


def _mean_error(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float, squared: bool
) -> FloatArray:
    x, y = real_array("reconstruction", reconstruction), real_array("target", target)
    require_same_shape("reconstruction", x, "target", y)
    require_positive("data_range", data_range)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(
            "reconstruction: expected samples along the first axis and at least one value, "
            f"got shape {x.shape}"
        )
    require_finite("reconstruction", x)
    require_finite("target", y)
    _require_span(y, data_range)
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    means = np.empty(len(x))
    for block in image_blocks(x):
        error = np.subtract(x[block], y[block], dtype=np.float64) / data_range
        means[block] = (error**2 if squared else np.abs(error)).mean(axis=1)
    return means


def _image_pair(
    reconstruction: ArrayLike, target: ArrayLike, data_range: float, side: int, window: str
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    require_same_shape("reconstruction", reconstruction, "target", target)
    require_positive("data_range", data_range)
    x, y = image_array("reconstruction", reconstruction), image_array("target", target)
    if min(y.shape[1:3]) < side:
        raise ValueError(
            f"{window} needs images of at least {side} pixels a side, got "
            f"{y.shape[1]} x {y.shape[2]}: it is not defined here"
        )
    low, high = float(y.min()), float(y.max())
    if low < 0 or high > data_range * (1 + SLACK):
        raise ValueError(
            f"target: expected pixels in [0, {data_range:g}], found [{low:g}, {high:g}]; shift "
            "both images so that black is 0 and give the range that makes white"
        )
    return x, y


def _require_span(target: NDArray[np.generic], data_range: float) -> None:
    low, high = float(target.min()), float(target.max())
    if high - low > data_range * (1 + SLACK):
        raise ValueError(
            f"target: expected pixels that span at most data_range = {data_range:g}, found "
            f"[{low:g}, {high:g}]; give the span of the pixel scale, 255 for 8-bit images"
        )
