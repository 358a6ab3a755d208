from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vae_batch.metrics import validation as image_arrays
from vae_batch.metrics.images.diagnostics import (
    high_frequency_fraction,
    radial_power_spectrum,
    sharpness,
)


def _shapes(n: int, seed: int = 0) -> np.ndarray:
    """Soft-edged discs of random place and size, (n, 24, 20, 1) in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(24.0)[:, None], np.arange(20.0)[None, :]
    cy, cx, r = rng.uniform(7, 13, n), rng.uniform(7, 13, n), rng.uniform(3, 6, n)
    distance = np.hypot(y - cy[:, None, None], x - cx[:, None, None])
    return 1 / (1 + np.exp(3 * (distance - r[:, None, None])))[..., None]


def _blurred(images: np.ndarray) -> np.ndarray:
    return gaussian_filter(images, sigma=(0, 1, 1, 0))


def _noisy(images: np.ndarray) -> np.ndarray:
    return images + 0.3 * np.random.default_rng(9).normal(size=images.shape)


def test_sharpness_of_a_checkerboard() -> None:
    # All four neighbours of a pixel a are -a: the Laplacian is -4a - 4a = -8a, half of the
    # interior positive and half negative, so that its variance is 64 a^2 = 16.
    board = 0.5 * (-1.0) ** np.add.outer(np.arange(6), np.arange(8))
    assert sharpness(board[None]) == pytest.approx([16.0])


def test_sharpness_of_a_cosine() -> None:
    # cos(w (j-1)) + cos(w (j+1)) - 2 cos(w j) = (2 cos w - 2) cos(w j); the interior holds two
    # whole periods of 8, over which cos^2 is 1/2 on average and cos is 0. The Laplacian's
    # vertical part is 0.
    w = 2 * math.pi / 8
    image = np.broadcast_to(np.cos(w * np.arange(18.0)), (5, 18))
    assert sharpness(image[None]) == pytest.approx([(2 * math.cos(w) - 2) ** 2 / 2])
    # Two channels, one of them constant: the mean.
    both = np.stack([image, np.full_like(image, 0.1)], axis=-1)
    assert sharpness(both[None]) == pytest.approx([(2 * math.cos(w) - 2) ** 2 / 4])


def test_constant_images_have_exactly_none() -> None:
    grey = np.full((2, 9, 9, 3), 0.1)
    assert (sharpness(grey) == 0.0).all()
    assert (high_frequency_fraction(grey) == 0.0).all()


@pytest.mark.parametrize("diagnostic", [sharpness, high_frequency_fraction])
def test_blur_is_below_one_and_noise_above(diagnostic) -> None:
    def ratio(generated: np.ndarray, real: np.ndarray) -> float:
        return np.median(diagnostic(generated)) / np.median(diagnostic(real))

    real = _shapes(60)
    assert ratio(real, real) == 1.0
    assert ratio(_blurred(real), real) < 0.7
    assert ratio(_noisy(real), real) > 1.3
    assert ratio(np.full_like(real, 0.3), real) == 0.0
    assert ratio(_blurred(real) * 255, real * 255) == pytest.approx(ratio(_blurred(real), real))


def test_contrast_moves_sharpness_only() -> None:
    real = _shapes(10)
    # Half the contrast: a quarter of the Laplacian's variance, the same shares of power.
    np.testing.assert_allclose(sharpness(0.5 * real + 0.2), 0.25 * sharpness(real))
    shares = high_frequency_fraction(0.5 * real + 0.2)
    np.testing.assert_allclose(shares, high_frequency_fraction(real))


@pytest.mark.parametrize(("cycles", "fraction"), [(1, 0), (4, 0), (5, 1), (8, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_cosine_is_at_its_frequency(cycles: int, fraction: float, axis: int) -> None:
    # k cycles over 16 pixels have frequency k/16; 4/16 is half Nyquist and not above it.
    wave = np.cos(2 * math.pi * cycles * np.arange(16) / 16 + 0.3)
    image = np.broadcast_to(wave[:, None] if axis == 0 else wave, (16, 16)) + 5.0
    assert high_frequency_fraction(image[None]) == pytest.approx([fraction], abs=1e-12)
    spectrum = radial_power_spectrum(image[None])
    assert spectrum.frequencies[np.argmax(spectrum.power)] == cycles / 16
    others = np.delete(spectrum.power, cycles - 1)
    assert others.max() < 1e-20 * spectrum.power.max()


def test_white_noise_is_flat_at_its_variance() -> None:
    noise = 0.5 * np.random.default_rng(3).normal(size=(400, 20, 14, 2))
    spectrum = radial_power_spectrum(noise)
    # Each ring averages at least 2 x 800 coefficients, a relative error of 1/40.
    np.testing.assert_allclose(spectrum.power, 0.25, rtol=0.1)
    np.testing.assert_allclose(spectrum.frequencies, np.arange(1, 8) / 14)
    # The share of coefficients above half Nyquist, of all but the mean.
    radius = np.hypot(np.fft.fftfreq(20)[:, None], np.fft.fftfreq(14)[None, :])
    expected = (radius > 0.25).sum() / (radius > 0).sum()
    assert high_frequency_fraction(noise).mean() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("shape", [(3, 12, 12, 1), (2, 9, 15, 2), (2, 16, 7, 3)])
def test_spectra_agree_with_the_whole_transform(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(4).random(shape)
    height, width = shape[1:3]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    power = np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2
    power[:, 0, 0] = 0.0
    above = power[:, radius > 0.25].sum(axis=(1, 2)) / power.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(high_frequency_fraction(images), above, rtol=1e-12)
    spectrum = radial_power_spectrum(images)
    mean = power.mean(axis=(0, 3)) / (height * width)
    for frequency, value in zip(spectrum.frequencies, spectrum.power, strict=True):
        ring = np.rint(radius * min(height, width)) == round(frequency * min(height, width))
        assert value == pytest.approx(mean[ring].mean(), rel=1e-12)


def test_blocks_change_no_diagnostic(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _shapes(9)
    diagnostics = (sharpness, high_frequency_fraction)
    whole = [diagnostic(images) for diagnostic in diagnostics]
    spectrum = radial_power_spectrum(images).power
    monkeypatch.setattr(image_arrays, "BLOCK_VALUES", 2 * 24 * 20)
    for diagnostic, expected in zip(diagnostics, whole, strict=True):
        np.testing.assert_array_equal(diagnostic(images), expected)
    np.testing.assert_allclose(radial_power_spectrum(images).power, spectrum, rtol=1e-13)


def test_pixels_that_do_not_fit_are_named() -> None:
    images = _shapes(3)
    images[2, 1, 1, 0] = np.inf
    for diagnostic in (sharpness, high_frequency_fraction, radial_power_spectrum):
        with pytest.raises(ValueError, match="got inf in row 2"):
            diagnostic(images)
        with pytest.raises(ValueError, match=r"images of shape \(n, H, W, C\)"):
            diagnostic(images[0, :, :, 0])
