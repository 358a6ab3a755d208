"""New checkpoints against the best and the latest before tonight: which, how far, how sure."""

from __future__ import annotations

import datetime

import pytest
from support.runs.nightly_rows import MONDAY, TUESDAY, WEDNESDAY, entry

from vae_batch.nightly.comparisons import (
    Comparison,
    Entry,
    apart_by_version,
    compare_new,
    latest_of,
    newest_of,
)

Key = tuple[str, str, str]


def compared(new: list[Entry], before: list[Entry], *more: str) -> dict[Key, Comparison]:
    found = compare_new(new, before, more)
    return {(c.checkpoint, c.metric, c.relation): c for c in found}


def test_a_paired_difference_with_its_bounds() -> None:
    """d = -1, -2, -1, -2: mean -1.5, sd 0.57735, se 0.288675; t(3) is 3.18245 two-sided at 95 %
    and 2.35336 one-sided: -1.5 -+ 0.91869, and 1.5 - 0.67936 = 0.82064 worse at least."""
    before = [entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40]})]
    new = [entry("a/step-2", TUESDAY, {"elbo": [9, 18, 29, 38]})]
    found = compared(new, before)["a/step-2", "elbo", "best"]
    assert (found.value, found.other_value, found.difference) == (23.5, 25.0, -1.5)
    assert found.low == pytest.approx(-2.41869, abs=1e-5)
    assert found.high == pytest.approx(-0.58131, abs=1e-5)
    assert (found.worse_by, found.verdict) == (1.5, "worse")
    assert found.worse_by_at_least == pytest.approx(0.82064, abs=1e-5)
    # t = 1.5 / 0.288675 = 5.19615 at 3 degrees of freedom
    assert found.p == pytest.approx(0.013847, abs=1e-5)


def test_where_lower_is_better_higher_is_worse_and_fid_goes_by_the_corrected_column() -> None:
    before = [entry("a/step-1", MONDAY, {"fid_corrected": [9, 9.1, 9, 9.1]})]
    new = [entry("a/step-2", TUESDAY, {"fid_corrected": [12, 12.3, 12, 12.3]})]
    found = compared(new, before)["a/step-2", "fid_corrected", "best"]
    assert found.difference == pytest.approx(3.1)
    assert found.worse_by == pytest.approx(3.1)
    assert found.extractor == "e"
    assert 2.9 < found.worse_by_at_least < 3.1  # type: ignore[operator]


def test_p_values_are_adjusted_over_the_night_by_metric() -> None:
    before = [entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40], "mse": [1, 2, 3, 4]})]
    new = [
        entry("a/step-2", TUESDAY, {"elbo": [9, 18, 29, 38], "mse": [2, 4, 4, 6]}),
        entry("a/step-3", TUESDAY, {"elbo": [9, 21, 29, 41]}),
    ]
    found = compared(new, before)
    # Two comparisons by ELBO, so the smaller p-value is doubled; one by squared error.
    assert found["a/step-2", "elbo", "best"].p == pytest.approx(2 * 0.013847, abs=1e-5)
    assert found["a/step-2", "mse", "best"].p == pytest.approx(0.013847, abs=1e-5)
    assert found["a/step-3", "elbo", "best"].verdict == "level"


def test_best_and_latest_before_are_told_apart() -> None:
    before = [
        entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40]}),
        entry("a/step-2", TUESDAY, {"elbo": [0, 10, 20, 31]}),
        entry("a/step-3", TUESDAY, {"elbo": [1, 10, 20, 30]}),
    ]
    new = [entry("a/step-4", WEDNESDAY, {"elbo": [5, 15, 26, 35]})]
    found = compared(new, before)
    assert found["a/step-4", "elbo", "best"].other == "a/step-1"
    assert found["a/step-4", "elbo", "latest"].other == "a/step-3"
    assert found["a/step-4", "elbo", "best"].verdict == "worse"
    assert found["a/step-4", "elbo", "latest"].verdict == "better"


def test_a_folder_has_its_own_past_and_a_new_folder_that_of_all() -> None:
    before = [
        entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40]}),
        entry("b/step-1", MONDAY, {"elbo": [1, 2, 3, 5]}),
    ]
    new = [
        entry("b/step-2", TUESDAY, {"elbo": [1, 2, 3, 4]}),
        entry("2026-08-04/final", TUESDAY, {"elbo": [3, 5, 3, 4]}),
    ]
    found = compared(new, before)
    known, fresh = (found[e.checkpoint, "elbo", "best"] for e in new)
    assert (known.other, known.within_series) == ("b/step-1", True)
    assert (fresh.other, fresh.within_series) == ("a/step-1", False)


