"""The page: self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report.compared_rows import compared_row, selected
from report.examples import (
    Scores,
    colour_gallery,
    failed_row,
    gallery_of,
    grey_gallery,
    score_row,
    score_table,
    two_metrics,
)
from report.page_elements import Elements

from vae_batch.report.comparable_rows import metrics_in
from vae_batch.report.page import render_page
from vae_batch.run.compare.best_checkpoint import Confirmation

HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


def page_of(scores: Scores, galleries: dict | None = None, **provenance: object) -> Elements:
    return Elements(render_page(two_metrics(scores), galleries or {}, provenance))


def test_the_page_needs_nothing_beside_it(run_scores: Scores, run_galleries: dict) -> None:
    page = page_of(run_scores, run_galleries, source="https://example.org/x")
    assert not page.of("link")
    assert not page.of("iframe")
    for tag, attributes in page.found:
        for name in ("src", "srcset", "href", "poster", "action", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/png;base64,", "#")), tag
        assert not any(name.startswith("on") for name in attributes)
    style = re.search(
        r"<style>(.*?)</style>", render_page(two_metrics(run_scores), {}, {}), re.S
    ).group(1)
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("kind", ["script", "style"])
def test_policy_allows_the_pages_own_script_and_style_only(
    run_scores: Scores, run_galleries: dict, kind: str
) -> None:
    page = render_page(two_metrics(run_scores), run_galleries, {})
    (source,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    policy = Elements(page).of("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")
    assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Elements(page).found)


def test_hostile_names_and_reasons_are_text() -> None:
    scores = score_table(
        score_row(HOSTILE, 1, fid=None, fid_reason=HOSTILE, extractor=HOSTILE),
        score_row("b", 2, fid_warning=HOSTILE, protocol=HOSTILE, warnings=HOSTILE),
        score_row("c", 3, likelihood=HOSTILE),
        failed_row(HOSTILE + "2", 3, HOSTILE),
    )
    gallery = {**grey_gallery(), "nearest_extractor": np.array(HOSTILE)}
    compared = [compared_row(HOSTILE, 20.0, best=HOSTILE), compared_row("b", 30.0, best=HOSTILE)]
    confirmation = Confirmation("confirmed", HOSTILE, "")
    selection = selected(HOSTILE, sentence=HOSTILE, confirmation=confirmation)
    page = Elements(
        render_page(scores, {HOSTILE: gallery}, {HOSTILE: {"a": HOSTILE}}, compared, selection)
    )
    assert len(page.of("script")) == 1
    assert all("onerror" not in attributes for attributes in page.of("img"))
    assert page.text.count("<script>alert(1)</script>") > 5
    assert "{{ 7*7 }}" in page.text


def test_failures_come_before_warnings_before_scores(run_scores: Scores) -> None:
    limited = replace(run_scores[0].score("fid"), warning="too few images")
    first = replace(run_scores[0], scores={**run_scores[0].scores, "fid": limited})
    scores = [first, *run_scores[1:]]
    text = page_of(scores).text.partition("Definitions")[2]  # behind the links to sections
    failed = text.index("the decoder gave NaN for image 17")
    assert failed < text.index("too few images") < text.index("Scores")


def test_nulls_show_their_reason_and_never_a_number() -> None:
    scores = score_table(
        score_row("a", fid=None, fid_reason="only 1 image"), score_row("b", fid=12.5)
    )
    page = page_of(scores)
    assert "Fréchet distance (inception-2015): undefined. only 1 image" in page.text
    (null, defined) = [a for a in page.of("td") if a.get("data-key") == "e0-fid"]
    assert null["data-tip"] == "only 1 image"
    assert null["data-sort"] == ""  # neither sorted among numbers nor exported as a dash
    assert defined["data-sort"] == "12.5"
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "<NA>" not in page.text


def test_equal_titles_become_one_notice() -> None:
    blurred = [{"kind": "blurred", "severity": "warning", "text": f"{i} of real"} for i in range(3)]
    rows = [score_row(f"s{i}", i, warnings_json=json.dumps([blurred[i % 3]])) for i in range(9)]
    page = page_of(score_table(*rows), {f"s{i}": gallery_of(i) for i in range(9)})
    assert [a["class"] for a in page.of("li") if "class" in a].count("warning") == 1
    assert "Blurred samples: 9 checkpoints. 0 of real and 2 more reasons" in page.text
    assert "0 of real s0 , s3 , s6 1 of real s1 , s4 , s7" in page.text


def two_extractors() -> Scores:
    return score_table(
        score_row("a", 1, fid=30.0, elbo=-100.0),
        score_row("a", 1, fid=300.0, elbo=-100.0, extractor="digits-cnn", protocol="p"),
        score_row("b", 2, fid=20.0, elbo=-90.0),
        score_row("b", 2, fid=200.0, elbo=-90.0, extractor="digits-cnn", protocol="p"),
    )


def test_what_needs_no_extractor_stands_once() -> None:
    page = page_of(two_extractors())
    columns = [a["data-key"] for a in page.of("th") if a.get("scope") == "col" and "data-key" in a]
    assert columns == ["name", "step", "a0-elbo", "e0-fid", "e1-fid"]
    assert "Through training" in page.text
    titles = [a["data-metric"] for a in page.of("strong") if "data-metric" in a]
    assert titles == ["elbo", "fid", "fid"]  # values under two extractors share no scale


def test_best_is_marked_in_words_for_each_extractor() -> None:
    page = page_of(two_extractors())
    best = [a["data-sort"] for a in page.of("td") if a.get("class") == "best"]
    assert best == ["-90.0", "20.0", "200.0"]
    assert page.text.count(" best ") >= 3  # not by colour alone


def test_failure_under_one_extractor_leaves_the_other() -> None:
    failed = failed_row("a", 1, "no probabilities") | {"extractor": "digits-cnn"}
    page = page_of(score_table(score_row("a", 1, fid=30.0), score_row("b", 2), failed))
    assert "no probabilities" in page.text
    assert "2 checkpoints, 2 scored" in page.text


def test_every_number_leads_to_its_definition(run_scores: Scores) -> None:
    page = Elements(render_page(run_scores, {}, {}))
    shown = metrics_in(run_scores)
    defined = {a["id"] for a in page.of("dt") if "id" in a}
    assert defined == {f"metric-{metric.column}" for metric in shown}
    keys = {a["data-key"] for a in page.of("td") if "-" in a.get("data-key", "")}
    named = {a["data-metric"] for _, a in page.found if "data-metric" in a}
    assert {key.partition("-")[2] for key in keys} | named == {m.column for m in shown}
    for metric in shown:
        assert metric.definition in page.text
        assert metric.unit in page.text


def test_headings_name_rows_and_columns(run_scores: Scores) -> None:
    page = page_of(run_scores)
    columns = [a for a in page.of("th") if a.get("scope") == "col" and "data-key" in a]
    assert len(columns) == 2 + 2
    assert sum(a.get("scope") == "row" and "data-key" in a for a in page.of("th")) == 3


def test_every_picture_has_words_and_is_there_at_once(
    run_scores: Scores, run_galleries: dict
) -> None:
    page = page_of(run_scores, run_galleries)
    for image in page.of("img"):
        assert image["alt"]
        assert "loading" not in image  # else it is missing on paper and in captures
        width, height = int(image["width"]), int(image["height"])
        assert width > 0
        assert height > 0
    for drawing in page.of("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-label"]
    assert all(hit["aria-label"] for hit in page.of("rect"))


def test_real_images_are_kept_once(run_scores: Scores, run_galleries: dict) -> None:
    page = page_of(run_scores, run_galleries)
    assert len(page.of("image")) == 1
    assert [a["href"] for a in page.of("use")] == ["#shared-0"] * 2
    assert page.of("image")[0]["id"] == "shared-0"


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_in_the_page_are_not_autoscaled(channels: int) -> None:
    scores = score_table(score_row("a", 1))
    page = page_of(scores, {"a": gallery_of(128, channels=channels)})
    (samples,) = [a for a in page.of("img") if a["alt"].startswith("Samples of a")]
    content = base64.b64decode(samples["src"].partition(",")[2])
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    shown = picture[picture[..., 3] == 255]
    assert len(shown) == 64 * 8 * 8
    assert (shown[:, :3] == 128).all()


def test_curves_say_the_values_at_every_step(run_scores: Scores) -> None:
    page = page_of(run_scores)
    said = [a["aria-label"] for a in page.of("rect")]
    # two curves of three steps, and the plane's two scored points
    assert said[3:6] == [
        "step 1\nFréchet distance: 30",
        "step 2\nfailed",
        "step 3\nFréchet distance: 20",
    ]
    assert len(said) == 6 + 2 * ("kl" in two_metrics(run_scores))


def test_spreads_have_no_curve(run_scores: Scores) -> None:
    page = Elements(render_page(run_scores, {}, {}))
    assert "inception_score_std" not in [a.get("data-metric") for a in page.of("strong")]


def test_every_entry_of_a_gallery_is_shown() -> None:
    page = page_of(score_table(score_row("a", 1)), {"a": colour_gallery()})
    panels = [a["data-key"] for a in page.of("figure") if "data-key" in a]
    assert panels == [
        "samples", "reconstructions", "worst-reconstructions", "nearest-training",
        "duplicates", "interpolation", "traversal", "kl-dimensions",
        "aggregate-posterior", "spectrum",
    ]  # fmt: skip
    assert "#59000" in page.text  # nearest training image
    assert "4 of 16 dimensions in use" in page.text
    bars = [a["aria-label"] for a in page.of("rect") if a["aria-label"].startswith("z[")]
    assert sum("nats" in said for said in bars) == 16
    assert sum("collapsed" in said for said in bars) == 12


def test_checkpoint_without_pictures_is_listed(run_scores: Scores) -> None:
    page = page_of(run_scores, {"runs/a/step-3": gallery_of(1)})
    assert "No pictures. no gallery is stored for this checkpoint step-1" in page.text
    assert [a["data-name"] for a in page.of("details") if "data-name" in a] == [
        "step-1", "step-2", "step-3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (score_table(failed_row("a", 1, "bad file")), "1 checkpoint, 0 scored, 1 failed"),
        (score_table(score_row("a", None)), "1 checkpoint, 1 scored"),
        ([], "The score table has no rows."),
    ],
    ids=["failed only", "one row without step", "no rows"],
)
def test_small_tables_still_make_a_page(scores: Scores, words: str) -> None:
    assert words in page_of(scores).text


def test_provenance_is_one_line_and_all_that_was_recorded(run_scores: Scores) -> None:
    text = page_of(run_scores, spec={"samples": 10, "checkpoints": ["a", "b"]}, out=None).text
    line = text[text.index("Provenance ") : text.index(" The conditions")]
    assert line == (
        "Provenance extractor inception-2015 (weights abababababab) protocol inception-2015/tf1 "
        "n 10,000 generated, 10,000 real reference digits (test) seed 0 likelihood bernoulli "
        "version 1 scored 2026-01-02"
    )
    assert "spec.samples 10 spec.checkpoints a, b out -" in text


def test_provenance_leaves_out_what_stored_features_lack() -> None:
    row = score_row("a.npz", extractor="precomputed", weights_sha256="", likelihood=None)
    text = page_of(score_table(row)).text
    assert "Provenance extractor precomputed protocol" in text
    assert "unknown" not in text


def test_same_input_gives_the_same_page(run_scores: Scores, run_galleries: dict) -> None:
    pages = {render_page(two_metrics(run_scores), run_galleries, {"seed": 0}) for _ in range(2)}
    assert len(pages) == 1
