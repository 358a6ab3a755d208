"""The film strip: its order, its names, its gaps."""

from __future__ import annotations

import numpy as np
from report.examples import Scores, gallery_of, score_row, score_table

from vae_batch.report.gallery_panels import film_strip, strip_rows


def test_film_strip_follows_steps_and_ends_with_real_images(
    run_scores: Scores, run_galleries: dict
) -> None:
    backwards = run_scores[::-1]
    grid = film_strip((backwards), run_galleries)
    assert grid.row_labels == ("step 1", "step 2 (failed)", "step 3", "real")
    assert grid.present.all(axis=1).tolist() == [True, False, True, True]
    assert (grid.images[0] == 64).all()
    assert (grid.images[2] == 128).all()
    real = run_galleries["runs/a/step-1"]["reference_samples"][:10]
    np.testing.assert_array_equal(grid.images[3], real)


def test_film_strip_keeps_runs_together_and_names_them() -> None:
    rows = score_table(*(score_row(f"r/{run}/s{step}", step) for step in (1, 2) for run in "ba"))
    grid = film_strip(rows, {"r/b/s1": gallery_of(1)})
    assert grid.row_labels[:2] == ("b/s1", "b/s2 (no pictures)")
    assert grid.row_labels[2].startswith("a/s1")


def test_film_strip_of_many_keeps_first_and_last() -> None:
    rows = score_table(*(score_row(f"s{i}", i) for i in range(120)))
    grid = film_strip(rows, {f"s{i}": gallery_of(i) for i in range(120)})
    assert len(grid.row_labels) == 50 + 1
    assert (grid.row_labels[0], grid.row_labels[-2]) == ("step 0", "step 119")


def test_film_strip_of_many_keeps_those_that_are_asked_for() -> None:
    rows = score_table(*(score_row(f"s{i}", i) for i in range(100)))
    shown = strip_rows(rows, 10, {"s33", "s34"})
    assert {"s0", "s33", "s34", "s99"} <= set(shown)
    assert len(shown) == 10
    assert list(shown.values())[-1] == "step 99"


def test_mixed_shapes_share_a_film_strip() -> None:
    rows = score_table(score_row("a", 1), score_row("b", 2))
    grid = film_strip(rows, {"a": gallery_of(10), "b": gallery_of(20, side=16, channels=3)})
    assert grid.images.shape[2:] == (16, 16, 3)
    assert (grid.images[0, 0, 4:12, 4:12] == 10).all()
    assert (grid.images[0, 0, :4] == 255).all()  # padded, not resized
    assert (grid.images[1] == 20).all()
