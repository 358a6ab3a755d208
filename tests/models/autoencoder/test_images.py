"""Layout, size and value range of images on their way in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import images_like

from vae_batch.models.autoencoder.images import (
    ImageFit,
    find_layout,
    read_layout,
    rescaled,
    resized,
    with_free_sizes,
)
from vae_batch.models.image_range import from_uint8
from vae_batch.plan import CheckpointError

GREY, COLOUR = (28, 28, 1), (32, 32, 3)


@pytest.mark.parametrize(
    ("shape", "reference", "order"),
    [
        ((28, 28, 1), GREY, "channels-last"),
        ((784,), GREY, "flat"),
        ((28, 28), GREY, "flat"),
        ((784, 1), GREY, "flat"),
        ((1, 28, 28), GREY, "channels-first"),
        ((32, 32, 3), COLOUR, "channels-last"),
        ((3, 32, 32), COLOUR, "channels-first"),
        ((3072,), COLOUR, "flat"),
        ((None, None, 3), COLOUR, "channels-last"),
        ((3, None, None), COLOUR, "channels-first"),
        ((None, None), GREY, "flat"),
    ],
)
def test_layouts_of_the_references_size(
    shape: tuple[int | None, ...], reference: tuple[int, int, int], order: str
) -> None:
    layout = read_layout(shape, reference, None, "the encoder takes")
    assert (layout.order, layout.image_shape) == (order, reference)
    images = np.random.default_rng(0).random((3, *reference)).astype(np.float32)
    inside = layout.to_network(images)
    assert inside.shape == (3, *(with_free_sizes(shape, reference) or ()))
    np.testing.assert_array_equal(layout.from_network(inside), images)


def test_channels_first_moves_the_channel() -> None:
    layout = read_layout((3, 32, 32), COLOUR, None, "the encoder takes")
    images = np.random.default_rng(0).random((2, *COLOUR)).astype(np.float32)
    np.testing.assert_array_equal(layout.to_network(images)[1, 2], images[1, :, :, 2])


@pytest.mark.parametrize(
    ("shape", "reference"),
    [
        ((32, 32, 3), GREY),
        ((2,), GREY),
        ((None,), GREY),
        ((None, None, None, 1), GREY),
        ((24, 32, 3), (32, 24, 3)),  # height and width exchanged
    ],
)
def test_no_image_of_the_reference(shape: Any, reference: tuple[int, int, int]) -> None:
    with pytest.raises(CheckpointError, match="against the images it was trained on"):
        read_layout(shape, reference, "resize", "the encoder takes")
    assert find_layout(shape, reference, any_size=True) is None


@pytest.mark.parametrize(
    ("shape", "found"),
    [((32, 32, 1), GREY), ((1, 32, 32), GREY), ((1024,), GREY), ((32, 32), GREY)],
)
def test_another_size_asks_for_the_fit(shape: tuple[int, ...], found: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"--input-fit pad .* or --input-fit resize"):
        read_layout(shape, GREY, None, "the encoder takes")
    assert read_layout(shape, GREY, "pad", "the encoder takes").image_shape == (32, 32, 1)


def test_a_smaller_model_cannot_be_padded() -> None:
    with pytest.raises(CheckpointError, match=r"^(?!.*pad).*--input-fit resize"):
        read_layout((16, 16, 1), GREY, None, "the encoder takes")
    with pytest.raises(CheckpointError, match=r"smaller .* --input-fit pad is impossible"):
        read_layout((16, 16, 1), GREY, "pad", "the encoder takes")


def test_padding_is_a_centred_black_border_and_is_cropped_back() -> None:
    pixels = images_like(2, (4, 4, 1))
    fit = ImageFit((4, 4, 1), (7, 6, 1), "pad", "-1..1")
    images = fit.to_model(pixels)
    assert (images.shape, images.dtype) == ((2, 7, 6, 1), np.float32)
    # 3 rows are missing: one above, two below; 2 columns: one on each side. Black is -1.
    np.testing.assert_array_equal(images[:, 1:5, 1:5], from_uint8(pixels, "-1..1"))
    assert images[:, [0, 5, 6]].max() == images[:, :, [0, 5]].max() == -1
    np.testing.assert_array_equal(fit.to_pictures(images), pixels)


def test_resizing_keeps_a_constant_image_and_its_range() -> None:
    pixels = np.full((2, 4, 4, 3), 128, np.uint8)
    pixels[1] = 255
    fit = ImageFit((4, 4, 3), (8, 8, 3), "resize", "0..255")
    images = fit.to_model(pixels)
    np.testing.assert_allclose(images[0], 128, rtol=1e-6)
    np.testing.assert_array_equal(images[1], 255)
    np.testing.assert_array_equal(fit.to_pictures(images), pixels)


def test_resizing_down_antialiases() -> None:
    """Columns 0, 255, 0, 255, ... at a quarter of the width: no column is skipped.

    The triangle filter of support 4 source pixels a side weighs 8 columns 1, 3, 5, 7, 7, 5, 3, 1
    (/ 32) in the middle: white has 16 of 32. Without antialiasing it would be 0 or 1.
    """
    stripes = np.tile(np.array([0, 1], np.float32), 8).reshape(1, 1, 16, 1)
    small = resized(np.repeat(stripes, 16, axis=1), (4, 4, 1))
    np.testing.assert_allclose(small[0, :, 1:3, 0], 0.5, atol=1e-6)


def test_resizing_does_not_mix_rows_or_channels() -> None:
    pixels = images_like(3, (8, 8, 3))
    fit = ImageFit((8, 8, 3), (12, 12, 3), "resize", "0..1")
    whole = fit.to_model(pixels)
    np.testing.assert_array_equal(fit.to_model(pixels[1:2])[0], whole[1])
    one = ImageFit((8, 8, 1), (12, 12, 1), "resize", "0..1")
    np.testing.assert_array_equal(one.to_model(pixels[..., 1:2])[..., 0], whole[..., 1])
    assert 0 <= whole.min() < whole.max() <= 1


@pytest.mark.parametrize("value_range", ["0..1", "-1..1", "0..255"])
def test_equal_sizes_change_the_range_alone(value_range: Any) -> None:
    pixels = images_like(4)
    fit = ImageFit((4, 4, 1), (4, 4, 1), None, value_range)
    np.testing.assert_array_equal(fit.to_model(pixels), from_uint8(pixels, value_range))
    np.testing.assert_array_equal(fit.to_pictures(fit.to_model(pixels)), pixels)


def test_ranges_convert_to_one_another() -> None:
    images = np.array([0, 0.25, 1], np.float32)
    np.testing.assert_allclose(rescaled(images, "0..1", "0..255"), [0, 63.75, 255])
    np.testing.assert_allclose(rescaled(images, "0..1", "-1..1"), [-1, -0.5, 1])
    assert rescaled(images, "0..1", "0..1") is images
