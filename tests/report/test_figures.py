"""Figure files: names, bytes that repeat, exact pixels, and what the curves are made of."""

from __future__ import annotations

import hashlib
import io
import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report.examples import failed_row, gallery_of, score_row, score_table, two_metrics

from vae_batch.report.curves import read_curves
from vae_batch.report.drawing import plain
from vae_batch.report.figures import checkpoint_panels, write_figures
from vae_batch.report.film_strip import film_strip
from vae_batch.report.plates import plate
from vae_batch.report.score_rows import read_rows


def written(scores: pd.DataFrame, galleries: dict) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    names = write_figures(two_metrics(scores), galleries, files.__setitem__)
    assert names == list(files)
    return files


def curve_of(scores: pd.DataFrame, column: str):
    return next(curve for curve in read_curves(scores) if curve.metric.column == column)


def test_names_are_predictable(run_scores: pd.DataFrame, run_galleries: dict) -> None:
    names = set(written(run_scores, run_galleries))
    for slug in ("runs-a-step-1", "runs-a-step-3"):
        kinds = ("samples", "reconstructions", "interpolation", "traversal")
        assert {f"{kind}-{slug}.png" for kind in kinds} <= names
    assert {"film-strip.png", "curves.png", "curves.svg", "curves-fid.png"} <= names
    assert "curves-fid.svg" in names
    assert not any("step-2" in name for name in names)  # failed: nothing to draw


