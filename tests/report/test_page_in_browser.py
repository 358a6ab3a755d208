"""The page of a real run in headless Chromium: it works, says what it shows, and asks for nothing.

The run is small: three toy checkpoints and one broken file, scored in this process.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report.browser import DESKTOP, PHONE, OpenPage, headless_browser, opened
from report.compared_rows import compared_row, selected
from report.examples import gallery_of, score_row, score_table
from support.runs.serial_runs import score, settings_of

from vae_batch.metrics import METRICS
from vae_batch.plan import make_spec
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.page import render_page
from vae_batch.run.compare.best_checkpoint import select_again
from vae_batch.storage import Store, read_comparisons, read_scores

pytestmark = pytest.mark.slow  # a run of its own, and a browser


@pytest.fixture(scope="module")
def out(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with scores, comparisons, pictures and a page."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(toy_folder / "runs", folder / "runs")
    (folder / "runs/step-0004.keras").write_text("no model at all")
    shutil.copy(toy_folder / "classifier.keras", folder / "twin.keras")
    out = folder / "out"
    settings = settings_of(
        [str(folder / "runs")],
        toy_folder / "classifier.keras",
        out,
        extractors=[str(toy_folder / "classifier.keras"), str(folder / "twin.keras")],
        training="train",
        training_samples=100,
        metrics="losses,latents,reconstruction,fid,kid,diagnostics,memorisation",
    )
    score(settings)
    selection = select_again(str(out), make_spec(settings))
    run = replace(FinishedRun.open(str(out)), selection=selection)
    galleries = {label: found for label in run.checkpoints if (found := run.gallery(label))}
    page = render_page(run.rows, galleries, run.record.identity, run.comparisons, selection)
    (out / "report.html").write_text(page)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_browser() as found:
        yield found


@pytest.fixture
def page(browser: Any, out: Path) -> Iterator[OpenPage]:
    with opened(browser, out / "report.html") as found:
        yield found


def test_it_opens_without_complaint_and_says_what_failed(page: OpenPage) -> None:
    assert page.page.title().endswith("(test): 4 evaluated")
    assert "step-0004" in page.texts(".notices > .failed")[0]
    assert page.page.locator(".curves .chart").count() >= 5


def test_headings_sort_and_failures_stay_last(page: OpenPage, out: Path) -> None:
    heading = page.page.locator("table.scores").first.locator("th[data-key$='-elbo'] button")
    cells = page.page.locator("table.scores").first.locator("tbody tr")
    elbos = sorted(read_scores(Store.open(str(out)))["elbo"].dropna().unique())
    for expected, order in ((elbos, "ascending"), (elbos[::-1], "descending")):
        heading.click()
        assert heading.locator("..").get_attribute("aria-sort") == order
        shown = cells.evaluate_all(
            "rows => rows.map(row => row.querySelector('[data-key$=\"-elbo\"]')?.dataset.sort)"
        )
        assert [float(value) for value in shown[:3]] == expected
        assert shown[3] is None


def test_words_filter_rows_and_extractors_and_the_count_is_announced(page: OpenPage) -> None:
    rows = "table.scores >> nth=0 >> tbody tr"
    status = page.page.locator("#rows")
    assert status.get_attribute("role") == "status"
    assert status.inner_text() == "4 of 4 checkpoints"
    page.page.fill("#filter", "failed")
    assert status.inner_text() == "1 of 4 checkpoints"
    assert "step-0004" in page.texts(rows)[0]
    page.page.fill("#filter", "STEP-000")
    assert len(page.texts(rows)) == 4
    groups = "table.scores >> nth=0 >> th[scope='colgroup']"
    assert len(page.texts(groups)) == 3
    twin = page.texts(groups)[-1]
    page.page.fill("#filter", "twin 0001")
    assert page.texts(groups) == ["losses on test images", twin]
    assert status.inner_text() == "1 of 4 checkpoints"


def test_two_checkpoints_stand_side_by_side_with_their_paired_difference(
    page: OpenPage, out: Path
) -> None:
    rows = [each for each in read_comparisons(Store.open(str(out))) if each.metric == "elbo"]
    best = next(each for each in rows if each.is_best)
    other = next(each for each in rows if not each.is_best)
    names = {each.checkpoint: each.checkpoint.rpartition("/")[2] for each in rows}
    for picked, sign in (((best, other), 1), ((other, best), -1)):
        page.page.select_option("#pick-a", label=names[picked[0].checkpoint])
        page.page.select_option("#pick-b", label=names[picked[1].checkpoint])
        line = page.page.locator("#numbers tr", has=page.page.locator("th", has_text="ELBO")).first
        shown = line.locator("td").nth(2).locator(".number").inner_text()
        said = float(shown.replace("\N{MINUS SIGN}", "-"))
        half_a_digit = 0.5 * 10.0 ** -len(shown.partition(".")[2])
        assert said == pytest.approx(sign * other.from_best.value, abs=1.01 * half_a_digit)
    pairs = page.page.locator("#panels .pair")
    assert pairs.count() >= 8
    assert pairs.first.locator("figure").count() == 2
    page.page.select_option("#pick-b", label="step-0004.keras (failed)")
    assert "failed" in page.texts("#panels .absent")[0]


def test_one_checkpoint_is_picked_by_keyboard_and_by_link(page: OpenPage) -> None:
    page.page.focus("#pick-a")
    page.page.keyboard.press("Home")
    assert page.page.locator("#picked").inner_text() == "step-0001"
    page.page.locator("#pick-next").press("Enter")
    assert page.page.locator("#picked").inner_text() == "step-0002"
    page.page.locator("table.scores >> nth=0 >> a", has_text="step-0003").click()
    assert page.page.locator("#picked").inner_text() == "step-0003.keras"
    assert page.page.url.endswith("#checkpoint-3")
    pictures = page.page.locator("#panels img")
    assert pictures.count() >= 5
    widths = pictures.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert all(width > 0 for width in widths)


def test_every_number_of_a_table_says_what_it_is(page: OpenPage) -> None:
    select = page.page.get_by_label("Show", exact=True)
    for table in range(select.locator("option").count()):
        select.select_option(index=table)
        shown = page.page.locator("table.scores").nth(table)
        for cell in shown.locator("tbody tr").first.locator("td[data-stop]").all():
            cell.hover()
            metric = METRICS[cell.get_attribute("data-key").partition("-")[2]]
            words = page.tooltip()
            assert metric.definition in words
            assert metric.title in words
            assert (metric.unit or "no unit") in words


def test_charts_and_rankings_answer_a_pointer(page: OpenPage) -> None:
    for place in (
        ".curves .chart >> nth=0 >> .hit >> nth=1",
        ".plane .hit",
        "#panels .kl-dimensions .hit",
    ):
        page.page.locator(place).first.hover(force=True)
        assert page.tooltip()
    assert "nats" in page.tooltip()
    page.page.locator("table.ranking td[data-metric]").first.hover()
    assert "95 % interval" in page.tooltip()


def test_the_keyboard_reaches_every_number(page: OpenPage) -> None:
    keys = page.page.keyboard
    page.page.locator("#filter").focus()
    keys.press("Tab")  # the scrolled region
    keys.press("Tab")  # the table, one stop
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):
        keys.press(key)
    focused = page.page.evaluate("document.activeElement.dataset.key")
    assert "-" in focused
    assert METRICS[focused.partition("-")[2]].definition in page.tooltip()
    assert (
        page.page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tooltip"
    )
    keys.press("Escape")
    assert page.tooltip() == ""


def test_a_finger_reaches_a_number(browser: Any, out: Path) -> None:
    with opened(browser, out / "report.html", PHONE, has_touch=True, is_mobile=True) as page:
        page.page.locator("table.ranking td[data-metric]").first.tap()
        assert "95 % interval" in page.tooltip()
        page.page.locator("h1").tap()
        assert page.tooltip() == ""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_is_found_and_nothing_is_cut_off(
    browser: Any, out: Path, size: tuple[int, int], scheme: str
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs the extra test"
    )
    with opened(browser, out / "report.html", size, scheme) as page:
        page.page.select_option("#pick-b", index=1)
        page.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = axe.Axe().run(page.page).response["violations"]
        told = [(each["id"], [node["target"] for node in each["nodes"]][:5]) for each in found]
        assert told == []


HOSTILE = ("=1+2", "+cmd", "@x", "-d")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints whose names begin as formulas do, with more columns than paper is wide."""
    more = {"kid_se": 0.01, "mse": 0.5, "mae": 0.25, "psnr": -9.5}
    rows = [
        score_row(name, place, fid=20.0 + place, fid_corrected=20.25 + place, kid=0.5 - place / 8,
                  elbo=-100.0 - place, extractor=extractor, **more)
        for place, name in enumerate(HOSTILE)
        for extractor in ("inception-2015", "zz-cnn")
    ]  # fmt: skip
    rows[-1]["inception_score"] = 8.765  # the last column of the last row
    best = HOSTILE[0]
    compared = [
        compared_row(name, 20.0 + 0.5 * place, best=best, extractor="inception-2015")
        for place, name in enumerate(HOSTILE)
    ]
    galleries = {name: gallery_of(40 * place) for place, name in enumerate(HOSTILE)}
    chosen = selected(best, second=HOSTILE[1])
    figures = ["ranking-fid_corrected-inception-2015.png", "curves-elbo.pdf"]
    page = render_page(score_table(*rows), galleries, {}, compared, chosen, None, figures)
    file = tmp_path_factory.mktemp("synthetic") / "report.html"
    file.write_text(page)
    return file


