"""Reference images of any size are cropped or resized as training code does, and rows say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from support.runs.serial_runs import rows_of, score, settings_of

from vae_batch.models.references.fit import SquareFit
from vae_batch.models.references.reference import open_reference
from vae_batch.plan import InputError, make_spec
from vae_batch.plan.reading import ReferenceFilter

CROP = SquareFit("center-crop", 2)


def save(folder: Path, *images: np.ndarray) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


def test_a_centre_crop_halves_by_box_and_takes_the_middle() -> None:
    """Means of 2x2 blocks of a 4x8 image, of which the columns 1 and 2 of 4 are the middle."""
    blocks = np.array([[0, 40, 80, 120], [160, 200, 240, 20]], np.uint8)
    image = blocks.repeat(2, axis=0).repeat(2, axis=1)
    image[0, 2], image[0, 3] = 30, 50  # a block of mean 40
    cropped = np.asarray(CROP.of_image(Image.fromarray(image)))
    np.testing.assert_array_equal(cropped, [[40, 80], [200, 240]])


def test_a_centre_crop_resizes_the_shorter_side_by_bicubic() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8))
    resized = np.asarray(image.resize((4, 6), Image.Resampling.BICUBIC))
    found = np.asarray(SquareFit("center-crop", 4).of_image(image))
    np.testing.assert_array_equal(found, resized[1:5])


def test_a_declared_filter_resizes_in_one_step() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8))
    for name in get_args(ReferenceFilter):
        chosen = Image.Resampling[name.upper()]
        square, crop = SquareFit("resize", 8, name), SquareFit("center-crop", 8, name)
        np.testing.assert_array_equal(square.of_image(image), image.resize((8, 8), chosen))
        whole = np.asarray(image.resize((8, 16), chosen))
        np.testing.assert_array_equal(crop.of_image(image), whole[4:12])
        assert (square.words, crop.words) == (f"resize 8 {name}", f"center-crop 8 {name}")


def test_arrays_and_files_are_fitted_alike(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 12, 9), np.uint8)
    np.save(tmp_path / "set.npy", pixels)
    folder = save(tmp_path / "set", *pixels)
    for fit in (CROP, SquareFit("resize", 5)):
        sets = [open_reference(str(path), fit=fit) for path in (tmp_path / "set.npy", folder)]
        assert {images.shape for images in sets} == {(fit.size, fit.size, 1)}
        np.testing.assert_array_equal(sets[0].read(0, 3), sets[1].read(0, 3))
    lanczos = Image.fromarray(pixels[0]).resize((5, 5), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(sets[0].read(0, 1)[0, ..., 0], np.asarray(lanczos))


def test_reconstructions_are_compared_with_the_cropped_images(
    toy_folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    sizes = [(16 + n % 3, 20 - n % 4) for n in range(40)]
    images = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    raw = save(tmp_path / "raw", *images)
    crop = SquareFit("center-crop", 8)
    cropped = [np.asarray(crop.of_image(Image.fromarray(image))) for image in images]
    settings: dict[str, Any] = settings_of(
        [str(toy_folder / "runs/step-0002")],
        toy_folder / "classifier.keras",
        tmp_path / "a",
        reference=str(raw),
        reference_samples=None,
        samples=60,
        metrics="losses,reconstruction,reconstruction_fid,fid",
    )
    with pytest.raises(InputError, match="or declare --reference-fit center-crop") as refused:
        score(settings)
    assert "images differ in size" in str(refused.value)
    fit = {"reference_fit": "center-crop", "reference_size": 8}
    (row,) = rows_of(score({**settings, **fit})).values()
    assert row["reference_fit"] == "center-crop 8"
    ready = {"reference": str(save(tmp_path / "ready", *cropped)), "out": str(tmp_path / "b")}
    (same,) = rows_of(score({**settings, **ready})).values()
    assert same["reference_fit"] is None
    assert row["reference_sha256"] == same["reference_sha256"]
    for column in ("fid", "reconstruction_fid", "mse", "psnr", "elbo"):
        assert row[column] == same[column] is not None


def test_a_fit_and_its_size_belong_together() -> None:
    with pytest.raises(InputError, match="reference_fit and reference_size belong together"):
        make_spec({"checkpoints": ["a"], "reference": "digits", "reference_fit": "resize"})
    with pytest.raises(InputError, match="add --reference-fit center-crop"):
        make_spec({"checkpoints": ["a"], "reference": "digits", "reference_filter": "box"})
