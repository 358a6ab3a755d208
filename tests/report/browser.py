"""Pages in headless Chromium, driven by Playwright; skips with a reason where one is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def headless_browser() -> Iterator[Any]:
    """Chromium as it is installed on this machine; Playwright downloads none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra test")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on PATH")
    with playwright.sync_playwright() as driver:
        # The sandbox needs a user other than root; the page is our own file.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class OpenPage:
    """A page in a browser, with all that it complained of and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def tooltip(self) -> str:
        """The tooltip's words, or "" where it is hidden."""
        shown = self.page.locator("#tooltip")
        return shown.inner_text() if shown.is_visible() else ""

    def texts(self, selector: str) -> list[str]:
        """Words of every element that is seen."""
        found = self.page.locator(selector).all()
        return [element.inner_text().strip() for element in found if element.is_visible()]


@contextmanager
def opened(
    browser: Any,
    file: Path,
    size: tuple[int, int] = DESKTOP,
    scheme: str = "light",
    **options: Any,
) -> Iterator[OpenPage]:
    """A file open in a window of `size` pixels; it may ask for nothing but itself."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **options
    )
    page = context.new_page()
    seen = OpenPage(page)
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(file.as_uri())
    yield seen
    context.close()
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [file.as_uri()]
