"""The page: self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report.examples import failed_row, gallery_of, score_row, score_table, two_metrics

from vae_batch.metrics.catalogue import METRICS
from vae_batch.report.page import render_page

HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
VOID = {"meta", "img", "source", "br", "use", "image"}


class Elements(HTMLParser):
    """Every element with its attributes; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, words: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(words)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(scores: pd.DataFrame, galleries: dict | None = None, **provenance: object) -> Elements:
    return Elements(render_page(two_metrics(scores), galleries or {}, provenance))


def test_the_page_needs_nothing_beside_it(run_scores: pd.DataFrame, run_galleries: dict) -> None:
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


def test_policy_allows_the_pages_own_script_only(run_scores: pd.DataFrame) -> None:
    page = render_page(two_metrics(run_scores), {}, {})
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = Elements(page).of("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_hostile_names_and_reasons_are_text() -> None:
    scores = score_table(
        score_row(HOSTILE, 1, fid=None, fid_reason=HOSTILE, extractor=HOSTILE),
        score_row("b", 2, fid_warning=HOSTILE, protocol=HOSTILE),
        failed_row(HOSTILE + "2", 3, HOSTILE),
    )
    page = page_of(scores, {HOSTILE: gallery_of(5)}, **{HOSTILE: {"a": HOSTILE}})
    assert len(page.of("script")) == 1
    assert all("onerror" not in attributes for attributes in page.of("img"))
    assert page.text.count("<script>alert(1)</script>") > 5
    assert "{{ 7*7 }}" in page.text


def test_failures_come_before_warnings_before_scores(run_scores: pd.DataFrame) -> None:
    scores = run_scores.assign(fid_warning=["too few images", None, None])
    text = page_of(scores).text
    failed = text.index("the decoder gave NaN for image 17")
    assert failed < text.index("too few images") < text.index("Scores")


def test_nulls_show_their_reason_and_never_a_number() -> None:
    scores = score_table(
        score_row("a", fid=None, fid_reason="only 1 image"), score_row("b", fid=12.5)
    )
    page = page_of(scores)
    assert "Fréchet distance (inception-2015): undefined. only 1 image" in page.text
    assert {"title": "only 1 image"} in page.of("abbr")
    cells = [a for a in page.of("td") if "data-sort" in a]
    assert [a["data-sort"] for a in cells].count("12.5") == 1
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "<NA>" not in page.text


def test_equal_reasons_become_one_notice() -> None:
    rows = [score_row(f"s{i}", i, fid_warning="bias-dominated") for i in range(9)]
    page = page_of(score_table(*rows), {f"s{i}": gallery_of(i) for i in range(9)})
    assert [a["class"] for a in page.of("li") if "class" in a].count("warning") == 1
    assert "9 checkpoints" in page.text


def test_best_is_marked_in_words_for_each_protocol() -> None:
    scores = score_table(
        score_row("a", 1, fid=30.0),
        score_row("b", 2, fid=20.0),
        score_row("a", 1, fid=300.0, extractor="digits-cnn", protocol="p"),
        score_row("b", 2, fid=200.0, extractor="digits-cnn", protocol="p"),
    )
    page = page_of(scores)
    assert len(page.of("table")) == 2
    best = [a["data-sort"] for a in page.of("td") if a.get("class") == "best"]
    assert best == ["20.0", "200.0"]
    assert page.text.count(" best ") >= 2  # not by colour alone


def test_table_headings_are_accessible_and_defined(run_scores: pd.DataFrame) -> None:
    page = Elements(render_page(run_scores, {}, {}))
    shown = [m for m in METRICS.values() if m.column in run_scores]
    columns = [a for a in page.of("th") if a.get("scope") == "col"]
    assert len(columns) == 2 + len(shown)
    assert sum(a.get("scope") == "row" for a in page.of("th")) == 3
    targets = {a["id"] for _, a in page.found if "id" in a}
    buttons = [a for a in page.of("button") if "title" in a]
    for metric, button in zip(shown, buttons, strict=True):
        assert metric.definition in button["title"]
        assert metric.unit in button["title"]
        assert button["aria-describedby"] in targets


def test_every_picture_has_words_and_waits(run_scores: pd.DataFrame, run_galleries: dict) -> None:
    page = page_of(run_scores, run_galleries)
    for image in page.of("img"):
        assert image["alt"]
        assert image["loading"] == "lazy"
        width, height = int(image["width"]), int(image["height"])
        assert width > 0
        assert height > 0
    pictures = [a for a in page.of("svg") if a.get("role") == "img"]
    assert all(a["aria-label"] for a in pictures)


def test_real_images_are_kept_once(run_scores: pd.DataFrame, run_galleries: dict) -> None:
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


def test_curves_come_in_light_and_dark(run_scores: pd.DataFrame) -> None:
    page = page_of(run_scores)
    assert len(page.of("picture")) == len(page.of("source")) == 2  # FID and ELBO
    assert all("dark" in source["media"] for source in page.of("source"))


def test_checkpoint_without_pictures_is_listed(run_scores: pd.DataFrame) -> None:
    page = page_of(run_scores, {"runs/a/step-3": gallery_of(1)})
    assert "No pictures. no gallery was stored for this checkpoint runs/a/step-1" in page.text


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (score_table(failed_row("a", 1, "bad file")), "1 checkpoint, 0 scored, 1 failed"),
        (score_table(score_row("a", None)), "1 checkpoint, 1 scored"),
        (score_table(score_row("a")).iloc[:0], "The score table has no rows."),
    ],
    ids=["failed only", "one row without step", "no rows"],
)
def test_small_tables_still_make_a_page(scores: pd.DataFrame, words: str) -> None:
    assert words in page_of(scores).text


def test_provenance_nests_and_ends_the_page(run_scores: pd.DataFrame) -> None:
    text = page_of(run_scores, spec={"samples": 10, "checkpoints": ["a", "b"]}, out=None).text
    end = text[text.index("Provenance") :]
    assert end == "Provenance spec.samples 10 spec.checkpoints a, b out -"


def test_same_input_gives_the_same_page(run_scores: pd.DataFrame, run_galleries: dict) -> None:
    pages = {render_page(two_metrics(run_scores), run_galleries, {"seed": 0}) for _ in range(2)}
    assert len(pages) == 1


def test_fifty_checkpoints_stay_one_page_of_moderate_size() -> None:
    rng = np.random.default_rng(0)
    gallery = {name: value.copy() for name, value in gallery_of(1, side=32, channels=3).items()}
    for name in ("samples", "reconstructions", "interpolation", "traversal"):
        gallery[name] = rng.integers(0, 256, gallery[name].shape, dtype=np.uint8)
    scores = score_table(*(score_row(f"s{i}", i) for i in range(50)))
    page = render_page(two_metrics(scores), {f"s{i}": gallery for i in range(50)}, {})
    # noise does not compress: 5 million pixels of 3 bytes, 4/3 for base64, is the worst case
    assert len(page) < 25e6
    assert page.count('class="card checkpoint"') == 50
    assert len(re.findall(r'id="checkpoint-\d+" open', page)) == 1
