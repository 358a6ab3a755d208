"""Plates: exact pixels, sizes that fit a page, and a PDF of the same pixels."""

from __future__ import annotations

import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image
from report.examples import colour_gallery, full_gallery, gallery_of, grey_gallery

from vae_batch.report.figures import checkpoint_panels
from vae_batch.report.figures.plates import Panel, PlateFiles, plate, plate_figures
from vae_batch.report.figures.printing import DOUBLE_COLUMN, PlannedFigure, print_style
from vae_batch.report.image_grids import wrapped


def drawn(panels: list[list[Panel]], caption: str = "a") -> PlateFiles:
    with print_style():
        return plate(panels, caption)


def pixels_of(files: PlateFiles) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(files.files["png"])).convert("RGB"))


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_plates_draw_a_level_as_that_level(level: int, channels: int) -> None:
    samples = {"samples": gallery_of(level, channels=channels)["samples"]}
    files = drawn(checkpoint_panels(samples)["samples"])
    assert files.enlarged == 16  # 8 pixels to the target of 128
    tiles = 64 * 128 * 128  # white is the background's level, too
    assert (pixels_of(files) == level).all(axis=-1).sum() >= tiles


def test_plates_enlarge_by_repetition() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, ..., 0] = 200  # a colour that no letter has
    image[0, 3, 5] = (10, 200, 30)
    files = drawn([[Panel("x", wrapped(image))]])
    rows, columns = np.nonzero((pixels_of(files) == (10, 200, 30)).all(axis=-1))
    assert len(rows) == 16 * 16  # one pixel became 16 by 16
    assert np.ptp(rows) == np.ptp(columns) == 15


def test_a_white_image_has_an_edge() -> None:
    image = np.full((1, 8, 8, 1), 255, np.uint8)
    picture = pixels_of(drawn([[Panel("", wrapped(image))]], " "))
    assert (picture == 200).all(axis=-1).sum() == 4 * 128 + 4  # a line of one pixel around


@pytest.mark.parametrize(("side", "channels", "plates"), [(8, 1, 7), (32, 3, 7), (256, 1, 3)])
def test_every_plate_fits_a_page(side: int, channels: int, plates: int) -> None:
    planned = [*plate_figures("a", "a", full_gallery(side, channels))]
    with print_style():
        for figure in planned[:plates]:
            assert isinstance(figure, PlannedFigure)
            width, height = figure.draw().inches
            assert width <= DOUBLE_COLUMN + 0.02
            assert height < 8


def test_wide_plates_have_more_dots_to_an_inch() -> None:
    images = np.zeros((10, 256, 256, 1), np.uint8)
    files = drawn([[Panel("x", wrapped(images, columns=10))]])
    image = Image.open(io.BytesIO(files.files["png"]))
    assert image.width > 2560
    assert image.info["dpi"][0] > 350
    assert files.enlarged == 1


def test_grey_plates_have_one_channel_and_colour_ones_three() -> None:
    modes = {}
    for name, gallery in (("grey", grey_gallery()), ("colour", colour_gallery())):
        png = drawn(checkpoint_panels(gallery)["samples"]).files["png"]
        modes[name] = Image.open(io.BytesIO(png)).mode
    assert modes == {"grey": "L", "colour": "RGB"}


def test_the_pdf_has_the_pixels_of_the_png_and_letters_as_text() -> None:
    gallery = colour_gallery()
    files = drawn([[Panel("Überschrift", wrapped(gallery["samples"]))]], "runs/a")
    pdf = files.files["pdf"]
    found = re.search(rb"/Width (\d+)", pdf), re.search(rb"/Height (\d+)", pdf)
    width, height = (int(match.group(1)) for match in found if match)
    # 64 images of 32 pixels, 4 times enlarged, 7 gaps of 3 pixels, a line around all.
    assert (width, height) == (8 * 128 + 7 * 3 + 2,) * 2
    picture = pixels_of(files)
    edge = (picture == 200).all(axis=-1)  # the line around an image, and a pixel here and there
    top, left = (int(np.argmax(edge.sum(axis=axis) > 900)) for axis in (1, 0))
    expected = picture[top : top + height, left : left + width]
    np.testing.assert_array_equal(image_of(pdf, width, height), expected)
    assert b"/FontFile2" in pdf  # an embedded TrueType font
    assert b"/Type3" not in pdf


def image_of(pdf: bytes, width: int, height: int) -> np.ndarray:
    """The pixels of a PDF's only image, put into a PNG to be decoded."""
    start = pdf.index(b"stream", pdf.index(b"/Subtype /Image")) + len(b"stream\n")
    rows = zlib.decompress(pdf[start:])
    assert len(rows) == height * (3 * width + 1)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)
    return np.asarray(Image.open(io.BytesIO(png)))


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + check


def test_a_gallery_with_every_entry_has_every_plate() -> None:
    assert list(checkpoint_panels(grey_gallery())) == [
        "samples",
        "reconstructions",
        "worst-reconstructions",
        "nearest-training",
        "duplicates",
        "interpolation",
        "traversal",
    ]
    assert checkpoint_panels({}) == {}