def first_column(page: OpenPage, table: str) -> list[str]:
    return [text.split("\n")[0].removesuffix(" best") for text in page.texts(f"{table} tbody th")]


def test_a_ranking_sorts_by_keyboard_and_says_so(browser: Any, synthetic: Path) -> None:
    with opened(browser, synthetic) as page:
        table = "table.ranking >> nth=0 >> "
        heads = page.page.locator(f"{table}thead th")
        assert heads.nth(1).get_attribute("aria-sort") == "ascending"
        in_order = first_column(page, table.removesuffix(">> "))
        button = heads.nth(2).locator("button")
        button.focus()
        for expected, order in ((in_order, "ascending"), (in_order[::-1], "descending")):
            page.page.keyboard.press("Enter")
            assert heads.nth(2).get_attribute("aria-sort") == order
            assert heads.nth(1).get_attribute("aria-sort") is None
            assert first_column(page, table.removesuffix(">> ")) == expected


def test_tables_become_csv_without_formulas(browser: Any, synthetic: Path) -> None:
    allowed = ["clipboard-read", "clipboard-write"]
    with opened(browser, synthetic, permissions=allowed) as page:
        for number, table in enumerate(page.page.locator("table").all()):
            card = table.locator(
                "xpath=ancestor::*[contains(@class,'scroll')]/following-sibling::p[1]"
            )
            assert card.locator("button").count() == 2, number
        tools = page.page.locator("table.scores >> nth=0").locator(
            "xpath=../following-sibling::p[1]"
        )
        with page.page.expect_download() as download:
            tools.locator("button", has_text="Download CSV").click()
        assert download.value.suggested_filename == "scores-of-all-checkpoints-headlines.csv"
        content = Path(download.value.path()).read_text(encoding="utf-8-sig")
        tools.locator("button", has_text="Copy CSV").click()
        page.page.wait_for_function("document.querySelector('.told').textContent || true")
        assert tools.inner_text().split("\n")[-1].endswith("Copied")
        copied = page.page.evaluate("navigator.clipboard.readText()")
        assert copied.replace("\r\n", "\n") == content.replace("\r\n", "\n")
        lines = list(csv.DictReader(content.splitlines()))
        assert [line["Checkpoint"] for line in lines] == ["'=1+2", "'+cmd", "'@x", "'-d"]
        elbos = [float(line["ELBO [nats/image]"]) for line in lines]
        assert elbos == [-100.0, -101.0, -102.0, -103.0]
        assert [float(line["ELBO [nats/image]: standard error"]) for line in lines] == [0.6] * 4
        assert float(lines[3]["Fréchet distance (zz-cnn)"]) == 23.0


