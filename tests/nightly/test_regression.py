"""What counts as a regression: the newest, beyond the tolerance, beyond doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.runs.nightly_rows import MONDAY, TUESDAY, entry, night_row, scored

from vae_batch.nightly.comparisons import Entry, compare_new
from vae_batch.nightly.regression import (
    Judgement,
    exit_code_of,
    judge,
    judged_by,
    newest_of_each,
    require_tolerances,
    with_verdicts,
)
from vae_batch.plan import EvaluationSpec, InputError, make_spec

OLD = {"elbo": [10.0, 20, 30, 40]}

#: Worse by 1.5, and by 0.82064 at least (see test_comparisons).
WORSE = {"elbo": [9.0, 18, 29, 38]}


def judged(
    new: Sequence[Entry],
    before: Sequence[Entry],
    reasons: dict[Any, Any] | None = None,
    **tolerance: float,
) -> list[Judgement]:
    found = compare_new(new, before, tolerance)
    return judge(tolerance, newest_of_each(new), found, reasons or {})


@pytest.mark.parametrize(
    ("tolerance", "status"),
    [
        (0.82, "regressed"),
        (0.83, "tolerated"),
        (1.4, "tolerated"),
        (2.0, "tolerated"),
        (0, "regressed"),
    ],
)
def test_the_lower_end_of_the_deterioration_must_pass_the_tolerance(
    tolerance: float, status: str
) -> None:
    new = [entry("a/step-2", TUESDAY, WORSE)]
    (found,) = judged(new, [entry("a/step-1", MONDAY, OLD)], elbo=tolerance)
    assert found.status == status


def test_better_is_never_a_regression() -> None:
    new = [entry("a/step-2", TUESDAY, OLD)]
    (found,) = judged(new, [entry("a/step-1", MONDAY, WORSE)], elbo=0.0)
    assert found.status == "tolerated"


def test_only_the_newest_of_a_folder_is_judged() -> None:
    before = [entry("a/step-1", MONDAY, OLD)]
    new = [entry("a/step-2", TUESDAY, WORSE), entry("a/step-3", TUESDAY, OLD)]
    (found,) = judged(new, before, elbo=0.1)
    assert (found.checkpoint, found.status) == ("a/step-3", "tolerated")
    assert exit_code_of([e.night for e in new], [found]) == 0


def test_every_folder_is_judged() -> None:
    before = [entry("a/step-1", MONDAY, OLD), entry("b/step-1", MONDAY, OLD)]
    new = [entry("a/step-2", TUESDAY, OLD), entry("b/step-2", TUESDAY, WORSE)]
    found = judged(new, before, elbo=0.1)
    assert [(j.checkpoint, j.status) for j in found] == [
        ("a/step-2", "tolerated"),
        ("b/step-2", "regressed"),
    ]


def test_without_a_paired_interval_the_plain_difference_decides() -> None:
    before = [entry("a/step-1", MONDAY, recall=0.75)]
    new = [entry("a/step-2", TUESDAY, recall=0.5)]
    (wide,), (narrow,) = judged(new, before, recall=0.25), judged(new, before, recall=0.2)
    assert (wide.status, narrow.status) == ("tolerated", "regressed")
    assert narrow.comparison is not None
    assert narrow.comparison.worse_by_at_least is None


def test_an_undefined_number_is_not_judged_and_says_why() -> None:
    before = [entry("a/step-1", MONDAY, {"fid_corrected": [1, 2, 3]})]
    new = [entry("a/step-2", TUESDAY)]
    row = scored("a/step-2", fid_corrected_reason="too few images")
    (found,) = judged(new, before, {("a/step-2", "e"): row}, fid_corrected=1.0)
    assert (found.status, found.why) == ("not judged", "it is undefined: too few images")
    assert exit_code_of([e.night for e in new], [found]) == 0


def test_a_first_checkpoint_of_its_conditions_is_not_judged() -> None:
    (found,) = judged([entry("a/step-2", TUESDAY, OLD)], [], elbo=1.0)
    assert (found.status, found.comparison) == ("not judged", None)
    assert "nothing was scored before it" in str(found.why)


def test_one_extractor_may_regress_alone() -> None:
    before = [
        entry("a/step-1", MONDAY, {"fid_corrected": [1, 2, 3]}, extractor=name) for name in "ef"
    ]
    new = [
        entry("a/step-2", TUESDAY, {"fid_corrected": [1, 2, 3]}, extractor="e"),
        entry("a/step-2", TUESDAY, {"fid_corrected": [9, 10, 11]}, extractor="f"),
    ]
    found = judged(new, before, fid_corrected=1.0)
    assert [(j.extractor, j.status) for j in found] == [("e", "tolerated"), ("f", "regressed")]
    rows = with_verdicts(
        [e.night for e in new], "fid_corrected", new, compare_new(new, before), found
    )
    assert [(row.verdict, row.regressions) for row in rows] == [
        ("level", ()),
        ("regressed", ("fid_corrected",)),
    ]


def test_a_regression_goes_before_a_failure_and_a_failure_before_nothing() -> None:
    new = [entry("a/step-2", TUESDAY, WORSE)]
    found = judged(new, [entry("a/step-1", MONDAY, OLD)], elbo=0.1)
    failed = night_row("a/step-3", TUESDAY, status="failed")
    assert exit_code_of([new[0].night, failed], found) == 4
    assert exit_code_of([new[0].night, failed], []) == 3
    assert exit_code_of([new[0].night], []) == 0


def test_verdicts_of_first_failed_and_worse_rows() -> None:
    before = [entry("a/step-1", MONDAY, OLD)]
    new = [entry("a/step-2", TUESDAY, WORSE), entry("b/step-1", TUESDAY, kid=0.1)]
    failed = night_row("a/step-3", TUESDAY, status="failed")
    found = compare_new(new, before)
    rows = with_verdicts([*(e.night for e in new), failed], "elbo", newest_of_each(new), found, [])
    assert [(r.verdict, r.is_newest, r.best_before and r.best_before.other) for r in rows] == [
        ("worse", True, "a/step-1"),
        ("first", True, None),
        ("failed", False, None),
    ]
    record = rows[0].to_record()
    assert record["from_best"] == record["from_latest"] == -1.5
    assert record["judged_by"] == "elbo"


def test_the_verdict_goes_by_the_first_usual_metric_that_has_a_value() -> None:
    assert judged_by(None, [night_row("a/1", MONDAY, elbo=1.0, mse=0.1)]) == "elbo"
    assert judged_by(None, [night_row("a/1", MONDAY, kid=0.1, elbo=1.0)]) == "kid"
    assert judged_by(None, []) == "fid_corrected"


def spec(**settings: Any) -> EvaluationSpec:
    return make_spec({"checkpoints": ["runs"], "reference": "digits", **settings})


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        (
            {"fidd": 1.0},
            r"tolerance = .*: fidd is no metric; expected one of .*elbo.*kid",
        ),
        ({"kl": 1.0}, r"tolerance = .*: kl has no better direction; expected one of "),
        ({"fid": 1.0, "fid_corrected": 1.0}, r"fid and fid_corrected are one metric; name it once"),
        ({"iwae": 1.0}, r"iwae is of the group iwae, which metrics leaves out; add it, or name"),
        ({"elbo": -0.5}, r"elbo = -0.5: expected how much worse it may be, .* in nats/image"),
        ({"elbo": float("inf")}, r"elbo = inf: expected"),
    ],
)
def test_a_tolerance_that_cannot_be_applied_is_refused(
    tolerance: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        require_tolerances(spec(tolerance=tolerance, metrics=["losses", "fid", "kid"]))


def test_a_usual_tolerance_is_accepted() -> None:
    require_tolerances(spec(tolerance={"fid_corrected": 1.0, "elbo": 0.5}))
    require_tolerances(spec())
