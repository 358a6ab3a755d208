"""The page of a large run: fifty checkpoints under two extractors, ten of them failed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from report.browser import headless_browser, opened
from report.compared_rows import compared_row
from report.examples import colour_gallery, failed_row, score_row, score_table
from report.page_elements import Elements

from vae_batch.report.page import render_page

pytestmark = pytest.mark.slow

_LABELS = [f"runs/beta-vae/step-{step:06d}" for step in range(1000, 51_000, 1000)]
_FAILED = _LABELS[2::5]


@pytest.fixture(scope="module")
def page() -> str:
    """Pictures are noise, which no compression makes smaller: the worst case."""
    draw = np.random.default_rng(0)
    rows, compared, galleries = [], [], {}
    for index, label in enumerate(_LABELS):
        step, distance = 1000 * (index + 1), 20.0 + 3.0 * (49 - index)
        for extractor in ("inception-2015", "digits-cnn"):
            row = score_row(label, step, extractor=extractor, fid=distance, elbo=-distance)
            failed = failed_row(label, step, f"the decoder gave NaN for image {index}")
            rows.append(failed | {"extractor": extractor} if label in _FAILED else row)
        if label not in _FAILED:
            compared.append(compared_row(label, distance, best=_LABELS[-1]))
            drawn = colour_gallery(index).items()
            galleries[label] = {
                name: draw.integers(0, 256, array.shape, np.uint8)
                if array.dtype == np.uint8
                else array
                for name, array in drawn
            }
    return render_page(score_table(*rows), galleries, {"seed": 0}, compared)


def test_it_stays_small(page: str) -> None:
    assert len(page.encode()) < 15e6
    assert page.count('class="card checkpoint"') == 50
    assert "50 checkpoints, 40 scored, 10 failed" in Elements(page).text


def test_it_opens_and_compares(page: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page)
    with headless_browser() as browser:
        began = time.monotonic()
        with opened(browser, file) as found:
            print(f"{len(page) / 1e6:.1f} MB open in {time.monotonic() - began:.2f} s")
            found.page.select_option("#pick-b", index=1)
            assert found.page.locator("#panels .pair figure").count() >= 16
