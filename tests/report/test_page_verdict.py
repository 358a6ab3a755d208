"""The page's verdict and rankings: which checkpoint, by how much, and what speaks against it."""

from __future__ import annotations

import pytest
from report.compared_rows import compared_row
from report.examples import failed_row, score_row, score_table
from report.page_elements import Elements

from vae_batch.report.page import render_page
from vae_batch.run.compare.best_checkpoint import Selection

DULL = '[{"kind": "blurred", "severity": "warning", "text": "very"}]'


def ranked_page(selection: Selection | None) -> Elements:
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
    return Elements(render_page(scores, {}, {}, compared, selection))


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
    sentence, confirmation = "best by FID: a", "not confirmed: on fresh seeds b is better"
    selection = Selection(
        "fid_corrected", "inception-2015", "a", 20.0, ("a", "b"), "b", 3, sentence, confirmation
    )
    page = ranked_page(selection)
    grounds = [a["class"] for a in page.of("li") if a.get("class") in ("for", "against", "open")]
    # not confirmed; b is level; the ELBO prefers c; flagged as dull
    assert grounds == ["against", "open", "against", "against"]
    assert "Best of 3 by Fréchet distance, bias-corrected (inception-2015) a 20" in page.text
    assert "1 other checkpoint is not distinguishable from it at 5 %" in page.text
    assert "Blurred samples: very." in page.text
    assert page.text.index("Blurred") < page.text.index("Best of 3")  # warnings come first
