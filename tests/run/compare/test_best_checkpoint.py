"""Which checkpoint is best: ties are passed on from metric to metric, or named as ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report.compared_rows import selected
from report.examples import score_row, score_table

from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.comparison.paired_difference import PairedScore, count_to_separate
from vae_batch.metrics.comparison.ranking import comparison_table
from vae_batch.plan import make_spec
from vae_batch.run.compare.best_checkpoint import (
    Confirmation,
    confirmation_inputs,
    confirmed,
    read_selection,
    select_best,
    write_selection,
)
from vae_batch.storage import Store
from vae_batch.storage.comparison_file import Comparison, Difference

N = 400

Values = dict[str, dict[str, float]]


def scores_of(metric: str, means: dict[str, float]) -> dict[str, PairedScore]:
    """Scores whose differences have standard errors of about 0.07."""
    rng = np.random.default_rng(len(metric))
    return {
        name: PairedScore.from_values(mean + centred(rng.standard_normal(N)))
        for name, mean in means.items()
    }


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()


def compared(metric: str, means: dict[str, float]) -> list[Comparison]:
    scores = scores_of(metric, means)
    table = comparison_table(scores, METRICS[metric].direction)
    best = next(line.checkpoint for line in table if line.is_best)
    found = []
    for line in table:
        a = line.against_best
        difference = a and Difference(a.difference, a.standard_error, a.low, a.high, line.best_p)
        found.append(
            Comparison(
                metric, None, line.checkpoint, None, line.value, N, line.is_best,
                line.level_with_best, best, difference,
            )
        )  # fmt: skip
    return found


def select(values: Values, **settings: Any) -> Any:
    def among(names: Sequence[str], metric: str, extractor: str | None) -> list[Comparison]:
        assert extractor is None
        means = {name: mean for name, mean in values[metric].items() if name in names}
        return compared(metric, means)

    spec = make_spec({"checkpoints": ["x"], "reference": "digits", **settings})
    comparisons = [row for metric, means in values.items() for row in compared(metric, means)]
    return select_best(comparisons, spec, among)


def test_one_metric_decides_where_it_can() -> None:
    found = select({"kid": {"a": 1.0, "b": 2.0}, "elbo": {"a": -9.0, "b": -1.0}})
    assert (found.best, found.metric, found.value, found.second) == ("a", "kid", 1.0, "b")
    assert len(found.steps) == 1
    assert found.sentence.startswith("best by KID: a, 1, n = 400; next is b, difference from the ")
    assert not found.tied


def test_a_tie_is_decided_by_the_next_metric_that_separates() -> None:
    found = select(
        {"kid": {"a": 1.0, "b": 1.001, "c": 9.0}, "elbo": {"a": -9.0, "b": -1.0, "c": -5.0}}
    )
    assert (found.best, found.second, found.level) == ("b", "a", ("a", "b"))
    assert (found.metric, found.decided_by.metric, found.value) == ("kid", "elbo", -1.0)
    start = (
        "a and b are not distinguishable by KID (n = 400); ELBO decides: b, -1, n = 400; next is a"
    )
    assert found.sentence.startswith(start)


def test_the_best_by_the_next_metric_need_not_be_in_the_group() -> None:
    """By the ELBO c is best, which KID has ruled out; a and b are then compared with each other."""
    values = {"kid": {"a": 1.0, "b": 1.001, "c": 9.0}, "elbo": {"a": -9.0, "b": -5.0, "c": -1.0}}
    found = select(values)
    assert (found.best, found.decided_by.metric) == ("b", "elbo")
    # a less b, which no table holds, as ELBOs are compared with c
    assert (found.second, found.rivals) == ("a", 1)
    assert found.difference.value == pytest.approx(-9.0 - -5.0)
    values["elbo"] |= {"a": -5.0, "b": -5.001}
    assert select(values).best is None


def test_a_group_is_narrowed_metric_by_metric() -> None:
    values = {
        "fid_corrected": {"a": 5.0, "b": 5.0, "c": 5.0, "d": 5.001},
        "kid": {"a": 1.0, "b": 1.001, "c": 1.002, "d": 9.0},
        "elbo": {"a": -9.0, "b": -1.0, "c": -1.001},
        "reconstruction_nll": {"b": 3.0, "c": 2.0},
    }
    found = select(values)
    assert [(step.metric, step.left) for step in found.steps] == [
        ("fid_corrected", ("a", "b", "c", "d")), ("kid", ("a", "b", "c")), ("elbo", ("b", "c")),
        ("reconstruction_nll", ("c",)),
    ]  # fmt: skip
    assert found.best == "c"
    assert (
        "of these, b and c are not distinguishable by ELBO (n = 400); NLL decides: c"
        in found.sentence
    )


def test_a_checkpoint_that_the_next_metric_does_not_know_stays() -> None:
    values = {"kid": {"a": 1.0, "b": 1.001, "c": 1.002}, "elbo": {"a": -9.0, "b": -1.0}}
    found = select(values)
    assert found.tied == ("b", "c")
    assert found.decided_by.metric == "elbo"


def test_a_tie_that_nothing_separates_is_named_with_the_images_it_needs() -> None:
    found = select({"kid": {"a": 1.0, "b": 1.01, "c": 9.0}, "elbo": {"a": -1.0, "b": -1.001}})
    assert (found.best, found.value, found.second) == (None, None, None)
    assert found.tied == ("a", "b")
    (b,) = (row for row in compared("kid", {"a": 1.0, "b": 1.01}) if row.from_best)
    se = b.from_best.standard_error  # the difference is .01
    assert found.images_needed == pytest.approx(N * ((1.96 + 0.8416) * se / 0.01) ** 2, rel=0.1)
    start = (
        "no single best of 3: a and b are not distinguishable by KID (n = 400), nor by ELBO; about "
    )
    assert found.sentence.startswith(start)
    assert f"about {found.images_needed:,} generated images would be needed" in found.sentence


def test_equal_checkpoints_need_no_images() -> None:
    found = select({"elbo": {"a": -1.0, "b": -1.0}})
    assert found.tied == ("a", "b")
    assert found.images_needed is None
    assert "are 0, so no number of images separates them" in found.sentence


def test_the_metric_asked_for_is_first_and_the_others_follow() -> None:
    values = {"kid": {"a": 1.0, "b": 2.0}, "mse": {"a": 3.0, "b": 3.001}}
    found = select(values, select="mse")
    assert (found.metric, found.decided_by.metric, found.best) == ("mse", "kid", "a")


def test_so_many_images_do_separate() -> None:
    """80 % of repeats with the number of images that was asked for find the difference."""
    needed = count_to_separate(0.1, 1.0 / np.sqrt(100), 100, 1, 0.8)
    assert needed == 790  # (1.96 + 0.842)^2 / 0.1^2 = 785, rounded up
    rng = np.random.default_rng(0)
    z = (rng.normal(0.1, 1 / np.sqrt(needed), 4000)) * np.sqrt(needed)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.02)
    assert count_to_separate(0.0, 1.0, 100, 1, 0.8) is None


def test_a_selection_is_read_as_it_was_written(tmp_path: Any) -> None:
    store = Store.open(str(tmp_path))
    confirmation = Confirmation("confirmed", "confirmed on fresh seeds", "digest", is_stale=True)
    for found in (
        select({"kid": {"a": 1.0, "b": 1.01}}),
        replace(select({"kid": {"a": 1.0, "b": 2.0}}), confirmation=confirmation),
    ):
        write_selection(store, found)
        assert read_selection(store) == found


def test_a_set_of_images_is_not_confirmed_by_its_own_images() -> None:
    rows = score_table(score_row("a"), score_row("gan/", generated_subset="all"))
    for best, second in (("a", "gan/"), ("gan/", "a")):
        said = confirmed(selected(best, second=second), (), rows)
        assert said.outcome == "none"
        assert "gan/ cannot be drawn on fresh seeds" in said.text
    assert "gave no comparison" in confirmed(selected("a", second="b"), (), rows).text


def test_a_confirmation_is_of_two_rows_and_one_metric() -> None:
    found = selected("a", second="b")
    rows = score_table(*(score_row(name, fingerprint="1") for name in ("a", "b")))
    same = confirmation_inputs(replace(found, sentence="other words"), rows)
    assert confirmation_inputs(found, rows) == same
    assert confirmation_inputs(replace(found, second="c"), rows) != same
    again = replace(rows[1], provenance=replace(rows[1].provenance, fingerprint="2"))
    assert confirmation_inputs(found, [rows[0], again]) != same
