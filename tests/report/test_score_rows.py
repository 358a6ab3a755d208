"""Which values may be called best, and how nulls are read."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from report.examples import failed_row, score_row, score_table

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.score_rows import best_marks, comparable, metrics_in, read_rows


def marks(scores: pd.DataFrame, column: str) -> list[int]:
    found = best_marks(read_rows(scores), metrics_in(scores))
    return sorted(index for index, marked in found if marked == column)


def test_lower_higher_and_neither() -> None:
    scores = score_table(
        score_row("a", fid=3.0, elbo=-5.0, kl=1.0), score_row("b", fid=2.0, elbo=-6.0, kl=2.0)
    )
    assert marks(scores, "fid") == [1]  # lower is better
    assert marks(scores, "elbo") == [0]  # higher is better
    assert marks(scores, "kl") == []  # neither


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
    assert [len(group) for group in comparable(read_rows(scores)).values()] == [3]


def test_null_kinds_are_one() -> None:
    values = [None, float("nan"), pd.NA]
    rows = [score_row(str(i), seed=0) | {"fid": value} for i, value in enumerate(values)]
    read = read_rows(score_table(*rows))
    assert [row.value("fid") for row in read] == [None, None, None]
    assert len(comparable(read)) == 1


def test_counts_widened_to_float_beside_a_null_still_group() -> None:
    scores = score_table(score_row("a", 1), score_row("b", 2)).astype({"n_generated": "float64"})
    assert read_rows(scores)[0].conditions.n_generated == 10_000
    assert len(comparable(read_rows(scores))) == 1


def test_reason_of_a_spread_is_its_metrics() -> None:
    scores = score_table(
        score_row("a", inception_score_std=None, inception_score_reason="one class only")
    )
    (row,) = read_rows(scores)
    assert row.why_null(METRICS["inception_score_std"]) == "one class only"
    assert row.why_null(METRICS["fid"]) == "no reason was recorded"


def test_missing_column_and_unknown_status_are_named() -> None:
    with pytest.raises(ValueError, match="status"):
        read_rows(pd.DataFrame({"checkpoint": ["a"]}))
    with pytest.raises(ValueError, match="'running'"):
        read_rows(score_table(score_row("a", status="running")))
