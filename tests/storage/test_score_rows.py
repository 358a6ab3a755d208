from __future__ import annotations

import pickle

import pytest
from support.stores.score_rows import score_row

from vae_batch.metrics import METRICS
from vae_batch.storage import Reason, RowWarning, Score, ScoreRow
from vae_batch.storage.score_rows import Conditions, Provenance
from vae_batch.storage.score_schema import SCHEMA

ROW = ScoreRow(
    checkpoint="runs/a",
    step=None,
    status="failed",
    conditions=Conditions(
        extractor="e",
        weights_sha256="w",
        protocol="p",
        n_generated=10,
        n_reference=20,
        reference="mnist",
        reference_split="test",
        reference_sha256="r",
        checkpoint_sha256="c",
        seed=3,
        sigma=0.1,
        sigma_source="optimal",
    ),
    provenance=Provenance("f", "2026-08-02T03:00:00+00:00", "0.2.0", "cpu"),
    scores={
        "elbo": Score(-80.25, 0.125),
        "fid": Score(3.0, warning="bias-dominated: compare at equal n only"),
        "kid": Score(reason=Reason("unexpected", "KeyError: 'x' | y")),
    },
    warnings=(
        RowWarning("blurred", "warning", "samples are blurred: 0.1 | of real images"),
        RowWarning("posterior_collapse", "severe", "posterior collapse"),
    ),
    reason=Reason("unexpected", "it cannot be scored: KeyError: 'x'"),
    traceback="tracebacks/a-0123.txt",
)


def test_a_row_is_the_same_after_its_record() -> None:
    record = ROW.to_record()
    assert list(record) == SCHEMA.names
    assert ScoreRow.from_record(record) == ROW
    assert pickle.loads(pickle.dumps(ROW)) == ROW


def test_columns_of_a_record() -> None:
    record = ROW.to_record()
    assert (record["elbo"], record["elbo_se"], record["elbo_reason"]) == (-80.25, 0.125, None)
    assert record["fid_warning"] == "bias-dominated: compare at equal n only"
    assert (record["kid"], record["kid_reason"]) == (None, "KeyError: 'x' | y")
    assert record["reason_codes"] == '{"kid": "unexpected"}'
    assert (record["reason"], record["reason_code"]) == (ROW.reason.text, "unexpected")
    assert record["warnings"] == ("samples are blurred: 0.1 | of real images | posterior collapse")
    assert record["reference_sha256"] == "r"
    assert record["feature_dim"] is None


def test_a_metric_that_the_row_says_nothing_of_has_no_value() -> None:
    assert ROW.value("elbo") == -80.25
    assert ROW.value("kid") is None
    assert ROW.score("mse") == Score()
    assert ROW.key == ("runs/a", "e")


def test_scores_without_a_column_are_refused() -> None:
    without_error = next(name for name, metric in METRICS.items() if not metric.standard_error)
    for scores, column in (
        ({"fidd": Score(1.0)}, "fidd"),
        ({without_error: Score(1.0, 0.1)}, f"{without_error}_se"),
        ({"elbo": Score(1.0, warning="no")}, "elbo_warning"),
    ):
        row = ScoreRow("a", 1, "scored", ROW.conditions, ROW.provenance, scores)
        with pytest.raises(KeyError, match=column):
            row.to_record()


@pytest.mark.parametrize("column", ["checkpoint", "status", "n_generated", "seed", "version"])
def test_a_record_without_what_every_row_has_is_refused(column: str) -> None:
    with pytest.raises(ValueError, match=f"has no {column} .*every row has one"):
        ScoreRow.from_record(ROW.to_record() | {column: None})


def test_a_row_that_must_be_scored_again_has_no_fingerprint() -> None:
    assert score_row(fingerprint=None).provenance.fingerprint is None
