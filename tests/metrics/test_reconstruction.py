from __future__ import annotations

import math

import numpy as np
import pytest

from vae_batch.metrics import validation as image_arrays
from vae_batch.metrics.images.reconstruction import (
    MeanPsnr,
    mean_absolute_error,
    mean_squared_error,
    multiscale_structural_similarity,
    peak_signal_to_noise_ratio,
    structural_similarity,
)


def _pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.random(shape)
    return np.clip(target + 0.2 * rng.normal(size=shape), 0, 1), target


def test_errors_of_a_hand_made_image() -> None:
    target = np.array([[[0.0, 0.5], [1.0, 0.5]]])
    reconstruction = np.array([[[0.3, 0.5], [0.9, 0.5]]])
    # Errors .3, 0, -.1, 0: squares (.09 + .01) / 4 = .025, absolute (.3 + .1) / 4 = .1.
    assert mean_squared_error(reconstruction, target, 1.0) == pytest.approx([0.025])
    assert mean_absolute_error(reconstruction, target, 1.0) == pytest.approx([0.1])


def test_an_error_of_a_tenth_is_20_db() -> None:
    # 10 log10(1 / .1^2) = 20; an error of 1 is 0 dB.
    target = np.zeros((2, 8, 8, 1))
    reconstruction = target + np.array([0.1, 1.0])[:, None, None, None]
    assert peak_signal_to_noise_ratio(reconstruction, target, 1.0) == pytest.approx([20.0, 0.0])


def test_the_pixel_scale_does_not_move_an_error() -> None:
    x, y = (np.rint(255 * image) for image in _pair((3, 5, 4, 2)))
    for metric in (mean_squared_error, mean_absolute_error, peak_signal_to_noise_ratio):
        expected = metric(x / 255, y / 255, 1.0)
        eight_bit = metric(x.astype(np.uint8), y.astype(np.uint8), 255)
        np.testing.assert_allclose(eight_bit, expected, rtol=1e-12)
        np.testing.assert_allclose(metric(x / 127.5 - 1, y / 127.5 - 1, 2), expected, rtol=1e-12)


def test_perfect_images_are_infinite_and_counted_apart() -> None:
    target = np.full((3, 4, 4), 0.5)
    reconstruction = target + np.array([0.1, 0.0, 0.01])[:, None, None]
    values = peak_signal_to_noise_ratio(reconstruction, target, 1.0)
    assert values == pytest.approx([20, math.inf, 40])
    mean = MeanPsnr.from_values(values)
    assert (mean.mean, mean.perfect, mean.count) == (pytest.approx(30), 1, 3)
    # 20 and 40: s^2 = 200, standard error sqrt(200 / 2) = 10.
    assert mean.finite.standard_error == pytest.approx(10)


def test_a_mean_psnr_needs_an_error() -> None:
    only_perfect = MeanPsnr.from_values([math.inf, math.inf])
    assert only_perfect.perfect == 2
    with pytest.raises(ValueError, match="got 2 perfect images and no other"):
        _ = only_perfect.mean
    with pytest.raises(ValueError, match="got 0 perfect"):
        _ = MeanPsnr.empty().mean
    with pytest.raises(ValueError, match="got nan in row 1"):
        MeanPsnr.from_values([1.0, math.nan])
    with pytest.raises(ValueError, match="got -inf in row 0"):
        MeanPsnr.from_values([-math.inf])
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        MeanPsnr.from_values([])


def test_ssim_of_constant_images_is_their_luminance_term() -> None:
    # Variances and covariance are 0, so that contrast and structure are C2 / C2 = 1, and
    # SSIM = (2 a b + C1) / (a^2 + b^2 + C1) with C1 = .01^2.
    a, b = 0.4, 0.8
    x, y = np.full((1, 11, 14), a), np.full((1, 11, 14), b)
    expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    assert structural_similarity(x, y, 1.0) == pytest.approx([expected], rel=1e-12)
    # The multi-scale form takes the luminance of its last scale only, to the power .1333.
    x, y = np.full((1, 161, 200), a), np.full((1, 161, 200), b)
    expected **= 0.1333
    assert multiscale_structural_similarity(x, y, 1.0) == pytest.approx([expected], rel=1e-12)