def test_columns_that_matter_fit_and_the_others_come_on_request(
    browser: Any, synthetic: Path
) -> None:
    with opened(browser, synthetic, PHONE) as page:
        table = page.page.locator("table.scores").first
        heads = table.locator("thead th[data-metric], thead button[data-metric]")
        wider = "box => box.scrollWidth - box.clientWidth"
        box, choice = page.page.locator(".scroll.tall").first, page.page.locator("#wide")
        shown = [head.get_attribute("data-metric") for head in heads.all() if head.is_visible()]
        assert 0 < len(shown) < heads.count()
        assert shown[0] == "fid", "for the corrected one, which the best was selected by"
        assert box.evaluate(wider) == 0
        assert choice.inner_text() == f"All columns ({heads.count() - len(shown)} more)"
        cells = table.locator("tbody tr").first.locator("td:visible, th:visible")
        assert cells.count() == len(shown) + 2  # name and step
        choice.locator("input").check()
        assert all(head.is_visible() for head in heads.all())
        assert box.evaluate(wider) > 0
        choice.locator("input").uncheck()
        assert box.evaluate(wider) == 0


def test_a_chart_is_enlarged_and_its_files_are_linked(browser: Any, synthetic: Path) -> None:
    with opened(browser, synthetic) as page:
        figure = page.page.locator(".curves figure", has_text="ELBO").first
        small = figure.locator(".chart").bounding_box()["width"]
        assert figure.locator("a").get_attribute("href") == "figures/curves-elbo.pdf"
        figure.locator("[data-enlarge]").focus()
        page.page.keyboard.press("Enter")
        shown = page.page.locator("dialog[open] .chart")
        assert shown.bounding_box()["width"] > 1.5 * small
        shown.locator(".hit").first.hover(force=True)
        assert "ELBO" in page.tooltip()
        page.page.keyboard.press("Escape")
        assert not shown.is_visible()
        links = [each.get_attribute("href") for each in page.page.locator("a[download]").all()]
        assert sorted(links) == [
            "figures/curves-elbo.pdf",
            "figures/ranking-fid_corrected-inception-2015.png",
        ]


