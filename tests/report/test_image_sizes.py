"""Every size of images that can be scored can be reported: pictures are scaled, never refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report.examples import full_gallery, score_row, score_table
from report.page_elements import Elements
from support.models.toy_models import save_pair

from vae_batch.evaluation import evaluate
from vae_batch.metrics.images.diagnostics import SPECTRUM_SIDE
from vae_batch.plan import make_spec
from vae_batch.report.figures.writing import write_figures
from vae_batch.report.image_grids import Grid, padded, wrapped
from vae_batch.report.page import render_page
from vae_batch.report.sprites import sprite
from vae_batch.run.progress.events import ignore

LONG = [pytest.mark.slow, pytest.mark.long]
SIZES = [(1, 1), (3, 200), pytest.param((512, 512), marks=LONG)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images_of_any_size_are_scored_and_reported(
    size: tuple[int, int], toy_folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "real.npy", rng.integers(0, 256, (6, *size, 1), np.uint8))
    save_pair(tmp_path / "runs/step-0001", seed=1, shape=(*size, 1))
    settings = {
        "checkpoints": [str(tmp_path / "runs")],
        "reference": str(tmp_path / "real.npy"),
        "extractors": [str(toy_folder / "classifier.keras")],
        "samples": 4,
        "splits": 2,
        "batch_size": 4,
        "workers": 0,
        "metrics": "losses,reconstruction,diagnostics",
        "out": str(tmp_path / "out"),
    }
    (row,) = evaluate(make_spec(settings), ignore).summary.rows
    assert row.status == "scored", row.reason
    page = Elements((tmp_path / "out/report.html").read_text())
    assert all(float(a["width"]) >= 8 and float(a["height"]) >= 8 for a in page.of("img"))
    assert len(page.of("img")) > 1
    index = json.loads((tmp_path / "out/figures/index.json").read_text())
    drawn = {figure["name"].rpartition("-")[0] for figure in index["figures"]}
    assert any(figure["name"].startswith("samples-") for figure in index["figures"]), drawn


def as_picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"))


def shown(size: tuple[int, int], budget: int = 250_000) -> tuple[Any, np.ndarray]:
    images = np.full((4, *size, 1), 90, np.uint8)
    made = sprite(wrapped(images), "four", budget)
    return made, as_picture(made.uri)


def test_the_smallest_images_are_enlarged_with_narrow_gaps() -> None:
    made, picture = shown((1, 1))
    assert picture.shape == (8, 4 * 8 + 3)
    assert (made.width, made.height) == (8 * 35, 64)
    assert (picture == 90).sum() == 4 * 64


def test_the_largest_images_are_reduced_to_the_page() -> None:
    made, picture = shown((512, 512))
    assert picture.size < 2 * 250_000
    assert (made.width, made.height) == picture.shape[::-1]
    assert made.remark == "reduced to 1/2 of its size"


@pytest.mark.parametrize(("size", "tile"), [((3, 200), (50, 200)), ((200, 3), (200, 140))])
def test_long_images_have_white_beside_them_so_that_labels_fit(
    size: tuple[int, int], tile: tuple[int, int]
) -> None:
    grid = padded(wrapped(np.full((4, *size, 1), 90, np.uint8)))
    assert grid.tile_shape == tile
    for image in grid.images.reshape(-1, *tile):
        assert (image == 90).sum() == 600
        assert (image == 255).sum() == tile[0] * tile[1] - 600
    square = wrapped(np.zeros((4, 8, 30, 1), np.uint8))
    assert isinstance(padded(square), Grid)
    assert padded(square) is square


@pytest.mark.parametrize("side", [2, pytest.param(512, marks=LONG)])
def test_a_gallery_of_all_kinds_is_drawn_at_any_size(side: int) -> None:
    gallery = full_gallery(side, 1)
    if side < SPECTRUM_SIDE:
        gallery = {name: a for name, a in gallery.items() if not name.startswith("spectrum")}
    scores, written = score_table(score_row("a", 1)), {}
    assert "Traversal" in render_page(scores, {"a": gallery}, {})
    write_figures(scores, {"a": gallery}, written.__setitem__)
    values = json.loads(written["traversal-a.json"])
    (panel,) = values["panels"]
    assert (panel["image_height"], panel["image_width"]) == (side, side)
    assert "worst-reconstructions-a.png" in written
