"""What a night works on: new and finished checkpoints, and failed ones a few times over."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.runs.nightly_rows import MONDAY, TUESDAY, WEDNESDAY, scored

from vae_batch.nightly.history import ADOPTED, HistoryRow
from vae_batch.nightly.night_plan import (
    NIGHTS_TO_FAIL,
    Table,
    Tonight,
    adopted_rows,
    choose_rows,
    new_rows,
    refreshed_rows,
    rows_before,
)
from vae_batch.plan import make_spec
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.planning.run_plan import PlannedRow, RunPlan
from vae_batch.run.progress.events import ignore
from vae_batch.storage import ScoreRow, upsert_scores


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Three checkpoints, written a minute and a half ago; nothing scored. Planning loads none."""
    for step in (1, 2, 3):
        path = tmp_path / f"runs/step-{step}.keras"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"checkpoint %d" % step)
        touch(path, ago=90)
    settings = {
        "checkpoints": [str(tmp_path / "runs")],
        "reference": "digits",
        "reference_samples": 20,
        "extractors": ["inception-random"],
        "samples": 20,
        "batch_size": 4,
        "out": str(tmp_path / "out"),
    }
    return prepare(make_spec(settings), ignore)


def touch(path: Path, ago: float) -> None:
    when = time.time() - ago
    os.utime(path, (when, when))


def row_of(row: PlannedRow, **more: Any) -> ScoreRow:
    """The row of the score table that a plan's row would get."""
    fields = {
        "step": row.checkpoint.step,
        "extractor": row.extractor.name,
        "fingerprint": row.fingerprint,
        "checkpoint_sha256": row.checkpoint.sha256,
    }
    return scored(row.checkpoint.label, **{**fields, **more})


def table_of(rows: list[ScoreRow]) -> Table:
    return {row.key: row for row in rows}


def failed(row: PlannedRow, date: datetime.date, **more: Any) -> HistoryRow:
    found = row_of(row, status="failed", reason="broken", **more)
    return HistoryRow(date, found, verdict="failed")


def steps(tonight: Tonight) -> list[int | None]:
    return [r.checkpoint.step for r in tonight.plan.rows if r.key in tonight.attempted]


def choose(plan: RunPlan, history: list[HistoryRow], date: datetime.date = WEDNESDAY) -> Tonight:
    return choose_rows(plan, history, date, time.time())


def test_all_that_is_new_is_attempted(plan: RunPlan) -> None:
    tonight = choose(plan, [])
    assert steps(tonight) == [1, 2, 3]
    assert tonight.plan.rows == plan.rows
    assert tonight.left == ()


def test_what_is_scored_is_not_looked_at_again(plan: RunPlan) -> None:
    rows = [row_of(row) for row in plan.rows[:2]]
    upsert_scores(plan.stores.out, rows)
    tonight = choose(plan, [HistoryRow(MONDAY, row) for row in rows])
    assert steps(tonight) == [3]
    assert set(tonight.states) == {plan.rows[2].checkpoint.label}
    assert len(tonight.plan.rows) == 3, "rows that are scored stay in the plan: it is the table's"


def test_what_is_still_written_is_left_and_named(plan: RunPlan, tmp_path: Path) -> None:
    touch(tmp_path / "runs/step-3.keras", ago=5)
    tonight = choose(plan, [])
    assert steps(tonight) == [1, 2]
    assert [Path(found.checkpoint).name for found in tonight.left] == ["step-3.keras"]
    assert [row.checkpoint.step for row in tonight.plan.rows] == [1, 2], "nor is it recorded"


def test_a_failure_is_tried_again_on_other_nights_but_not_for_ever(plan: RunPlan) -> None:
    broken = plan.rows[0]
    nights = [MONDAY + datetime.timedelta(days=n) for n in range(NIGHTS_TO_FAIL)]
    history = [failed(broken, night) for night in nights]
    after = nights[-1] + datetime.timedelta(days=1)
    assert steps(choose(plan, history[:-1], nights[-1])) == [1, 2, 3]
    given_up = choose(plan, history, after)
    assert steps(given_up) == [2, 3]
    assert given_up.given_up == {broken.key}


def test_a_failure_is_tried_once_a_night(plan: RunPlan) -> None:
    tonight = choose(plan, [failed(plan.rows[0], WEDNESDAY)])
    assert steps(tonight) == [2, 3]
    assert tonight.given_up == frozenset()


def test_another_fingerprint_is_another_chance(plan: RunPlan) -> None:
    """New settings or new content: what failed before says nothing of it."""
    history = [
        failed(plan.rows[0], MONDAY + datetime.timedelta(days=n), fingerprint="before")
        for n in range(9)
    ]
    assert steps(choose(plan, history, datetime.date(2026, 9, 1))) == [1, 2, 3]


def test_news_are_scored_rows_unknown_to_the_history_and_tonights_failures(plan: RunPlan) -> None:
    old, killed, broken = plan.rows
    known = HistoryRow(MONDAY, row_of(old), verdict="first")
    table = table_of([row_of(old), row_of(killed, elbo=-9.0), row_of(broken, status="failed")])
    upsert_scores(plan.stores.out, table.values())
    tonight = choose(plan, [known])
    assert steps(tonight) == [3]
    news = new_rows(table, tonight, [known], TUESDAY)
    assert [(row.row.step, row.row.status, row.date) for row in news] == [
        (2, "scored", TUESDAY),
        (3, "failed", TUESDAY),
    ]
    age = datetime.datetime.now(datetime.UTC) - news[0].written_at
    assert 85 < age.total_seconds() < 600


def test_rows_of_other_specs_in_the_folder_are_no_news(plan: RunPlan) -> None:
    table = table_of([scored("elsewhere/step-1")])
    assert new_rows(table, choose(plan, []), [], TUESDAY) == []


def test_what_was_scored_before_there_were_nights_is_adopted_and_not_judged(plan: RunPlan) -> None:
    rows = [row_of(row, scored_at="2026-07-30T12:00:00+00:00") for row in plan.rows[:2]]
    upsert_scores(plan.stores.out, rows)
    tonight = choose(plan, [])
    adopted = adopted_rows(table_of(rows), tonight)
    july = datetime.date(2026, 7, 30)
    assert [(row.date, row.verdict) for row in adopted] == [(july, ADOPTED)] * 2
    assert new_rows(table_of(rows), tonight, adopted, july) == []
    assert [row.row.step for row in rows_before(adopted, july)] == [1, 2]


def test_a_checkpoint_that_got_more_metrics_keeps_its_night_and_gets_its_numbers(
    plan: RunPlan,
) -> None:
    row = plan.rows[0]
    old = HistoryRow(MONDAY, row_of(row, fingerprint="few", elbo=-9.0), verdict="better")
    table = table_of([row_of(row, elbo=-9.0, kid=0.25)])
    assert new_rows(table, choose(plan, [old]), [old], TUESDAY) == []
    (fresh,) = refreshed_rows(table, [old])
    assert (fresh.date, fresh.verdict, fresh.row.value("kid")) == (MONDAY, "better", 0.25)
    assert fresh.row.provenance.fingerprint == row.fingerprint
    assert refreshed_rows(table, [fresh]) == []
