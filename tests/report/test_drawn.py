"""A report is drawn again where what it shows has changed, or one of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.golden_drawing import GOLDEN, golden_drawing

from vae_batch.report.bundle import REPORT_VERSION, is_drawn, note_drawn, sources_digest
from vae_batch.run.output.layout import DRAWN_NOTE
from vae_batch.storage import Store

SOURCES = ("run.json", "scores.parquet", "comparisons.parquet", "selection.json")
FILES = ("figures/curves.png", "figures/film-strip.png", "report.html")


@pytest.fixture
def out(tmp_path: Path) -> Store:
    """A folder with a report that was noted as drawn."""
    store = Store.open(str(tmp_path))
    for path in (*SOURCES, *FILES):
        store.write(path, path.encode())
    note_drawn(store, sources_digest(store), {path: "" for path in FILES})
    return store


def test_what_has_not_changed_is_drawn(out: Store) -> None:
    assert is_drawn(out)
    out.write("scores.parquet", b"scores.parquet")  # the same again
    assert is_drawn(out)


@pytest.mark.parametrize("path", SOURCES)
def test_another_source_asks_for_another_drawing(out: Store, path: str) -> None:
    out.write(path, b"another")
    assert not is_drawn(out)
    out.delete(path)
    assert not is_drawn(out)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_gone_or_cut_short_is_drawn_again(out: Store, path: str) -> None:
    out.write(path, b"cut")
    assert not is_drawn(out)
    out.delete(path)
    assert not is_drawn(out)


def test_another_version_draws_anew(out: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_batch.report.bundle.REPORT_VERSION", REPORT_VERSION + 1)
    assert not is_drawn(out)


def test_a_damaged_note_is_none(out: Store) -> None:
    content = out.read(DRAWN_NOTE)
    for damaged in (b"", b"{}", b"[]", content[:-9], content.replace(b"report", b"repart")):
        out.write(DRAWN_NOTE, damaged)
        assert not is_drawn(out)
    out.delete(DRAWN_NOTE)
    assert not is_drawn(out)


def test_nothing_that_is_drawn_moves_without_the_version() -> None:
    """Of a tiny fixed run; how Matplotlib draws a figure's numbers is left out."""
    golden = json.loads(GOLDEN.read_text())
    assert golden_drawing() == golden, (
        "the page, or the numbers of a figure, changed: raise REPORT_VERSION "
        "(vae_batch/report/bundle.py) and run `python -m report.golden_drawing` in tests/"
    )
