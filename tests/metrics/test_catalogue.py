from __future__ import annotations

import html
import re
from dataclasses import fields

from metrics import laws_likelihood, laws_samples
from report.examples import score_row, score_table

from vae_batch.metrics import METRICS
from vae_batch.metrics.catalogue import COMPARED, GROUPS, corrected_from, metric_for
from vae_batch.metrics.samples.frechet_uncertainty import FIELD_DIMENSION, FIELD_SAMPLES
from vae_batch.report.page.document import render_page
from vae_batch.storage.score_rows import Conditions
from vae_batch.storage.score_schema import SCHEMA

EXPECTED_DIRECTIONS = {
    "reconstruction_nll": "lower",
    "kl": "neither",  # 0 is collapse
    "elbo": "higher",
    "bits_per_dim": "lower",
    "fid": "lower",
    "inception_score": "higher",
    "inception_score_std": "neither",
    "clipped_pixels": "lower",
}


EXPECTED_DIRECTIONS |= laws_likelihood.EXPECTED_DIRECTIONS | laws_samples.EXPECTED_DIRECTIONS
EXPECTED_DIRECTIONS |= dict.fromkeys(
    ["mse", "mae", "reconstruction_fid", "duplicate_rate", "near_duplicate_rate"], "lower"
)
EXPECTED_DIRECTIONS |= dict.fromkeys(["psnr", "ssim", "ms_ssim"], "higher")
EXPECTED_DIRECTIONS |= dict.fromkeys(
    [
        "perfect_reconstructions", "sharpness_ratio", "reconstruction_sharpness_ratio",
        "high_frequency_ratio", "duplicate_rate_reference", "pixel_diversity_ratio", "vendi_score",
        "vendi_score_reference", "authentic_fraction", "authentic_fraction_reference",
        "sharpness_ratio_reference", "high_frequency_ratio_reference",
        "near_duplicate_rate_reference", "training_distance_ratio", "data_copying_z",
        "latent_smoothness",
    ],
    "neither",
)  # fmt: skip


def test_every_column_says_which_way_is_better() -> None:
    assert {column: metric.direction for column, metric in METRICS.items()} == EXPECTED_DIRECTIONS


def test_a_definition_is_one_sentence_with_a_source() -> None:
    for column, metric in METRICS.items():
        assert metric.column == column
        assert re.fullmatch(r"[a-z][a-z_]*", column)
        assert metric.title
        assert metric.definition.endswith(".")
        assert not re.search(r"[.!?]\s", metric.definition), f"{column}: more than one sentence"
        assert metric.source


def test_definitions_name_the_traps() -> None:
    assert "biased upwards" in METRICS["fid"].definition
    assert "no normalised likelihood" in METRICS["reconstruction_nll"].definition
    assert "collapse" in METRICS["kl"].definition
    assert "secondary" in METRICS["inception_score"].definition
    assert "not the standard error" in METRICS["inception_score_std"].definition


def test_every_metric_belongs_to_a_group_that_can_be_asked_for() -> None:
    groups = {metric.group for metric in METRICS.values()}
    assert groups == set(GROUPS)


def test_every_entry_is_a_column_of_the_score_table() -> None:
    for metric in METRICS.values():
        assert set(metric.columns) <= set(SCHEMA.names)


def test_every_entry_stands_on_the_page() -> None:
    values = dict.fromkeys(METRICS, 1.5)
    scores = score_table(score_row("a", **values), score_row("b", **values))
    page = html.unescape(render_page(scores, {}, {}))
    missing = [column for column, metric in METRICS.items() if metric.definition not in page]
    assert not missing


def test_every_entry_that_is_compared_can_be_selected_by_and_ranks() -> None:
    for metric in COMPARED:
        assert metric_for(metric.column, "select") is metric
        assert metric_for(metric.column, "tolerance") is metric
        assert metric.sign in (-1.0, 1.0)
        assert set(metric.conditions) <= {field.name for field in fields(Conditions)}


def test_a_biased_metric_is_compared_as_another_entry() -> None:
    for metric in METRICS.values():
        if metric.compared_as:
            assert metric.compared is None
            assert METRICS[metric.compared_as] in COMPARED
            assert corrected_from(metric.compared_as) == metric.column


def test_the_bias_limit_is_that_of_the_interval() -> None:
    assert METRICS["fid_corrected"].images_per_dimension == FIELD_SAMPLES / FIELD_DIMENSION