def test_same_input_gives_the_same_bytes_whatever_the_settings(
    run_scores: pd.DataFrame, run_galleries: dict
) -> None:
    first = written(run_scores, run_galleries)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "red"}):
        second = written(run_scores, run_galleries)
        assert mpl.rcParams["font.size"] == 30  # the caller's settings come back
    digests = [
        {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        for files in (first, second)
    ]
    assert digests[0] == digests[1]


def test_svg_has_no_date_and_no_creator(run_scores: pd.DataFrame) -> None:
    svg = written(run_scores, {})["curves.svg"].decode()
    assert svg.startswith("<?xml")
    assert "dc:date" not in svg
    assert "Matplotlib v" not in svg


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_plates_draw_a_level_as_that_level(level: int, channels: int) -> None:
    (panels,) = checkpoint_panels(
        {"samples": gallery_of(level, channels=channels)["samples"]}
    ).values()
    picture = np.asarray(Image.open(io.BytesIO(plate(panels, "a"))).convert("RGB"))
    tiles = 64 * 96 * 96  # 64 images of 8 pixels, enlarged 12 times; white is background too
    assert (picture == level).all(axis=-1).sum() >= tiles


def test_plates_enlarge_by_repetition() -> None:
    gallery = {"samples": np.zeros((1, 8, 8, 3), np.uint8)}
    gallery["samples"][0, ..., 0] = 200  # a colour that no letter has
    gallery["samples"][0, 3, 5] = (10, 200, 30)
    (panels,) = checkpoint_panels(gallery).values()
    picture = np.asarray(Image.open(io.BytesIO(plate(panels, "a"))))
    rows, columns = np.nonzero((picture == (10, 200, 30)).all(axis=-1))
    assert len(rows) == 12 * 12  # one pixel became 12 by 12
    assert np.ptp(rows) == np.ptp(columns) == 11


def test_failed_steps_break_the_line_and_are_marked(run_scores: pd.DataFrame) -> None:
    curve = curve_of(run_scores, "fid")
    (line,) = curve.series
    np.testing.assert_array_equal(line.x, [1, 2, 3])
    np.testing.assert_array_equal(line.y, [30, math.nan, 20])
    assert curve.failed == (2.0,)


def test_band_is_the_recorded_standard_error(run_scores: pd.DataFrame) -> None:
    (line,) = curve_of(run_scores, "elbo").series
    np.testing.assert_array_equal(line.standard_error, [0.6, math.nan, 0.6])
    (line,) = curve_of(run_scores, "fid").series
    assert np.isnan(line.standard_error).all()


def test_one_line_an_extractor_and_one_for_what_does_not_depend_on_it() -> None:
    scores = score_table(
        *(
            score_row(f"s{step}", step, extractor=name, fid=float(step + len(name)))
            for step in (1, 2)
            for name in ("inception-2015", "digits-cnn")
        )
    )
    labels = [line.label for line in curve_of(scores, "fid").series]
    assert labels == ["inception-2015 · n = 10,000", "digits-cnn · n = 10,000"]
    assert [line.label for line in curve_of(scores, "elbo").series] == ["test images"]
    assert len(curve_of(scores, "inception_score").series) == 2  # equal by chance: still two


def test_likelihoods_that_differ_by_extractor_stay_apart() -> None:
    rows = [score_row("a", 1, extractor=name, elbo=value) for name, value in (("x", 1), ("y", 2))]
    assert len(curve_of(score_table(*rows), "elbo").series) == 2


def test_other_conditions_and_other_runs_are_other_lines() -> None:
    by_seed = score_table(*(score_row("a", 1, seed=s, fid=float(s)) for s in (0, 1)))
    labels = [line.label for line in curve_of(by_seed, "fid").series]
    assert [label.rpartition(" · ")[2] for label in labels] == ["seed 0", "seed 1"]
    by_run = score_table(*(score_row(f"runs/{r}/x", 1, fid=float(i)) for i, r in enumerate("ab")))
    labels = [line.label for line in curve_of(by_run, "fid").series]
    assert [label.partition(" · ")[0] for label in labels] == ["runs/a", "runs/b"]
    labels = [line.label for line in curve_of(by_run, "elbo").series]
    assert labels == ["test images · runs/a", "test images · runs/b"]  # equal, yet two runs


def test_without_steps_the_order_of_rows_is_the_axis() -> None:
    scores = score_table(score_row("r/z", None), score_row("r/a", None), score_row("r/m", 5))
    curve = curve_of(scores, "fid")
    assert curve.axis.names == ["z", "a", "m"]
    np.testing.assert_array_equal(curve.series[0].x, [0, 1, 2])
    assert "curves.png" in written(scores, {})


def test_film_strip_follows_steps_and_ends_with_real_images(
    run_scores: pd.DataFrame, run_galleries: dict
) -> None:
    backwards = run_scores.iloc[::-1]
    grid = film_strip(read_rows(backwards), run_galleries)
    assert grid.row_labels == ("step 1", "step 2 (failed)", "step 3", "real")
    assert grid.present.all(axis=1).tolist() == [True, False, True, True]
    assert (grid.images[0] == 64).all()
    assert (grid.images[2] == 128).all()
    real = run_galleries["runs/a/step-1"]["reference_samples"][:10]
    np.testing.assert_array_equal(grid.images[3], real)


def test_film_strip_of_many_keeps_first_and_last() -> None:
    rows = read_rows(score_table(*(score_row(f"s{i}", i) for i in range(120))))
    grid = film_strip(rows, {f"s{i}": gallery_of(i) for i in range(120)})
    assert len(grid.row_labels) == 50 + 1
    assert (grid.row_labels[0], grid.row_labels[-2]) == ("step 0", "step 119")


@pytest.mark.parametrize(
    "scores",
    [
        score_table(failed_row("a", 1, "no"), failed_row("b", 2, "no")),
        score_table(score_row("a", 1)),
        score_table(score_row("a", 1)).iloc[:0],
    ],
    ids=["failed only", "one row", "no rows"],
)
def test_curves_and_film_strip_are_always_written(scores: pd.DataFrame) -> None:
    files = written(scores, {})
    for name in ("curves.png", "curves-fid.png", "film-strip.png"):
        Image.open(io.BytesIO(files[name])).verify()


def test_mixed_shapes_share_a_film_strip() -> None:
    scores = score_table(score_row("a", 1), score_row("b", 2))
    galleries = {"a": gallery_of(10), "b": gallery_of(20, side=16, channels=3)}
    assert "film-strip.png" in written(scores, galleries)


def test_hostile_labels_are_drawn_as_text() -> None:
    assert plain("$x$ _") == r"\$x\$ _"
    assert plain("_hidden") == " _hidden"
    assert plain("漢") == "\N{WHITE SQUARE}"  # no such letter in the font
    name = "$\\frac{$ 漢字 %s _^{}"
    scores = score_table(score_row(name, None, extractor="_$e"), score_row("b", None))
    assert len(written(scores, {name: gallery_of(3)})) > 10


def test_no_pyplot_and_no_backend_is_chosen() -> None:
    code = (
        "import sys; import vae_batch.report.figures, vae_batch.report.page; "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