def test_ssim_is_the_mean_over_explicit_windows() -> None:
    x, y = (image[0, ..., 0] for image in _pair((1, 13, 12, 1)))
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(3):
        for j in range(2):
            p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variance_p = (window * (p - mean_p) ** 2).sum()
            variance_q = (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            luminance = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
            contrast = (2 * covariance + 9e-4) / (variance_p + variance_q + 9e-4)
            values.append(luminance * contrast)
    ours = structural_similarity(x[None], y[None], 1.0)
    assert ours == pytest.approx([np.mean(values)], rel=1e-12)


def test_ssim_is_symmetric_and_exactly_one_for_equal_images() -> None:
    x, y = _pair((4, 20, 16, 3))
    np.testing.assert_array_equal(
        structural_similarity(x, y, 1.0), structural_similarity(y, x, 1.0)
    )
    np.testing.assert_array_equal(structural_similarity(y, y, 1.0), np.ones(4))
    large = np.random.default_rng(1).random((1, 161, 163))
    assert multiscale_structural_similarity(large, large, 1.0) == 1.0


def test_ssim_is_the_mean_over_channels_and_takes_8_bits() -> None:
    x, y = _pair((2, 15, 15, 3))
    channels = [structural_similarity(x[..., c], y[..., c], 1.0) for c in range(3)]
    np.testing.assert_allclose(
        structural_similarity(x, y, 1.0), np.mean(channels, axis=0), rtol=1e-13
    )
    x8, y8 = (np.rint(255 * image).astype(np.uint8) for image in (x, y))
    np.testing.assert_allclose(
        structural_similarity(x8, y8, 255), structural_similarity(x8 / 255, y8 / 255, 1.0)
    )


@pytest.mark.parametrize(
    ("distortion", "golden"),
    # tf.image.ssim_multiscale(target, image, max_val=1.0), TensorFlow 2.21.0 on a CPU, float32;
    # sides of 163 and 170 halve to odd ones on the way.
    [("wave", 0.9558722), ("square", 0.9526879)],
)
def test_ms_ssim_of_golden_images(distortion: str, golden: float) -> None:
    i, j = np.arange(163.0)[:, None], np.arange(170.0)[None, :]
    target = 0.5 + 0.4 * np.sin(i / 7) * np.cos(j / 5)
    image = target**2 if distortion == "square" else target + 0.1 * np.sin(1.3 * i + 0.7 * j)
    ours = multiscale_structural_similarity(image[None], target[None], 1.0)
    assert ours == pytest.approx([golden], abs=1e-5)


def test_ms_ssim_counts_negative_structure_as_zero() -> None:
    target = np.random.default_rng(2).random((1, 161, 161))
    assert multiscale_structural_similarity(1.0 - target, target, 1.0) == 0.0


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (3, 32, 32, 3), (2, 11, 17, 2)])
def test_ssim_and_psnr_agree_with_scikit_image(shape: tuple[int, ...]) -> None:
    reason = "scikit-image is not installed (pip install '.[test]')"
    skimage = pytest.importorskip("skimage.metrics", reason=reason)
    x, y = _pair(shape)
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "win_size": 11,
        "data_range": 1,
        "channel_axis": -1,
    }
    peer = [skimage.structural_similarity(a, b, **options) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(structural_similarity(x, y, 1.0), peer, rtol=1e-12)
    peer = [skimage.peak_signal_noise_ratio(b, a, data_range=1) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(peak_signal_to_noise_ratio(x, y, 1.0), peer, rtol=1e-12)


def test_blocks_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _pair((7, 12, 13, 2))
    metrics = (mean_squared_error, peak_signal_to_noise_ratio, structural_similarity)
    whole = [metric(x, y, 1.0) for metric in metrics]
    monkeypatch.setattr(image_arrays, "BLOCK_VALUES", 2 * 12 * 13 * 2)
    for metric, expected in zip(metrics, whole, strict=True):
        np.testing.assert_array_equal(metric(x, y, 1.0), expected)


def test_images_that_are_too_small_say_so() -> None:
    digits = np.zeros((2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"SSIM's 11 x 11 window needs .* 11 pixels .* 8 x 8"):
        structural_similarity(digits, digits, 1.0)
    photos = np.zeros((1, 160, 200, 1))
    with pytest.raises(ValueError, match=r"fifth scale needs .* 161 pixels .* got 160 x 200"):
        multiscale_structural_similarity(photos, photos, 1.0)


def test_ranges_that_do_not_fit_are_refused() -> None:
    eight_bit = np.full((1, 12, 12), 200.0)
    eight_bit[0, 0, 0] = 0.0
    with pytest.raises(ValueError, match=r"span at most data_range = 1, found \[0, 200\]"):
        mean_squared_error(eight_bit, eight_bit, 1.0)
    with pytest.raises(ValueError, match=r"expected pixels in \[0, 1\], found \[0, 200\]"):
        structural_similarity(eight_bit, eight_bit, 1.0)
    signed = np.linspace(-1, 1, 144).reshape(1, 12, 12)
    with pytest.raises(ValueError, match=r"found \[-1, 1\]; shift both images"):
        structural_similarity(signed, signed, 2.0)
    with pytest.raises(ValueError, match="data_range: expected a positive"):
        mean_squared_error(signed, signed, 0.0)
    # A Gaussian decoder's mean may leave the range.
    target = np.zeros((1, 12, 12))
    assert structural_similarity(target - 0.01, target, 1.0)[0] < 1


def test_shapes_and_pixels_that_do_not_fit_are_named() -> None:
    image = np.zeros((2, 12, 12, 1))
    with pytest.raises(ValueError, match=r"one shape, got \(2, 12, 12, 1\) and \(1, 12, 12, 1\)"):
        structural_similarity(image, image[:1], 1.0)
    with pytest.raises(ValueError, match=r"images of shape \(n, H, W, C\)"):
        structural_similarity(image[0, 0], image[0, 0], 1.0)
    with pytest.raises(ValueError, match="at least one value"):
        mean_squared_error(np.zeros((0, 4)), np.zeros((0, 4)), 1.0)
    broken = image.copy()
    broken[1, 3, 4, 0] = np.nan
    with pytest.raises(ValueError, match=r"reconstruction: .* row 1"):
        peak_signal_to_noise_ratio(broken, image, 1.0)
    with pytest.raises(ValueError, match=r"target: .* row 1"):
        structural_similarity(image, broken, 1.0)
