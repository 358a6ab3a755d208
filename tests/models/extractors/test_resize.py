"""Named resizes against hand-made values, TensorFlow's kernels and Pillow."""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.models.extractors.inception.resize import (
    NORMALISATIONS,
    NUMPY_OPS,
    RESIZES,
    check_normalisation,
    check_resize,
    normalise,
    resize,
    resize_tables,
)
from vae_batch.plan.errors import InputError

SIZES = [(28, 28, 299), (32, 64, 299), (400, 333, 299), (7, 300, 299), (1, 2, 31), (299, 299, 299)]


def random_pixels(height: int, width: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Sources i * 2 / 4 = 0, 0.5, 1, 1.5: the last lies beyond the last pixel.
        ("tf1-bilinear", [0.0, 127.5, 255.0, 255.0]),
        # Sources (i + 1/2) / 2 - 1/2 = -0.25, 0.25, 0.75, 1.25.
        ("tf2-bilinear", [0.0, 63.75, 191.25, 255.0]),
    ],
)
def test_two_pixels_to_four(name: str, expected: list[float]) -> None:
    row = np.array([0.0, 255.0], np.float32).reshape(1, 1, 2, 1)
    columns = np.broadcast_to(row, (1, 2, 2, 1)).astype(np.float32)
    resized = resize(columns, name, 4, ops=NUMPY_OPS)
    np.testing.assert_array_equal(resized[0, 0, :, 0], expected)


def test_bicubic_of_two_pixels_by_hand() -> None:
    # Pixel 1 of 4 lies at source 0.25; distances 0.25 and 0.75 from the two pixels. Keys' kernel
    # with a = -1/2: k(x) = 1.5 x^3 - 2.5 x^2 + 1 below 1.
    # k(.25) = .0234375 - .15625 + 1 = .8671875; k(.75) = .6328125 - 1.40625 + 1 = .2265625.
    # Normalised weight of the second pixel: .2265625 / 1.09375 = .2071428...
    row = np.array([0.0, 255.0], np.float32).reshape(1, 1, 2, 1)
    columns = np.broadcast_to(row, (1, 2, 2, 1)).astype(np.float32)
    resized = resize(columns, "pil-bicubic", 4, ops=NUMPY_OPS)
    np.testing.assert_allclose(resized[0, 0, 1, 0], 255.0 * 0.2265625 / 1.09375, rtol=1e-6)


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_taps_lie_inside_and_sum_to_one(name: str, height: int, width: int, size: int) -> None:
    for table, limit in zip(resize_tables(name, height, width, size), (height, width), strict=True):
        assert table.sources.min() >= 0
        assert table.sources.max() < limit
        np.testing.assert_allclose(table.weights.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
@pytest.mark.parametrize("half_pixel", [False, True])
def test_bilinear_has_the_bits_of_tensorflow(
    height: int, width: int, size: int, half_pixel: bool
) -> None:
    import tensorflow as tf

    pixels = random_pixels(height, width)
    expected = tf.raw_ops.ResizeBilinear(
        images=pixels, size=(size, size), align_corners=False, half_pixel_centers=half_pixel
    )
    name = "tf2-bilinear" if half_pixel else "tf1-bilinear"
    resized = resize(pixels, name, size, ops=NUMPY_OPS)
    np.testing.assert_array_equal(resized, expected.numpy())


def test_tf2_bilinear_is_the_resize_of_tf_image() -> None:
    import tensorflow as tf

    pixels = random_pixels(28, 28)
    expected = tf.image.resize(pixels, (299, 299)).numpy()
    np.testing.assert_array_equal(resize(pixels, "tf2-bilinear", 299, ops=NUMPY_OPS), expected)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_bicubic_agrees_with_pillow(height: int, width: int, size: int) -> None:
    from PIL import Image

    pixels = random_pixels(height, width)
    resized = resize(pixels, "pil-bicubic", size, ops=NUMPY_OPS)
    for channel in range(3):
        image = Image.fromarray(pixels[0, :, :, channel])
        expected = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 255)
        # One rounding to float32 a pass, of values below 512: 512 * 2**-24 each.
        np.testing.assert_allclose(resized[0, :, :, channel], expected, rtol=0, atol=6.2e-5)


@pytest.mark.parametrize("name", RESIZES)
def test_keras_ops_agree_with_numpy(name: str) -> None:
    import keras

    pixels = random_pixels(40, 31)
    resized = resize(keras.ops.convert_to_tensor(pixels), name, 299, ops=keras.ops)
    reference = resize(pixels, name, 299, ops=NUMPY_OPS)
    np.testing.assert_allclose(np.asarray(resized), reference, rtol=0, atol=6.2e-5)


@pytest.mark.parametrize("name", RESIZES)
def test_a_constant_image_stays_constant(name: str) -> None:
    pixels = np.full((1, 9, 13, 3), 200.0, np.float32)
    resized = resize(pixels, name, 50, ops=NUMPY_OPS)
    np.testing.assert_allclose(resized, 200.0, rtol=1e-6)


def test_bicubic_overshoot_is_clipped() -> None:
    pixels = np.zeros((1, 8, 8, 3), np.float32)
    pixels[:, :, 4:] = 255.0
    resized = resize(pixels, "pil-bicubic", 64, ops=NUMPY_OPS)
    assert resized.min() == 0.0
    assert resized.max() == 255.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("(x-128)/128", [-1.0, 0.0, 127 / 128]),  # 0, 128, 255
        ("x/127.5-1", [-1.0, 128 / 127.5 - 1, 1.0]),
    ],
)
def test_normalisations(name: str, expected: list[float]) -> None:
    pixels = np.array([0.0, 128.0, 255.0], np.float32)
    np.testing.assert_allclose(normalise(pixels, name), expected, atol=1e-7)


def test_unknown_names_are_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"resize 'area' is unknown.*tf1-bilinear"):
        check_resize("area")
    with pytest.raises(InputError, match=r"normalisation 'x/255' is unknown"):
        check_normalisation("x/255")
    assert [check_normalisation(name) for name in NORMALISATIONS] == list(NORMALISATIONS)
