"""The score table as text."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from report.examples import Scores, failed_row, score_row, score_table, two_metrics, with_values
from rich.console import Console

from vae_batch.report.table import terminal_table
from vae_batch.storage.comparison_file import Comparison


def printed(scores: Scores, width: int = 120, **more: Any) -> str:
    console = Console(
        file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True
    )
    console.print(terminal_table(scores, **more))
    return console.file.getvalue()


def cells(scores: Scores, **more: Any) -> list[list[str]]:
    """Words of the rows of the widest table, the checkpoint first."""
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal_table(scores, **more))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("─")) + 1
    return [re.split(r" {2,}", line) for line in lines[first : lines.index("", first)]]


def compared(
    metric: str, checkpoint: str, *, best: bool = False, level: bool = False
) -> Comparison:
    """A comparison, as far as the table reads it."""
    extractor = "inception-2015" if metric in ("fid_corrected", "kid") else None
    return Comparison(
        metric=metric,
        extractor=extractor,
        checkpoint=checkpoint,
        step=None,
        value=0.0,
        n=100,
        is_best=best,
        level_with_best=best or level,
        best="a",
    )


def test_best_values_are_starred(run_scores: Scores) -> None:
    rows = cells(with_values(two_metrics(run_scores), "elbo", -110.0, None, -100.0))
    minus = "\N{MINUS SIGN}"
    assert rows == [["step-1", f"{minus}110", "30"], ["step-3", f"{minus}100*", "20*"]]


def test_values_have_their_standard_errors_and_intervals() -> None:
    scores = score_table(
        score_row("a", fid_corrected=29.5, fid_low=28.25, fid_high=30.75, inception_score_se=0.01),
        score_row("b", fid_corrected=19.5, fid_low=18.25, fid_high=20.75, inception_score_se=0.02),
    )
    first, second = cells(scores)
    # NLL, KL, ELBO, bits/dim, FID, FID corrected, IS; equal values have no best
    assert first == [
        *("a", "90 ± 0.5", "20 ± 0.2", "\N{MINUS SIGN}110 ± 0.6", "0.2000"),
        *("30", "29.50", "[28.25, 30.75]", "2 ± 0.01"),  # two blanks: room for a star
    ]
    assert second[-2:] == ["19.50* [18.25, 20.75]", "2 ± 0.02"]
    text = printed(scores, width=200)
    assert "± one standard error, [ ] 95 % interval" in text


def test_what_cannot_be_told_from_the_best_is_marked() -> None:
    scores = score_table(
        *(
            score_row(name, elbo=elbo, fid_corrected=fid, elbo_se=None)
            for name, elbo, fid in (("a", -100.0, 20.0), ("b", -101.0, 20.5), ("c", -120.0, 30.0))
        )
    )
    comparisons = [
        compared("elbo", "a", best=True),
        compared("elbo", "b", level=True),
        compared("elbo", "c"),
        compared("fid_corrected", "a", best=True),
        compared("fid_corrected", "b"),
        compared("fid_corrected", "c", level=True),
    ]
    rows = cells(scores, comparisons=comparisons)
    minus = "\N{MINUS SIGN}"
    assert [row[3] for row in rows] == [f"{minus}100*", f"{minus}101≈", f"{minus}120"]
    # comparisons of fid are those of the corrected distance
    assert [row[6] for row in rows] == ["20.00*", "20.50", "30.00≈"]
    assert "not distinguishable from the best" in printed(scores, comparisons=comparisons)
    assert "not distinguishable from the best" not in printed(scores)


def test_the_metric_that_was_chosen_by_has_a_column() -> None:
    scores = score_table(score_row("a", kid=0.5), score_row("b", kid=0.25))
    assert "KID" not in printed(scores, width=200)
    for width in (200, 80, 40):
        text = printed(scores, width=width, selected="kid")
        assert "KID" in text
        assert "0.2500*" in text


def test_counts_stand_beside_what_differs_in_them() -> None:
    text = printed(score_table(score_row("a"), score_row("b", n_reference=1_797)))
    assert re.findall(r"n = [\d,]+(?: / [\d,]+)?", text) == ["n = 10,000", "n = 10,000 / 1,797"]


def test_terminal_shows_n_failures_reasons_and_best(run_scores: Scores) -> None:
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


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_a_table_fits_its_terminal_and_cuts_no_number(width: int) -> None:
    names = [f"runs/{'long-name/' * 6}step-{step:04d}" for step in (1, 2)]
    scores = score_table(
        *(
            score_row(
                name,
                elbo=elbo,
                fid=fid,
                fid_corrected=fid,
                fid_low=fid - 1,
                fid_high=fid + 1,
                inception_score_se=0.01,
            )
            for name, elbo, fid in zip(names, (-110.12, -100.46), (30.25, 20.75), strict=True)
        ),
        failed_row("runs/other", 3, "out of memory"),
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(scores, selected="fid_corrected"))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "…" not in text
    assert "\x1b" not in text
    for value in ("\N{MINUS SIGN}110.1", "\N{MINUS SIGN}100.5*", "30.25", "20.75*"):
        assert value in text


def test_columns_go_in_their_order_and_are_named() -> None:
    scores = score_table(
        score_row("a", fid_corrected=29.5, fid_low=28.25, fid_high=30.75, inception_score_se=0.01)
    )
    shown = {}
    for width in (140, 100, 80, 60, 40):
        console = Console(file=io.StringIO(), width=width)
        console.print(terminal_table(scores))
        text = console.file.getvalue()
        heading = next(line for line in text.splitlines() if "Checkpoint" in line)
        names = ("NLL", "KL", "ELBO", "bits/dim", "FID corrected", "IS")
        shown[width] = [name for name in names if name in heading]
        left_out = [name for name in names if name not in heading]
        assert all(name in text.split("no room for")[-1] for name in left_out)
    assert shown[140] == ["NLL", "KL", "ELBO", "bits/dim", "FID corrected", "IS"]
    assert shown[60] == ["NLL", "ELBO", "FID corrected"]
    assert shown[40] == ["ELBO", "FID corrected"]


def test_null_has_a_dash_and_its_reason_once() -> None:
    why = "needs at least 2 images, found 1"
    scores = score_table(
        score_row("a", fid=None, fid_reason=why),
        score_row("b", fid=None, fid_reason=why),
        score_row("c", fid=3.0),
    )
    text = printed(scores)
    assert text.count("-¹") == 2
    assert text.count(why) == 1
    assert "¹ Fréchet distance: needs at least 2 images, found 1" in text


def test_a_column_without_any_value_is_a_sentence() -> None:
    why = {f"{name}_reason": "it has no encoder" for name in ("elbo", "kl")}
    scores = score_table(
        score_row("a", elbo=None, kl=None, **why), score_row("b", elbo=None, kl=None, **why)
    )
    text = printed(scores, width=140)
    assert "no KL, ELBO: it has no encoder" in text
    assert "ELBO ↑" not in text


def test_reasons_of_columns_without_room_are_left_out() -> None:
    scores = score_table(
        score_row("a", bits_per_dim=None, bits_per_dim_reason="no pixels"), score_row("b")
    )
    assert "no pixels" in printed(scores, width=200)
    assert "no pixels" not in printed(scores, width=50)


def test_warning_is_a_footnote_of_its_value() -> None:
    text = printed(score_table(score_row("a", fid=30.5, fid_warning="bias-dominated")))
    assert "30.50¹" in text
    assert "¹ Fréchet distance: bias-dominated" in text


def test_hostile_names_stay_text() -> None:
    name = "[red]x[/red]|`\x1b[2J<b>"
    scores = score_table(score_row(name), failed_row("c", None, "[bold]no[/bold]"))
    text = printed(scores)
    assert "\x1b[2J" not in text
    assert "[red]" in text
    assert "[bold]no[/bold]" in text


def test_empty_table_is_an_empty_table() -> None:
    scores = []
    assert "0 checkpoints" in printed(scores)
