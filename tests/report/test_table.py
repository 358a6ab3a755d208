"""The score table as text."""

from __future__ import annotations

import io
import re

import pandas as pd
from report.examples import failed_row, score_row, score_table
from rich.console import Console

from vae_batch.report.table import markdown_table, plain_rows, terminal_table


def printed(scores: pd.DataFrame, width: int = 120) -> str:
    console = Console(
        file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True
    )
    console.print(terminal_table(scores))
    return console.file.getvalue()


def test_best_values_are_starred(run_scores: pd.DataFrame) -> None:
    rows = plain_rows(run_scores)
    assert [row["fid"] for row in rows] == ["30", "-", "20*"]
    assert [row["elbo"] for row in rows] == ["\N{MINUS SIGN}110", "-", "\N{MINUS SIGN}100*"]
    assert [row["kl"] for row in rows] == ["20", "-", "20"]  # no direction, no star


def test_counts_stand_in_every_row() -> None:
    scores = score_table(score_row("a"), score_row("b", n_reference=1_797))
    assert [row["n"] for row in plain_rows(scores)] == ["10,000", "10,000 / 1,797"]


def test_terminal_shows_n_failures_reasons_and_best(run_scores: pd.DataFrame) -> None:
    text = printed(run_scores)
    assert "3 checkpoints, 1 failed · in runs/a/ · inception-2015 · n = 10,000" in text
    assert "the decoder gave NaN for image 17" in text
    assert re.search(r"\x1b\[1;32m *20\*", text)  # bold green
    assert re.search(r"\x1b\[31m *failed¹", text)  # red


def test_terminal_separates_what_may_not_be_compared() -> None:
    scores = score_table(score_row("a", seed=0), score_row("a", seed=1))
    text = printed(scores)
    assert text.index("seed 0") < text.index("seed 1")
    assert "*" not in text


def test_terminal_fits_eighty_columns_without_cutting_numbers(run_scores: pd.DataFrame) -> None:
    scores = run_scores.assign(elbo=[-110.123, None, -100.456], fid=[30.25, None, 20.75])
    text = printed(scores, width=80)
    for number in ("\N{MINUS SIGN}110.1", "\N{MINUS SIGN}100.5*", "30.25", "20.75*"):
        assert number in text


def test_null_has_a_dash_and_its_reason_once() -> None:
    why = "needs at least 2 images, found 1"
    scores = score_table(
        score_row("a", fid=None, fid_reason=why), score_row("b", fid=None, fid_reason=why)
    )
    assert [row["fid"] for row in plain_rows(scores)] == ["-¹", "-¹"]
    assert markdown_table(scores).count(why) == 1
    assert "¹ Fréchet distance: needs at least 2 images, found 1" in printed(scores)


def test_warning_is_a_footnote_of_its_value() -> None:
    scores = score_table(score_row("a", fid=30.5, fid_warning="bias-dominated"))
    assert plain_rows(scores)[0]["fid"] == "30.50¹"
    assert "bias-dominated" in markdown_table(scores)


def test_hostile_names_stay_text() -> None:
    name = "[red]x[/red]|`\x1b[2J<b>"
    scores = score_table(score_row(name), failed_row("c", None, "[bold]no[/bold]"))
    text = printed(scores)
    assert "\x1b[2J" not in text
    assert "[red]" in text
    assert "[bold]no[/bold]" in text
    line = markdown_table(scores).splitlines()[2]
    assert "<b>" not in line
    assert "\\|\\`" in line
    # checkpoint, extractor, n and 7 metrics (no clipped_pixels here): 10 cells, 11 bars
    assert line.count("|") - line.count("\\|") == 11


def test_empty_table_is_an_empty_table() -> None:
    scores = score_table(score_row("a")).iloc[:0]
    assert plain_rows(scores) == []
    assert "0 checkpoints" in printed(scores)
