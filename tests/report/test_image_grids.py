"""Pixels of grids, sprites and plates: exact values, no autoscaling, no resampling."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report.examples import colour_gallery, gallery_of, grey_gallery

from vae_batch.report.gallery import absolute_difference, same_frame
from vae_batch.report.image_grids import (
    duplicate_grids,
    encode_png,
    interpolation_grid,
    nearest_grids,
    pixels,
    reconstruction_grid,
    reduced,
    traversal_grid,
    worst_grids,
    wrapped,
)
from vae_batch.report.sprites import sprite, whole_sprites


def decoded(png: bytes, mode: str = "RGBA") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_pixels_keep_values_and_enlarge_by_repetition() -> None:
    images = noise((3, 8, 9, 3))
    picture = pixels(wrapped(images, columns=2), upscale=3, gap=2)
    assert picture.shape == (2 * 24 + 2, 2 * 27 + 2, 4)
    second_row = picture[26:50, 0:27]  # the third image: row 1, column 0
    np.testing.assert_array_equal(second_row[::3, ::3, :3], images[2])
    np.testing.assert_array_equal(second_row[1::3, 2::3, :3], images[2])
    assert (picture[24:26, :, 3] == 0).all()  # the gap
    assert (picture[26:, 29:, 3] == 0).all()  # the empty cell


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_grey_image_stays_that_grey(channels: int) -> None:
    # autoscaling would turn a constant image black or white
    png = encode_png(pixels(wrapped(np.full((4, 8, 8, channels), 128, np.uint8))))
    picture = decoded(png)
    assert (picture[picture[..., 3] == 255][:, :3] == 128).all()


@pytest.mark.parametrize(
    ("images", "mode"),
    [
        (noise((9, 16, 16, 3)), "RGB"),
        (np.full((4, 8, 8, 1), 7, np.uint8), "L"),
        (np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=0), "RGB"),
    ],
    ids=["colour", "grey", "every grey level"],
)
def test_encoding_is_lossless_with_transparent_gaps(images: np.ndarray, mode: str) -> None:
    picture = pixels(wrapped(images, columns=2))
    png = encode_png(picture)
    assert Image.open(io.BytesIO(png)).mode == mode
    back = decoded(png)
    np.testing.assert_array_equal(back[..., 3], picture[..., 3])
    shown = picture[..., 3] == 255
    np.testing.assert_array_equal(back[shown], picture[shown])


def test_png_has_no_metadata_and_repeats_byte_for_byte() -> None:
    picture = pixels(wrapped(noise((4, 8, 8, 3))))
    first, second = encode_png(picture), encode_png(picture.copy())
    assert first == second
    kinds = {first[i : i + 4] for i in range(len(first)) if first[i : i + 4] in (b"tEXt", b"tIME")}
    assert not kinds


def test_difference_is_absolute_in_the_same_units() -> None:
    a, b = np.uint8([[0, 255, 10]]), np.uint8([[255, 0, 13]])
    np.testing.assert_array_equal(absolute_difference(a, b), [[255, 255, 3]])


def test_reconstruction_rows_are_original_reconstruction_difference() -> None:
    gallery = gallery_of(100)
    grid = reconstruction_grid(gallery)
    assert grid.row_labels == ("original", "reconstruction", "|difference|") * 2
    np.testing.assert_array_equal(grid.images[3, 1], gallery["originals"][9])  # 8 to a row
    assert (grid.images[4] == 100).all()
    expected = np.abs(gallery["originals"][9].astype(int) - 100)
    np.testing.assert_array_equal(grid.images[5, 1], expected)


def test_traversal_labels_state_dimension_kl_and_grey_the_collapsed() -> None:
    grid = traversal_grid(gallery_of(1))
    assert grid.row_labels[0] == "z[7]  2.50 nats"
    assert grid.faint_rows == {3}  # 0.001 nats
    minus = "\N{MINUS SIGN}"
    assert grid.column_labels == (f"{minus}2", f"{minus}1", "0", "+1", "+2")


def test_what_is_stored_as_collapsed_is_greyed_whatever_its_mean_kl() -> None:
    gallery = gallery_of(1) | {"traversal_collapsed": np.array([True, False, False, False])}
    assert traversal_grid(gallery).faint_rows == {0}


def test_values_of_a_traversal_keep_two_decimals() -> None:
    gallery = gallery_of(1) | {"traversal_values": np.array([-2.25, -0.004, 0.0, 0.75, 10.0])}
    minus = "\N{MINUS SIGN}"
    assert traversal_grid(gallery).column_labels == (f"{minus}2.25", "0", "0", "+0.75", "+10")


def test_the_worst_stand_eight_to_a_band_with_index_and_error() -> None:
    gallery = grey_gallery()
    first, second = worst_grids(gallery)
    assert first.row_labels == ("original", "reconstruction", "|difference|")
    np.testing.assert_array_equal(second.images[1, 0], gallery["worst_reconstructions"][8])
    index, error = gallery["worst_ids"][8], gallery["worst_errors"][8]
    assert second.column_labels[0] == f"#{index}\n{error:.3g}"


def test_nearest_and_duplicates_stand_above_each_other() -> None:
    gallery = colour_gallery()
    (nearest,) = nearest_grids(gallery)
    np.testing.assert_array_equal(nearest.images[1], gallery["nearest_training"])
    assert nearest.column_labels[:2] == ("#59000\n7.5", "#59001\n6.75")
    (doubles,) = duplicate_grids(gallery)
    np.testing.assert_array_equal(doubles.images[0], gallery["duplicate_first"])
    assert doubles.column_labels[:2] == ("0, 8\n0", "1, 9\n0.5")


def test_interpolation_labels_are_fractions_of_the_way() -> None:
    assert interpolation_grid(gallery_of(1)).column_labels == ("0", "1/4", "2/4", "3/4", "1")


def test_reduction_averages_blocks() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, :2, :2, 0] = [[0, 100], [100, 200]]  # mean 100
    assert reduced(wrapped(image), 2).images[0, 0, 0, 0, 0] == 100


def test_sprite_leaves_out_rows_before_it_reduces() -> None:
    grid = wrapped(noise((64, 32, 32, 3)))  # 8 rows of 8192 pixels
    assert sprite(grid, "x", 100_000).remark == ""
    few = sprite(grid, "x", 3 * 8192)
    assert few.remark == "first 3 of 8 rows"
    tiny = sprite(grid, "x", 2000)  # 2 rows of 16 384 pixels: 1/3 a side gives 1820 pixels
    assert tiny.remark == "first 2 of 8 rows; reduced to 1/3 of its size"


def test_sprite_keeps_bands_whole() -> None:
    grid = reconstruction_grid(gallery_of(9))  # 6 rows of 512 pixels
    assert len(sprite(grid, "x", 5 * 512, band=3).row_labels) == 3


def test_a_tall_grid_goes_on_in_another_sprite_and_breaks_where_asked() -> None:
    grid = wrapped(noise((51, 32, 32, 1)), 1)
    named = replace(grid, row_labels=tuple(map(str, range(51))))
    # 920 / 33 pixels are 27 rows; row 25 begins a run.
    parts = whole_sprites(named, "x", 10**6, tile=32, height=920, starts=[25])
    assert [len(part.row_labels) for part in parts] == [25, 26]
    assert [label for part in parts for label, _ in part.row_labels] == list(named.row_labels)
    assert all(part.height <= 920 for part in parts)
    assert [len(p.row_labels) for p in whole_sprites(named, "x", 10**6, tile=32, height=920)] == [
        27, 24,
    ]  # fmt: skip
    reduced_parts = whole_sprites(named, "x", 5000, tile=32, height=920)
    assert sum(len(part.row_labels) for part in reduced_parts) == 51
    assert "reduced" in reduced_parts[0].remark


def test_sprite_width_is_a_whole_multiple() -> None:
    shown = sprite(wrapped(noise((64, 28, 28, 1))), "x", 10**6)
    assert shown.width == 2 * (8 * 28 + 7)


def test_same_frame_pads_without_resizing() -> None:
    small, large = noise((2, 8, 8, 1)), noise((2, 10, 12, 3), seed=1)
    framed, untouched = same_frame([small, large])
    assert framed.shape == (2, 10, 12, 3)
    np.testing.assert_array_equal(framed[:, 1:9, 2:10], small.repeat(3, axis=-1))
    assert (framed[:, 0] == 255).all()
    np.testing.assert_array_equal(untouched, large)
