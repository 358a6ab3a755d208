"""A night's summary: what is wrong comes first, nothing is hidden, no label becomes markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from support.runs.nightly_rows import MONDAY, TUESDAY, entry, night_row

from vae_batch.nightly.comparisons import Entry, compare_new
from vae_batch.nightly.history import HistoryRow
from vae_batch.nightly.night_plan import Unfinished
from vae_batch.nightly.regression import exit_code_of, judge, newest_of_each, with_verdicts
from vae_batch.nightly.summary import (
    NightSummary,
    markdown_summary,
    plain,
    read_summary,
    write_summary,
)
from vae_batch.storage import Store

OLD = {"elbo": [10.0, 20, 30, 40], "mse": [1.0, 2, 3, 4]}
WORSE = {"elbo": [9.0, 18, 29, 38], "mse": [2.0, 4, 4, 6]}


def summary_of(
    new: Sequence[Entry],
    before: Sequence[Entry],
    tolerance: dict[str, float] | None = None,
    failed: Sequence[HistoryRow] = (),
) -> NightSummary:
    allowed = tolerance or {}
    comparisons = compare_new(new, before, allowed)
    newest = newest_of_each(new)
    judgements = judge(allowed, newest, comparisons, {})
    rows = [*(one.night for one in new), *failed]
    rows = with_verdicts(rows, "elbo", newest, comparisons, judgements)
    return NightSummary(
        date=TUESDAY,
        exit_code=exit_code_of(rows, judgements),
        out="s3://team/vae",
        shown=tuple(dict.fromkeys([*allowed, "elbo"])),
        tolerance=allowed,
        rows=rows,
        judgements=judgements,
        comparisons=comparisons,
        left=(),
        given_up=(),
        selection=None,
        apart=None,
        shards_computed=24,
        shards_before=8,
        seconds=95.2,
        finished_at="2026-08-04T03:00:00+00:00",
    )


def failure(checkpoint: str, reason: str) -> HistoryRow:
    return night_row(checkpoint, TUESDAY, status="failed", reason=reason)


def test_a_regression_is_said_first_with_its_doubt_and_its_tolerance() -> None:
    night = summary_of(
        [entry("a/step-2", TUESDAY, WORSE)],
        [entry("a/step-1", MONDAY, OLD)],
        {"elbo": 0.5},
        [failure("a/step-3", "is truncated")],
    )
    page = markdown_summary(night)
    assert page.startswith(
        "# Night of 2026-08-04: regression by ELBO; 1 new checkpoint scored; 1 failed\n"
    )
    assert (
        "- a/step-2 is worse than a/step-1 by 1.5 in ELBO (at least 0.8206 with 95 % confidence; "
        "tolerance 0.5): 23.5 against 25\n"
    ) in page
    assert "## Failed\n\n- a/step-3: is truncated\n" in page
    assert (
        "| a/step-2 | 23.5 | best before: a/step-1 | -1.5 [-2.419, -0.5813] | 0.014 | worse |"
        in page
    )
    assert page.index("## Regressions") < page.index("## Failed") < page.index("## ELBO")
    assert (
        "Exit code 4: a regression beyond the tolerance; some checkpoints failed as well." in page
    )


def test_without_a_tolerance_nothing_regresses_but_what_is_worse_is_said() -> None:
    night = summary_of([entry("a/step-2", TUESDAY, WORSE)], [entry("a/step-1", MONDAY, OLD)])
    page = markdown_summary(night)
    assert night.exit_code == 0
    assert "No tolerance is declared, so nothing counts as a regression." in page
    worse = page[page.index("## Worse than the best before") :]
    assert "- a/step-2: ELBO -1.5 [-2.419, -0.5813] from a/step-1, MSE +1.5 [" in worse


def test_a_plain_difference_is_called_one() -> None:
    night = summary_of(
        [entry("a/step-2", TUESDAY, recall=0.5)],
        [entry("a/step-1", MONDAY, recall=0.75)],
        {"recall": 0.1},
    )
    page = markdown_summary(night)
    assert "by 0.25 in recall by e (plain difference, this metric has no paired interval;" in page
    assert "| -0.25 (not paired) |  | untested |" in page


def test_a_first_night_has_values_and_nothing_before() -> None:
    page = markdown_summary(summary_of([entry("a/step-1", TUESDAY, OLD)], [], {"elbo": 1.0}))
    assert "| a/step-1 | 25 | nothing before |" in page
    assert "a/step-1 by ELBO: nothing was scored before it under the same conditions" in page


def test_an_idle_night_says_so_and_names_what_was_left() -> None:
    night = replace(
        summary_of([], []),
        left=(Unfinished("a/step-9", "changed 5 s before"),),
        given_up=(failure("a/bad", "is a pickle").row,),
    )
    page = markdown_summary(night)
    assert page.startswith("# Night of 2026-08-04: nothing new; 1 left for the next night\n")
    assert "## Left for the next night\n\n- a/step-9: changed 5 s before\n" in page
    assert "- a/bad: is a pickle\n" in page
    assert page.endswith("Exit code 0: nothing wrong. Finished 2026-08-04T03:00:00+00:00.\n")


def test_a_past_in_another_folder_and_an_overwritten_file_are_said_to_be_so() -> None:
    other = summary_of([entry("b/step-1", TUESDAY, WORSE)], [entry("a/step-1", MONDAY, OLD)])
    assert "best before: a/step-1 (of another folder)" in markdown_summary(other)
    same = summary_of(
        [entry("a/latest", TUESDAY, WORSE)],
        [entry("a/latest", MONDAY, OLD, checkpoint_sha256="old")],
    )
    assert "best before: its own earlier content" in markdown_summary(same)


def test_no_label_becomes_markup() -> None:
    assert plain("a|b<i>*`\x1b[1m") == "a\\|b\\<i\\>\\*\\`\\\\u{1b}[1m"
    assert "](" not in plain("[click](http://example.org)")
    assert plain("runs/my_run/step_1") == "runs/my_run/step_1"


def test_json_holds_what_the_page_does_and_more(tmp_path: Path) -> None:
    night = summary_of(
        [entry("a/step-2", TUESDAY, WORSE)], [entry("a/step-1", MONDAY, OLD)], {"elbo": 0.5}
    )
    values = night.to_json()
    assert values["date"] == "2026-08-04"
    assert values["headline"] == night.headline
    assert [row["verdict"] for row in values["rows"]] == ["regressed"]
    (judgement,) = values["judgements"]
    assert judgement["comparison"]["worse_by"] == 1.5
    store = Store.open(str(tmp_path))
    assert read_summary(store, TUESDAY) is None
    write_summary(store, TUESDAY, values, "page\n")
    assert read_summary(store, TUESDAY) == (values, "page\n")
    for name in ("latest", "2026-08-04/summary"):
        written = json.loads((tmp_path / f"nightly/{name}.json").read_text())
        assert written.keys() - values.keys() == {"page_sha256", "check"}
        assert {key: written[key] for key in values} == values
        assert (tmp_path / f"nightly/{name}.md").read_text() == "page\n"