def test_paper_has_every_row_every_column_and_the_pictures(browser: Any, synthetic: Path) -> None:
    pypdf = pytest.importorskip("pypdf", reason="needs the extra test")
    with opened(browser, synthetic) as page:
        heads = page.page.locator("table.scores thead th[data-csv] button")
        titles = {text.split("\u00a0")[0] for text in heads.all_text_contents()}
        pictures = page.page.locator("#panels img").count()
        content = page.page.pdf(format="A4")
        assert page.page.locator("table.part").count() == 0  # the screen is as before
        assert page.page.locator("#scores ~ * details:not([open])").count() > 1
    pdf = pypdf.PdfReader(io.BytesIO(content))
    text = " ".join(" ".join(sheet.extract_text() for sheet in pdf.pages).split())
    assert text.count("=1+2") > 5  # the best checkpoint
    assert "Peak signal-to-noise ratio" in titles
    squeezed = text.replace(" ", "")
    for title in titles:
        assert title.replace(" ", "") in squeezed, title
    assert "8.765" in text
    assert "\N{MINUS SIGN}103" in text
    assert "What the numbers mean" in text
    assert "Heusel et al. 2017" in text  # in a detail that was closed
    images = sum(len(sheet.images) for sheet in pdf.pages)
    assert images >= pictures + 3  # with the verdict's, the film strip and the real images


def test_without_script_everything_is_there(browser: Any, out: Path) -> None:
    with opened(browser, out / "report.html", java_script_enabled=False) as page:
        assert len(page.texts("details.checkpoint > summary")) == 4
        assert len(page.texts("table.scores >> nth=0 >> tbody tr")) == 4
        assert not page.page.locator("#picker").is_visible()
