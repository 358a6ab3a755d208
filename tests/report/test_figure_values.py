"""The JSON beside each figure: its numbers are those of the tables and galleries."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from report.compared_rows import compared_row
from report.examples import Scores, colour_gallery, failed_row, grey_gallery, score_row, score_table

from vae_batch.report.charts.chart import json_numbers
from vae_batch.report.charts.gallery_charts import drawable
from vae_batch.report.charts.ranking import read_rankings
from vae_batch.report.charts.rate_distortion import read_planes
from vae_batch.report.figures.chart_plans import (
    checkpoint_charts,
    combined_charts,
    metric_curves,
    ranking_figures,
    rate_distortion,
)
from vae_batch.report.figures.plates import plate_figures
from vae_batch.report.figures.printing import LeftOut, PlannedFigure, print_style


def values_of(figures: Any) -> dict[str, dict[str, Any]]:
    """Values by name, as they come back from JSON."""
    planned = [figure for figure in figures if isinstance(figure, PlannedFigure)]
    return {
        figure.name: json.loads(json.dumps(figure.values, allow_nan=False)) for figure in planned
    }


def run_table() -> Scores:
    """Two runs of two steps, one failed step, two extractors; awkward numbers."""
    rows = []
    for run, shift in (("small", 0.1), ("large", 0.7)):
        for step in (1, 2):
            for extractor in ("inception-2015", "digits@1a"):
                value = 100 / 3 * step + shift + len(extractor)
                rows.append(
                    score_row(
                        f"runs/{run}/step-{step}",
                        step,
                        extractor=extractor,
                        fid=value,
                        fid_corrected=value - 1 / 7,
                        fid_low=value - 1 / 3,
                        fid_high=value + 1 / 9,
                        elbo=-100 / step - shift,
                        elbo_se=1 / 3,
                        kl=10.0 * step + shift,
                        reconstruction_nll=100 / step - 10 * step,
                    )
                )
    return score_table(*rows, failed_row("runs/small/step-3", 3, "no"))


def test_curves_hold_the_numbers_of_the_score_table() -> None:
    scores = run_table()
    values = values_of(metric_curves(scores))
    curve = values["curves-fid-digits-1a"]
    assert curve["columns"] == {
        "x": "step",
        "y": "fid",
        "corrected": "fid_corrected",
        "band": "95 % interval of fid_corrected: fid_low to fid_high",
    }
    for series in curve["series"]:
        assert series["extractor"] == "digits@1a"
        for place, checkpoint in enumerate(series["checkpoints"]):
            if checkpoint is None:
                assert series["y"][place] is None
                continue
            (row,) = (row for row in scores if row.key == (checkpoint, "digits@1a"))
            assert series["x"][place] == row.step
            pairs = {"y": "fid", "corrected": "fid_corrected", "low": "fid_low", "high": "fid_high"}
            for name, column in pairs.items():
                assert series[name][place] == row.value(column)  # exactly
    assert [series["label"] for series in curve["series"]] == ["small", "large"]
    assert curve["series"][0]["checkpoints"][2] is None  # the failed step, in its own run
    assert curve["failed"] == [3.0]


def test_a_metric_of_no_extractor_has_one_figure_with_196_standard_errors() -> None:
    values = values_of(metric_curves(run_table()))
    curve = values["curves-elbo"]
    assert curve["columns"]["band"] == "95 % interval of elbo: ± 1.96 elbo_se"
    first = curve["series"][0]
    assert first["y"][:2] == [-100.1, -50.1]
    assert first["low"][0] == pytest.approx(-100.1 - 1.96 / 3)
    assert "corrected" not in first
    assert curve["y"]["unit"] == "nats/image"
    assert [panel["metric"] for panel in values["curves"]["panels"]].count("fid") == 2


def rankings_of(rows: list) -> dict[str, dict[str, Any]]:
    return values_of(ranking_figures(read_rankings(rows)))


def test_a_ranking_holds_the_numbers_of_the_comparisons() -> None:
    rows = [
        compared_row("runs/a", 30.25, "runs/b", extractor="x"),
        compared_row("runs/b", 20.0, "runs/b", extractor="x"),
        compared_row("runs/c", 20.5, "runs/b", extractor="x", level_with_best=True),
        compared_row("runs/d", float("nan"), "runs/b", extractor="x"),
        compared_row("runs/b", 0.5, "runs/b", metric="mse"),  # was compared with no other
    ]
    values = rankings_of(rows)
    assert list(values) == ["ranking-fid_corrected-x"]
    ranking = values["ranking-fid_corrected-x"]
    assert ranking["checkpoints"] == ["runs/b", "runs/c", "runs/a"]  # best first
    assert ranking["values"] == [20.0, 20.5, 30.25]
    assert ranking["from_best"] == [None, 0.5, 10.25]
    assert ranking["from_best_low"][2] == 30.25 - 20.98
    assert ranking["level_with_best"] == [True, True, False]
    assert ranking["is_best"] == [True, False, False]


def test_higher_is_better_ranks_the_highest_first() -> None:
    rows = [
        compared_row(name, value, "a", metric="ssim") for name, value in (("b", 0.5), ("a", 0.9))
    ]
    assert rankings_of(rows)["ranking-ssim"]["checkpoints"] == ["a", "b"]


def test_a_long_ranking_says_what_is_not_drawn() -> None:
    rows = [compared_row(f"s{i:02}", 20.0 + i, "s00") for i in range(30)]
    ranking = rankings_of(rows)["ranking-fid_corrected"]
    assert len(ranking["checkpoints"]) == 24
    assert ranking["not_drawn"] == [f"s{i}" for i in range(24, 30)]


def test_the_rate_distortion_plane_has_each_checkpoint_once() -> None:
    scores = run_table()
    plane = values_of(rate_distortion(scores))["rate-distortion"]
    assert plane["checkpoints"] == [
        f"runs/{run}/step-{s}" for run in ("small", "large") for s in (1, 2)
    ]
    assert plane["runs"] == ["runs/small"] * 2 + ["runs/large"] * 2
    for column in ("kl", "reconstruction_nll", "elbo", "elbo_se"):
        name = column.removesuffix("_se")
        part = "standard_error" if column.endswith("_se") else "value"
        one_each = {row.checkpoint: row for row in scores if row.status == "scored"}
        assert plane[column] == [getattr(row.score(name), part) for row in one_each.values()]


def test_each_likelihood_and_sigma_has_a_plane_and_a_best_of_its_own() -> None:
    gaussian = {"likelihood": "gaussian", "sigma_source": "declared"}
    rows = [
        *(score_row(f"a{i}", i, kl=20.0 - i) for i in (1, 2)),
        *(score_row(f"b{i}", i, kl=9.0 + i, **gaussian, sigma=0.1) for i in (1, 2)),
        *(score_row(f"c{i}", i, kl=1.0 + i, **gaussian, sigma=1.0) for i in (1, 2)),
        score_row("d", 1, likelihood="laplace"),  # alone: there is nothing to compare it with
    ]
    scores = score_table(*rows)
    names = ("bernoulli", "gaussian-sigma-0.1", "gaussian-sigma-1")
    planes = values_of(rate_distortion(scores))
    assert [*planes] == [f"rate-distortion-{name}" for name in names]
    best = {plane.family: plane.best.row.checkpoint for plane in read_planes(scores)}
    assert best == {"bernoulli": "a2", "gaussian, sigma 0.1": "b1", "gaussian, sigma 1": "c1"}


def test_losses_on_other_images_or_seeds_share_no_plane() -> None:
    rows = [score_row(f"{seed}{i}", i, seed=seed) for seed in (0, 1) for i in (1, 2)]
    planes = [plane.family for plane in read_planes(score_table(*rows))]
    assert planes == ["bernoulli · seed 0", "bernoulli · seed 1"]


def test_latent_figures_hold_the_numbers_of_the_gallery() -> None:
    gallery = grey_gallery()
    values = values_of(checkpoint_charts("runs/a", "a", gallery))
    bars = values["kl-dimensions-a"]
    order = bars["dimensions"]
    assert bars["kl"] == gallery["kl_per_dimension"][order].tolist()
    assert bars["kl"] == sorted(bars["kl"], reverse=True)
    assert bars["collapsed"] == gallery["kl_collapsed"][order].tolist()
    ridges = values["aggregate-posterior-a"]
    assert ridges["dimensions"] == gallery["aggregate_dimensions"].tolist()
    assert ridges["density"] == gallery["aggregate_density"].tolist()
    assert ridges["mean"] == gallery["aggregate_mean"][ridges["dimensions"]].tolist()
    several = values_of(
        combined_charts({"x": gallery, "y": colour_gallery(1)}, {"x": "x", "y": "y"})
    )
    assert several["kl-dimensions"]["series"][0]["kl"] == bars["kl"]


def test_spectra_hold_the_numbers_of_the_gallery() -> None:
    gallery = grey_gallery()
    spectrum = values_of(checkpoint_charts("runs/a", "a", gallery))["spectrum-a"]
    assert spectrum["frequencies"] == gallery["spectrum_frequencies"].tolist()
    assert spectrum["reference"] == gallery["spectrum_power_reference"].tolist()
    assert spectrum["series"][0]["power"] == gallery["spectrum_power"].tolist()
    # Colour images are 32 pixels wide, grey ones 28: their frequencies differ.
    names = {"a": "a", "b": "b"}
    assert "spectrum" not in values_of(
        combined_charts({"a": gallery, "b": colour_gallery()}, names)
    )
    assert "spectrum" in values_of(combined_charts({"a": gallery, "b": grey_gallery(1)}, names))


def test_what_a_logarithmic_axis_cannot_have_is_a_gap() -> None:
    np.testing.assert_array_equal(
        drawable(np.array([1.0, 0.0, -1.0, np.inf, np.nan, 1e-6, 1e-300, 1e300]), scale=2.0),
        [1.0, *[np.nan] * 4, 1e-6, np.nan, np.nan],
    )
    assert json_numbers([1.0, None, float("nan"), float("-inf")]) == [1.0, None, None, None]


def test_plates_say_what_they_show() -> None:
    gallery = colour_gallery()
    figures = {figure.name: figure for figure in plate_figures("runs/a", "a", gallery)}
    with print_style():
        drawn = figures["worst-reconstructions-a"].draw()
    assert figures["worst-reconstructions-a"].values["worst_ids"] == gallery["worst_ids"].tolist()
    errors = figures["worst-reconstructions-a"].values["worst_errors"]
    assert errors == gallery["worst_errors"].tolist()
    first, second = drawn.values["panels"]
    assert first["images"] == second["images"] == 3 * 8
    assert (first["image_height"], first["channels"], first["reduced"]) == (32, 3, 1)
    assert drawn.values["enlarged"] == 4
    traversal = figures["traversal-a"].values
    assert traversal["traversal_kl"] == gallery["traversal_kl"].tolist()
    assert figures["nearest-training-a"].values["nearest_extractor"] == "mnist-classifier@20ae33fb"


def test_large_images_are_reduced_and_large_samples_are_fewer() -> None:
    images = np.zeros((64, 256, 256, 3), np.uint8)
    gallery = {"samples": images, "traversal": images[:60].reshape(6, 10, 256, 256, 3)}
    gallery |= {"traversal_dimensions": np.arange(6), "traversal_kl": np.ones(6)}
    gallery |= {"traversal_values": np.linspace(-3, 3, 10)}
    figures = [f for f in plate_figures("a", "a", gallery) if not isinstance(f, LeftOut)]
    with print_style():
        panels = {figure.name: figure.draw().values["panels"][0] for figure in figures}
    # 1.6 million pixels pay 24.4 images of 256 by 256: 6 rows of 4.
    assert (panels["samples-a"]["images"], panels["samples-a"]["images_left_out"]) == (24, 40)
    # 60 images are 3.9 million pixels: half of each side leaves 1 million.
    assert (panels["traversal-a"]["images"], panels["traversal-a"]["reduced"]) == (60, 2)
