from __future__ import annotations

import re

from vae_batch.metrics import METRICS

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
