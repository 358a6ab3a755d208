"""What many checkpoints cost, counted: requests to the store, not seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs.stub_runs import (
    count_requests,
    drive,
    drive_and_compare,
    make_run,
    numbers,
    stub_executor,
)
from support.stores.score_rows import changed

from vae_batch.evaluation import evaluate
from vae_batch.plan import EvaluationSpec
from vae_batch.report.bundle import note_drawn, sources_digest
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.execute.score_run import run
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.run.progress.status import run_status
from vae_batch.storage import Store, read_score_rows, upsert_scores

SHARDS = 6

#: Units of a row that are its own: description, losses, gallery and generated.
OWN_UNITS = 4


@pytest.fixture(params=[2, 5])
def finished(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[EvaluationSpec, int]:
    """A finished run of so many checkpoints."""
    spec = make_run(tmp_path, request.param, SHARDS)
    drive_and_compare(spec)
    return spec, request.param


def lose_table(spec: EvaluationSpec) -> None:
    Store.open(spec.out).delete("scores.parquet")


def test_a_run_with_nothing_to_do_asks_the_same_whatever_its_size(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = finished
    asked = count_requests(monkeypatch)
    compared = drive_and_compare(spec)
    assert compared
    # The record, the table, the images' receipts and the comparisons, some of them more than once.
    assert asked["read"] <= 12
    assert asked["sizes"] <= 2
    assert asked["write"] <= 1  # the record


def test_resuming_reads_two_answers_a_unit(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of a complete unit are not asked for one by one: a listing, and what was gathered."""
    from vae_batch.run.planning.work_queue import WorkQueue

    spec, checkpoints = finished
    lose_table(spec)
    plan = prepare(spec, ignore)
    asked = count_requests(monkeypatch)
    queue = WorkQueue(plan.stores, plan.rows)
    units = OWN_UNITS * checkpoints + 1  # and the reference
    assert queue.count()[0] == queue.count()[1]
    assert asked["sizes"] == units
    # Of each unit one file: what was gathered, or the one receipt of a unit of one shard.
    assert asked["read"] == units
    assert sum(asked.values()) == asked["sizes"] + asked["read"]


def test_lost_rows_are_scored_again_from_what_is_stored(
    finished: tuple[EvaluationSpec, int],
) -> None:
    spec, _ = finished
    before = numbers(spec.out)
    lose_table(spec)
    executor = stub_executor()
    drive(spec, executor)
    assert executor.shards == 0
    assert numbers(spec.out) == before


def test_status_of_scored_rows_looks_at_no_file(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, checkpoints = finished
    asked = count_requests(monkeypatch)
    rows = run_status(spec.out)
    assert {row.status for row in rows} == {"scored"}
    # 6 of generated samples, 4 each of losses and the reference, a description and a gallery.
    assert {(row.done, row.total) for row in rows} == {(16, 16)}
    assert asked == {"read": 2}  # record and table
    lose_table(spec)
    asked.clear()
    rows = run_status(spec.out)
    assert {(row.status, row.done, row.total) for row in rows} == {("running", 16, 16)}
    assert asked["sizes"] == OWN_UNITS * checkpoints + 1


def test_comparing_the_same_rows_reads_two_tables(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, checkpoints = finished
    out = Store.open(spec.out)
    kept = compare_run(spec.out)
    files = out.read("comparisons.parquet"), out.read("comparisons.csv")
    asked = count_requests(monkeypatch)
    assert compare_run(spec.out) == kept
    assert asked["read"] <= 4
    assert asked["write"] == 0
    for name in ("comparisons.csv", "comparisons.parquet"):
        out.delete(name)
        asked.clear()
        assert compare_run(spec.out) == kept
        assert asked["read"] > 4 + checkpoints
        assert (out.read("comparisons.parquet"), out.read("comparisons.csv")) == files


def test_a_night_without_news_draws_nothing(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is drawn when rows are new, or its files are gone, and not otherwise."""
    spec, _ = finished
    drawn: list[str] = []

    def write_report(out: Store) -> list[str]:
        sources = sources_digest(out)
        out.write("report.html", b"<html>")
        note_drawn(out, sources, {"report.html": ""})
        drawn.append("report.html")
        return drawn

    monkeypatch.setattr("vae_batch.report.bundle.write_report", write_report)
    for expected in (1, 1):
        assert evaluate(spec, ignore).summary.shards_computed == 0
        assert len(drawn) == expected
    out = Store.open(spec.out)
    out.delete("report.html")
    evaluate(spec, ignore)
    assert (len(drawn), out.read("report.html")) == (2, b"<html>")
    rows = read_score_rows(out)
    upsert_scores(out, [changed(rows[0], scored_at="later")])
    evaluate(spec, ignore)
    assert len(drawn) == 3


def test_a_light_task_carries_no_other_rows(
    finished: tuple[EvaluationSpec, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments travel to workers: with a plan of all rows they would grow like their square."""
    import pickle

    spec, checkpoints = finished
    lose_table(spec)
    sizes = []
    executor = stub_executor()
    submit = executor.submit

    def measuring(function, *arguments):
        sizes.append(len(pickle.dumps(arguments)))
        return submit(function, *arguments)

    monkeypatch.setattr(executor, "submit", measuring)
    run(prepare(spec, ignore), executor, ignore)
    assert len(sizes) == checkpoints
    assert max(sizes) < 20_000
