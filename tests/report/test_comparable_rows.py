"""Which values may be called best, and why others are undefined."""

from __future__ import annotations

import math

import pytest
from report.examples import Scores, failed_row, score_row, score_table

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.comparable_rows import (
    best_marks,
    comparable,
    failure_of,
    metrics_in,
    why_undefined,
)


def marks(scores: Scores, column: str) -> list[int]:
    """Places of the rows whose value is marked as best."""
    found = best_marks(scores, metrics_in(scores))
    return [place for place, row in enumerate(scores) if (row.key, column) in found]


def test_lower_higher_and_neither() -> None:
    scores = score_table(
        score_row("a", fid=3.0, elbo=-5.0, kl=1.0), score_row("b", fid=2.0, elbo=-6.0, kl=2.0)
    )
    assert marks(scores, "fid") == [1]  # lower is better
    assert marks(scores, "elbo") == [0]  # higher is better
    assert marks(scores, "kl") == []  # neither


@pytest.mark.parametrize(
    ("column", "condition", "others"),
    [
        ("reconstruction_nll", "latent", ("draw", "code")),
        ("elbo", "condition", (None, "one-hot labels, 10 classes")),
        ("iwae", "iwae_draws", (64, 128)),
        ("iwae", "iwae_images", ("all", "random 100 of 797")),
        ("psnr", "perfect_reconstructions", (0.0, 3.0)),
        ("aggregate_prior_mmd", "latent_dimensions", (8.0, 16.0)),
    ],
)
def test_other_estimators_are_not_ranked_together(
    column: str, condition: str, others: tuple[object, object]
) -> None:
    one, other = others
    rows = [
        score_row(name, **{column: value, condition: held})
        for name, value, held in (("a", 1.0, one), ("b", 2.0, one), ("c", 3.0, other))
    ]
    ordered = [rows[2], rows[0], rows[1]] if METRICS[column].direction == "lower" else rows
    best = {"lower": "a", "higher": "b"}[METRICS[column].direction]
    scores = score_table(*ordered)
    assert [scores[place].checkpoint for place in marks(scores, column)] == [best]
    alike = score_table(*(row | {condition: one} for row in ordered))
    expected = best if METRICS[column].direction == "lower" else "c"
    assert [alike[place].checkpoint for place in marks(alike, column)] == [expected]


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("protocol", "another"),
        ("n_generated", 5_000),
        ("n_reference", 5_000),
        ("reference_sha256", "00"),
        ("seed", 1),
        ("extractor", "inception-random"),
        ("weights_sha256", "00"),
    ],
)
def test_rows_of_other_conditions_never_compete(column: str, other: object) -> None:
    scores = score_table(
        score_row("a", fid=30.0),
        score_row("b", fid=20.0),
        score_row("c", fid=1.0, **{column: other}),
        score_row("d", fid=2.0, **{column: other}),
    )
    assert marks(scores, "fid") == [1, 2]  # each pair has its own best


def test_likelihood_families_never_compete_but_distances_do() -> None:
    scores = score_table(
        score_row("a", likelihood="bernoulli", elbo=-100.0, fid=5.0),
        score_row("b", likelihood="gaussian", elbo=900.0, fid=4.0),
    )
    assert marks(scores, "elbo") == []
    assert marks(scores, "fid") == [1]


def test_a_lone_value_is_not_best() -> None:
    assert marks(score_table(score_row("a")), "fid") == []
    lone = score_table(score_row("a", fid=3.0), score_row("b", fid=None))
    assert marks(lone, "fid") == []


def test_ties_share_the_mark_unless_most_rows_tie() -> None:
    tied = [score_row(str(i), fid=value) for i, value in enumerate((1.0, 1.0, 2.0, 3.0))]
    assert marks(score_table(*tied), "fid") == [0, 1]
    zeros = [score_row(str(i), fid=value) for i, value in enumerate((0.0, 0.0, 9.0))]
    assert marks(score_table(*zeros), "fid") == []  # 2 of 3 rows: says nothing


def test_failed_and_infinite_rows_do_not_compete() -> None:
    failed = failed_row("c", None, "broken") | {"fid": 0.1}
    scores = score_table(
        score_row("a", inception_score=2.0),
        score_row("b", inception_score=3.0),
        score_row("d", inception_score=math.inf),
        failed,
    )
    assert marks(scores, "inception_score") == [1]
    assert 3 not in marks(scores, "fid")
    assert [len(group) for group in comparable(scores).values()] == [3]


def test_reason_of_a_spread_is_its_metrics() -> None:
    scores = score_table(
        score_row("a", inception_score_std=None, inception_score_reason="one class only")
    )
    (row,) = scores
    assert why_undefined(row, METRICS["inception_score_std"]) == "one class only"
    assert why_undefined(row, METRICS["fid"]) == "no reason was recorded"


def test_a_failed_row_keeps_its_values_but_competes_for_nothing() -> None:
    failed = score_row("c", 3, status="failed", reason="no samples", elbo=-1.0, fid=None)
    scores = score_table(score_row("a", elbo=-5.0), score_row("b", elbo=-6.0), failed)
    assert marks(scores, "elbo") == [0]
    assert failure_of(scores[2]) == "no samples"
    assert why_undefined(scores[2], METRICS["fid"]) == "no samples"


def test_sigmas_never_compete_unless_each_is_its_checkpoints_best() -> None:
    gaussian = {"likelihood": "gaussian"}
    declared = [
        score_row(name, elbo=elbo, sigma=sigma, sigma_source="declared", **gaussian)
        for name, elbo, sigma in (("a", -1.0, 0.5), ("b", -2.0, 0.5), ("c", 9.0, 1.0))
    ]
    assert marks(score_table(*declared), "elbo") == [0]
    optimal = [row | {"sigma_source": "optimal"} for row in declared]
    assert marks(score_table(*optimal), "elbo") == [2]