def test_rows_of_other_conditions_are_no_past() -> None:
    images = {"elbo": [10, 20, 30, 40]}
    before = [
        entry("a/step-1", MONDAY, images, likelihood="gaussian", sigma=0.1, sigma_source="declared")
    ]
    new = entry("a/step-2", TUESDAY, images, recall=0.5)
    assert compared([new], before) == {}
    other_weights = entry("a/step-1", MONDAY, images, weights_sha256="w", recall=0.9)
    found = compared([new], [other_weights], "recall")
    assert set(found) == {("a/step-2", "elbo", "best"), ("a/step-2", "elbo", "latest")}


def test_each_checkpoints_own_best_sigma_is_one_setting() -> None:
    own = {"likelihood": "gaussian", "sigma_source": "optimal"}
    before = [entry("a/step-1", MONDAY, {"elbo": [1, 2, 3]}, sigma=0.11, **own)]
    new = [entry("a/step-2", TUESDAY, {"elbo": [1, 2, 4]}, sigma=0.12, **own)]
    assert ("a/step-2", "elbo", "best") in compared(new, before)


def test_a_metric_without_influences_gives_a_plain_difference() -> None:
    before = [entry("a/step-1", MONDAY, recall=0.75)]
    new = [entry("a/step-2", TUESDAY, recall=0.5)]
    found = compared(new, before, "recall")["a/step-2", "recall", "best"]
    assert (found.difference, found.worse_by, found.verdict) == (-0.25, 0.25, "untested")
    assert (found.low, found.high, found.p, found.worse_by_at_least) == (None,) * 4


def test_an_overwritten_checkpoint_whose_files_are_another_s_gives_a_plain_difference() -> None:
    before = [entry("a/latest", MONDAY, elbo=25.0, checkpoint_sha256="old")]
    new = [entry("a/latest", TUESDAY, {"elbo": [9, 18, 29, 38]})]
    found = compared(new, before)["a/latest", "elbo", "best"]
    assert (found.other, found.difference, found.low) == ("a/latest", -1.5, None)


def test_losses_are_compared_once_whatever_the_extractors() -> None:
    images = {"elbo": [1, 2, 3], "fid_corrected": [1, 2, 3]}
    before = [entry("a/step-1", MONDAY, images, extractor=name) for name in "ef"]
    new = [entry("a/step-2", TUESDAY, images, extractor=name) for name in "ef"]
    found = [c for c in compare_new(new, before) if c.relation == "best"]
    assert [(c.metric, c.extractor) for c in found] == [
        ("elbo", None),
        ("fid_corrected", "e"),
        ("fid_corrected", "f"),
    ]


def test_equal_scores_are_level() -> None:
    images = {"elbo": [1, 2, 3]}
    found = compared([entry("a/2", TUESDAY, images)], [entry("a/1", MONDAY, images)])
    assert found["a/2", "elbo", "best"].verdict == "level"


def test_newest_is_the_highest_step_or_the_last_written() -> None:
    def at(hour: int) -> datetime.datetime:
        return datetime.datetime(2026, 8, 3, hour, tzinfo=datetime.UTC)

    def named(name: str, hour: int) -> Entry:
        return entry(name, MONDAY, written_at=at(hour))

    steps = [named("a/step-10", 1), named("a/step-9", 2)]
    assert newest_of(steps).checkpoint == "a/step-10"
    assert newest_of([*steps, named("a/final", 3)]).checkpoint == "a/final"
    assert newest_of([*steps, named("a/init", 0)]).checkpoint == "a/step-9"
    later = entry("a/step-1", TUESDAY)
    assert latest_of([*steps, later]).checkpoint == "a/step-1"


def test_scores_of_another_version_are_not_compared_and_it_is_said() -> None:
    """The same column of another scoring version is another number."""
    before = [entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40]}, scoring_version=1)]
    new = [entry("a/step-2", TUESDAY, {"elbo": [9, 18, 29, 38]}, scoring_version=2)]
    assert compared(new, before) == {}
    said = apart_by_version(new, before)
    assert said is not None
    assert "of scoring version 1, tonight's of 2" in said
    same = [entry("a/step-1", MONDAY, {"elbo": [10, 20, 30, 40]}, scoring_version=2)]
    assert list(compared(new, same))
    assert apart_by_version(new, [*before, *same]) is None
    assert apart_by_version(new, []) is None
