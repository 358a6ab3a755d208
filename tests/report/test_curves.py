"""What curves are made of: lines, bands, gaps, scales and labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from report.examples import Scores, failed_row, score_row, score_table

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.charts.chart import Flags, Key, Line
from vae_batch.report.charts.curve_charts import curve_charts
from vae_batch.report.charts.curves import Curve, own_interval, read_curves, runs_of


def curve_of(scores: Scores, column: str) -> Curve:
    return next(curve for curve in read_curves(scores) if curve.metric.column == column)


def test_failed_steps_break_the_line_and_are_marked(run_scores: Scores) -> None:
    curve = curve_of(run_scores, "fid")
    (line,) = curve.series
    np.testing.assert_array_equal(line.x, [1, 2, 3])
    np.testing.assert_array_equal(line.y, [30, math.nan, 20])
    assert line.checkpoints == ("runs/a/step-1", None, "runs/a/step-3")
    assert curve.failed == (2.0,)


def test_a_failure_breaks_the_line_of_its_own_run_alone() -> None:
    scores = score_table(
        *(score_row(f"r/{run}/s{step}", step) for run in "ab" for step in (1, 3)),
        failed_row("r/a/s2", 2, "no"),
    )
    curve = curve_of(scores, "elbo")
    assert {line.run: list(line.x) for line in curve.series} == {"r/a": [1, 2, 3], "r/b": [1, 3]}
    assert curve.failed == (2.0,)


def test_the_band_is_196_standard_errors_where_they_are_recorded(run_scores: Scores) -> None:
    (line,) = curve_of(run_scores, "elbo").series
    np.testing.assert_allclose(line.low, [-110 - 1.176, math.nan, -100 - 1.176])
    np.testing.assert_allclose(line.high, [-110 + 1.176, math.nan, -100 + 1.176])
    (line,) = curve_of(run_scores, "fid").series
    assert np.isnan(line.low).all()


def test_the_band_of_a_distance_ends_no_lower_than_zero() -> None:
    (row,) = score_table(score_row("a", 1, kid=-0.5, kid_se=0.1))
    assert own_interval(row, METRICS["kid"]) == (pytest.approx(-0.696), 0.0)
    (row,) = score_table(score_row("a", 1, elbo=-0.5, elbo_se=0.1))
    assert own_interval(row, METRICS["elbo"]) == pytest.approx((-0.696, -0.304))


def test_the_band_of_a_biased_score_is_that_of_its_corrected_value() -> None:
    rows = [
        score_row("a", 1, fid=30.0, fid_corrected=28.0, fid_low=27.0, fid_high=29.5),
        score_row("b", 2, fid=20.0, fid_corrected=18.0, fid_corrected_se=0.5),
        score_row("c", 3, fid=10.0, fid_corrected=None, fid_low=None),
    ]
    (line,) = curve_of(score_table(*rows), "fid").series
    np.testing.assert_array_equal(line.corrected, [28, 18, math.nan])
    # The second has a standard error alone: 18 -+ 1.96 * 0.5.
    np.testing.assert_allclose(line.low, [27, 17.02, math.nan])
    np.testing.assert_allclose(line.high, [29.5, 18.98, math.nan])


def test_a_chart_for_each_extractor_and_one_for_what_does_not_depend_on_it() -> None:
    scores = score_table(
        *(
            score_row(f"s{step}", step, extractor=name, fid=float(step + len(name)))
            for step in (1, 2)
            for name in ("inception-2015", "digits-cnn")
        )
    )
    curves = [curve for curve in read_curves(scores) if curve.metric.column in ("fid", "elbo")]
    assert [(c.metric.column, c.extractor, c.conditions) for c in curves] == [
        ("elbo", None, "10,000 test images"),
        ("fid", "inception-2015", "inception-2015 · n = 10,000"),
        ("fid", "digits-cnn", "digits-cnn · n = 10,000"),
    ]
    assert all([len(line.x) for line in curve.series] == [2] for curve in curves)


def test_losses_that_differ_by_extractor_are_all_drawn() -> None:
    rows = [score_row("a", 1, extractor=name, elbo=value) for name, value in (("x", 1), ("y", 2))]
    (line,) = curve_of(score_table(*rows), "elbo").series
    np.testing.assert_array_equal(line.y, [1, 2])


def test_other_conditions_and_other_runs_are_other_lines() -> None:
    by_seed = score_table(*(score_row("a", 1, seed=s, fid=float(s)) for s in (0, 1)))
    assert [line.label for line in curve_of(by_seed, "fid").series] == ["seed 0", "seed 1"]
    by_run = score_table(*(score_row(f"runs/{r}/x", 1, fid=float(i)) for i, r in enumerate("ab")))
    for column in ("fid", "elbo"):  # equal ELBOs, yet two runs
        lines = curve_of(by_run, column).series
        assert [(line.label, line.run) for line in lines] == [("a", "runs/a"), ("b", "runs/b")]


def test_lines_of_other_likelihoods_or_sigmas_are_told_apart() -> None:
    gaussian = {"likelihood": "gaussian", "sigma_source": "declared"}
    scores = score_table(
        score_row("a", 1, **gaussian, sigma=0.5),
        score_row("b", 2, **gaussian, sigma=1.0),
        score_row("c", 3, sigma=None),
        score_row("d", 4, likelihood="gaussian", sigma=0.11, sigma_source="optimal"),
        score_row("e", 5, likelihood="gaussian", sigma=0.12, sigma_source="optimal"),
    )
    lines = {line.label: len(line.x) for line in curve_of(scores, "elbo").series}
    assert lines == {
        "gaussian, sigma 0.5": 1,
        "gaussian, sigma 1": 1,
        "bernoulli": 1,
        "gaussian, sigma optimal": 2,
    }


@pytest.mark.parametrize(
    ("labels", "runs"),
    [
        ({"r/a/s1": 1, "r/a/s2": 2}, ["", ""]),
        ({"r/epoch-1/vae": 1, "r/epoch-2/vae": 2}, ["", ""]),  # folders of one run's epochs
        ({"r/1/vae": 5, "r/2/vae": 5}, ["r/1", "r/2"]),  # two runs, since they share a step
        ({"r/plain/s1": 1, "r/small/s2": 2}, ["r/plain", "r/small"]),
        ({"a": None, "b": None}, ["", ""]),
    ],
)
def test_a_run_is_a_folder_unless_only_digits_differ(
    labels: dict[str, int | None], runs: list[str]
) -> None:
    rows = score_table(*(score_row(label, step) for label, step in labels.items()))
    assert [*runs_of(rows).values()] == runs


def test_checkpoints_that_share_a_run_and_a_step_are_all_drawn() -> None:
    (line,) = curve_of(score_table(score_row("r/a", 1), score_row("r/b", 1)), "elbo").series
    assert line.checkpoints == ("r/a", "r/b")
    np.testing.assert_array_equal(line.x, [1, 1])


def test_without_steps_the_order_of_rows_is_the_axis() -> None:
    scores = score_table(score_row("r/z", None), score_row("r/a", None), score_row("r/m", 5))
    curve = curve_of(scores, "fid")
    assert curve.places.names == ("z", "a", "m")
    np.testing.assert_array_equal(curve.series[0].x, [0, 1, 2])
    assert not curve.has_log_steps


@pytest.mark.parametrize(
    ("steps", "logarithmic"),
    [
        ([1, 2, 4, 8, 16, 32], True),
        ([2, 8, 32, 128], True),
        ([*range(1, 51)], False),
        ([0, 2, 4, 8, 16, 32], False),  # zero has no logarithm
        ([1, 100], False),
    ],
)
def test_steps_like_powers_have_a_logarithmic_axis(steps: list[int], logarithmic: bool) -> None:
    scores = score_table(*(score_row(f"s{step}", step) for step in steps))
    assert curve_of(scores, "elbo").has_log_steps is logarithmic


@pytest.mark.parametrize(
    ("column", "values", "logarithmic"),
    [
        ("fid", [400.0, 90.0, 10.0], True),
        ("fid", [400.0, 90.0, 30.0], False),
        ("fid", [400.0, 90.0, 0.0], False),
        ("fid", [400.0, 90.0, -1.0], False),
        ("fid", [400.0, math.inf, 10.0], True),
        ("fid", [None, None, None], False),
        ("elbo", [400.0, 90.0, 10.0], False),  # higher is better: its best are far apart
    ],
)
def test_wide_ranges_that_are_better_lower_are_logarithmic(
    column: str, values: list[float | None], logarithmic: bool
) -> None:
    rows = [
        score_row(f"s{i}", i, **{column: v, f"{column}_se": None, f"{column}_reason": "no"})
        for i, v in enumerate(values)
    ]
    assert curve_of(score_table(*rows), column).has_log_values is logarithmic


def test_what_checkpoints_are_compared_by_has_a_curve_and_spreads_have_none() -> None:
    scores = score_table(score_row("a", 1, kid=0.5, kid_se=0.1, psnr=20.0))
    columns = [curve.metric.column for curve in read_curves(scores)]
    assert "kid" in columns
    assert "psnr" not in columns
    assert "inception_score_std" not in columns


def test_a_chart_holds_lines_bands_flags_and_what_they_mean(run_scores: Scores) -> None:
    charts = {
        each.curve.metric.column: each.chart for each in curve_charts(read_curves(run_scores))
    }
    elbo = charts["elbo"]
    (flags,) = (layer for layer in elbo.layers if isinstance(layer, Flags))
    assert flags == Flags(flags.x, "failed")
    assert flags.x == [2.0]
    styles = [layer.style for layer in elbo.layers if isinstance(layer, Line)]
    assert styles == ["faded", "line"]  # over the failed step, and broken by it
    assert [key.text for key in elbo.keys] == ["95 % interval", "failed"]
    assert [hover.text for hover in charts["fid"].hovers] == [
        "step 1\nFréchet distance: 30",
        "step 2\nfailed",
        "step 3\nFréchet distance: 20",
    ]


def test_a_line_looks_the_same_in_every_chart_and_the_many_are_grey() -> None:
    scores = score_table(*(score_row(f"r/{run}/s", 1, fid=float(run)) for run in range(20)))
    elbo, fid = (
        next(e.chart for e in curve_charts(read_curves(scores)) if e.curve.metric.column == column)
        for column in ("elbo", "fid")
    )
    lines = [key for key in fid.keys if key.kind == "line"]
    assert [key for key in elbo.keys if key.kind == "line"] == lines
    assert len({(key.look.colour, key.look.marker) for key in lines[:14]}) == 14
    assert {*lines[14:]} == {Key("6 others", "line", lines[14].look)}
