"""A race on the page and in the table: who stayed is ranked, who left says when."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from report.compared_rows import selected
from report.examples import Scores, score_row, score_table, two_metrics
from rich.console import Console

from vae_batch.plan import InputError
from vae_batch.report.page import render_page
from vae_batch.report.table import terminal_table
from vae_batch.run.race.record import Leaving, RaceOutcome, read_race, write_race
from vae_batch.storage import Store

OUTCOME = RaceOutcome(
    metric="fid_corrected",
    extractor="inception-2015",
    alpha=0.05,
    rare=0.002,
    level=0.005,
    looks=(512, 1024, 10_000),
    left=(
        Leaving("runs/a", 512, "runs/d", 12.5, 1.25, 1e-20),
        Leaving("runs/b", 1024, "runs/d", 3.25, 0.5, 1e-9),
        Leaving("runs/c", 1024, "runs/d", 4.75, 0.5, 1e-12),
    ),
    best="runs/d",
    members=("runs/d",),
    stayed=("runs/d",),
    outside={},
    failed=(),
    images=12_560,
    images_in_full=40_000,
    run_of="print",
)


def scores() -> Scores:
    at = {"n_generated": 1024, "left_race_at": 1024}
    return score_table(
        score_row("runs/a", 1, fid=40.0, n_generated=512, left_race_at=512),
        score_row("runs/b", 2, fid=1.0, **at),
        score_row("runs/c", 3, fid=2.0, **at),
        score_row("runs/d", 4, fid=9.0, n_generated=10_000, left_race_at=None),
    )


def table_of(found: Scores) -> list[str]:
    console = Console(width=100, record=True, file=None, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(terminal_table(two_metrics(found)))
    return captured.get().splitlines()


def test_the_sentence_has_all_that_was_decided() -> None:
    # 512 + 2 x 1,024 + 10,000 of 4 x 10,000 are 31.4 %.
    assert OUTCOME.sentence == (
        "race of 4 by FID corrected[inception-2015]: won by runs/d; 3 dropped (1 at 512, 2 at "
        "1,024); 12,560 of 40,000 images (31.4%); the best of all was dropped with a probability "
        "of at most 0.05, if its advantage is carried by at least 0.20% of the images"
    )
    unguarded = dataclasses.replace(OUTCOME, rare=0.0).sentence
    assert unguarded.endswith("0.05, if its advantage is not carried by few images")
    level = dataclasses.replace(OUTCOME, stayed=("d", "e"), members=("d", "e"), best="d")
    assert "d leads; 1 other not distinguishable from it: e" in level.sentence
    behind = dataclasses.replace(level, members=("d",))
    assert "won by d at the last look" in behind.sentence


def test_it_is_read_as_it_was_written_and_damage_is_named(tmp_path: Any) -> None:
    store = Store.open(str(tmp_path))
    assert read_race(store) is None
    write_race(store, OUTCOME)
    assert read_race(store) == OUTCOME
    content = store.read("race.json")
    store.write("race.json", content.replace(b"12560", b"12561"))
    with pytest.raises(InputError, match=r"race.json is damaged .* verify .* --mend"):
        read_race(store)


def test_those_that_left_stand_below_under_their_samples_and_win_nothing() -> None:
    lines = table_of(scores())
    places = {
        name: next(i for i, line in enumerate(lines) if line.strip().startswith(name))
        for name in "abcd"
    }
    assert places["d"] < places["b"] < places["c"] < places["a"]
    headings = [i for i, line in enumerate(lines) if "dropped from the race at n = 1,024" in line]
    assert places["d"] < headings[0] < places["b"]
    # 1.0 is the lowest FID of two rows at 1,024, and no result.
    assert not any("1.0*" in line for line in lines)


def test_the_page_tells_who_left_when_and_by_how_much() -> None:
    selection = selected("runs/d", compared=1)
    page = render_page(two_metrics(scores()), {}, {}, (), selection, OUTCOME)
    assert "Race by Fréchet distance, bias-corrected (inception-2015): 3 dropped" in page
    assert (
        "3 were dropped from the race; the probability that the best of all was among them" in page
    )
    assert "at most 0.05, if its advantage is carried by at least 0.20% of the images." in page
    assert page.index("+4.75") < page.index("+3.25") < page.index("+12.5")
    assert "after 512, 1,024, 10,000 samples" in page
    assert "Best of 4 by" in page
    assert page.count("dropped from the race at 1,024</span>") >= 2
    without = render_page(two_metrics(scores()), {}, {}, (), selection)
    assert "Race by" not in without
