"""The page's verdict and rankings: which checkpoint, by how much, and what speaks against it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest
from report.compared_rows import compared_row, selected, tied_selection
from report.examples import failed_row, gallery_of, score_row, score_table
from report.page_elements import Elements

from vae_batch.report import notices
from vae_batch.report.page import render_page
from vae_batch.run.compare.best_checkpoint import Confirmation, Selection, SelectionStep
from vae_batch.storage.comparison_file import Difference
from vae_batch.storage.score_rows import WarningKind

DULL = '[{"kind": "blurred", "severity": "warning", "text": "very"}]'


def ranked_page(selection: Selection | None, galleries: dict | None = None) -> Elements:
    scores = score_table(
        score_row("a", 1, fid_corrected=20.0, fid_corrected_se=0.25, warnings_json=DULL),
        score_row("b", 2, fid_corrected=20.5, fid_corrected_se=0.25),
        score_row("c", 3, fid_corrected=60.0, fid_corrected_se=0.25),
        failed_row("d", 4, "broken"),
    )
    compared = [
        compared_row("a", 20.0, extractor="inception-2015"),
        compared_row("b", 20.5, extractor="inception-2015", level_with_best=True),
        compared_row("c", 60.0, extractor="inception-2015", from_best_p=1e-9,
                     previous="b", from_previous=39.5, from_previous_low=38.5,
                     from_previous_high=40.5, from_previous_p=1e-9, verdict="worse"),
        compared_row("a", -1.0, metric="elbo", best="c"),
        compared_row("c", -0.5, metric="elbo", best="c"),
    ]  # fmt: skip
    return Elements(render_page(scores, galleries or {}, {}, compared, selection))


def test_ranking_shows_intervals_on_one_scale_and_marks_what_is_level() -> None:
    page = ranked_page(None)
    rows = [a for a in page.of("tr") if "data-checkpoint" in a and "data-words" not in a]
    assert [a.get("class") for a in rows[:3]] == ["best", "level", None]
    # Scores are 20, 20.5 and 60 on one linear scale: half a point is 1/80 of the way.
    dots = [float(a["cx"].removesuffix("%")) for a in page.of("circle")][:3]
    line = float(next(a for a in page.of("line") if a["class"] == "best-line")["x1"][:-1])
    assert dots[0] == line
    assert (dots[1] - dots[0]) / (dots[2] - dots[0]) == pytest.approx(0.5 / 40, abs=1e-3)
    own = next(a for a in page.of("line") if a["class"] == "own")
    width = float(own["x2"][:-1]) - float(own["x1"][:-1])
    assert width / (dots[2] - dots[0]) == pytest.approx(2 * 1.96 * 0.25 / 40, abs=1e-3)
    assert "not distinguishable from the best" in page.text
    assert "1 checkpoint not ranked: failed" in page.text
    assert rows[2]["data-from-previous"] == "39.5 38.5 40.5 1e-09"


def test_verdict_says_what_speaks_for_and_against_it() -> None:
    confirmation = Confirmation("reversed", "not confirmed: on fresh seeds b is better", "")
    page = ranked_page(selected("a", confirmation=confirmation))
    # better than all others; the ELBO prefers c; not confirmed; flagged as dull
    assert grounds_of(page) == ["for", "against", "against", "against"]
    assert "Best of 3 by Fréchet distance, bias-corrected (inception-2015) a 20" in page.text
    assert "Significantly better than every other checkpoint at 5 %" in page.text
    assert "Blurred samples: very." in page.text
    assert page.text.count("Blurred") == 1  # with the checkpoint that it is about, not below
    stale = ranked_page(selected("a", confirmation=replace(confirmation, is_stale=True)))
    assert grounds_of(stale)[2] == "open"
    assert "Stale confirmation, of an earlier selection or earlier scores: not conf" in stale.text


def test_a_tie_has_no_winner() -> None:
    page = ranked_page(tied_selection("a", "b"))
    assert "No single best of 3 by Fréchet distance, bias-corrected (inception-2015)" in page.text
    assert [a.get("class") for a in page.of("p") if a.get("class") in ("winner", "score")] == [
        "winner"
    ]
    assert "About 1,200 images would be needed to separate them by Fréchet distance" in page.text
    # two are level, and what would separate them; the ELBO prefers c; not confirmed; a is dull
    assert grounds_of(page) == ["open", "open", "against", "open", "against"]
    assert "Blurred samples: very (a)." in page.text


def test_the_metric_that_decides_a_tie_is_named() -> None:
    elbo = SelectionStep("elbo", None, "c", -0.5, 100, ("c",))
    page = ranked_page(selected("a", elbo, level=("c",)))
    title = "Best of 3: a tie by Fréchet distance, bias-corrected (inception-2015), decided by ELBO"
    assert f"{title} c \N{MINUS SIGN}0.5 nats/image" in page.text
    assert "2 checkpoints are not distinguishable by Fréchet distance" in page.text
    assert "Significantly better than the others of these by ELBO." in page.text
    # the FID of c is far from the best; not confirmed
    assert grounds_of(page) == ["open", "for", "against", "open"]


def test_the_first_screen_says_which_by_how_much_and_how_sure_once() -> None:
    difference = Difference(0.5, 0.25, 0.01, 0.99, 0.0004)
    chosen = selected("a", second="b", difference=difference, rivals=2, sentence="said: a")
    page = ranked_page(chosen, {"a": gallery_of(7)})
    first = page.text[: page.text.index("Ranked") if "Ranked" in page.text else None]
    assert "VAE checkpoints on digits (test)" in first
    assert "4 checkpoints, 3 scored, 1 failed 10,000 generated against 10,000 real images" in first
    assert "2026-01-02" in first
    # The narrowest interval is 0.98 wide: half of it in two significant digits has two decimals.
    assert "a 20.00 95 % CI [19.51, 20.49]" in first
    margin = "Better by 0.50 than the next, b (95 % CI [0.01, 0.99]; p < 0.001, Holm, 2 comparisons"
    assert first.count(margin) == 1
    assert "said: a" not in page.text
    alts = [a["alt"] for a in page.of("img")]
    assert alts[0] == "Samples of a, above real images"
    legacy = ranked_page(selected("a", second="b", sentence="said: a"))
    assert "Better by 0.50 than the next, b (95 % CI" in legacy.text


def test_warnings_about_other_checkpoints_follow_the_ranking() -> None:
    page = ranked_page(selected("c"))
    text = page.text
    assert "Blurred" not in text[: text.index("not distinguishable from the best")]
    assert text.index("p-values are Holm") < text.index("Other failures") < text.index("Blurred")
    assert text.index("Blurred") < text.index("Scores Filter")


def test_columns_have_one_number_of_decimals_and_none_is_empty() -> None:
    page = ranked_page(selected("a"))
    cells = [a for a in page.of("td") if "data-more" in a]
    assert len(cells) > 6
    assert {
        len(word.partition(".")[2]) for word in re.findall(r"\[-?[\d.]+, ([\d.]+)\]", page.text)
    } == {2}
    scores = score_table(
        score_row("x", None, kl=None), score_row("y", None, kl=None, kl_reason="-")
    )
    heads = Elements(render_page(scores, {}, {})).of("th")
    keys = [a["data-key"] for a in heads if "data-key" in a]
    assert "a0-elbo" in keys
    assert not {"a0-kl", "step"} & {*keys}


def grounds_of(page: Elements) -> list[str]:
    return [a["class"] for a in page.of("li") if a.get("class") in ("for", "against", "open")]


def test_every_kind_of_warning_has_a_title() -> None:
    assert notices._TITLES.keys() == {*get_args(WarningKind)}
