"""The history: one row a night and checkpoint, upserted, kept whole, easy to plot."""

from __future__ import annotations

import datetime
from pathlib import Path

import pandas as pd
import pytest
from support.runs.nightly_rows import MONDAY, TUESDAY, night_row, scored
from support.stores.score_rows import changed

from vae_batch.nightly.history import (
    content_of,
    has_history,
    read_history,
    series_of,
    upsert_history,
)
from vae_batch.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_it_begins_empty_and_says_whether_it_has_begun(store: Store) -> None:
    assert not has_history(store)
    assert read_history(store) == []
    upsert_history(store, [])
    assert has_history(store)
    assert read_history(store) == []


def test_the_same_rows_twice_are_there_once(store: Store) -> None:
    rows = [night_row("a/step-1", MONDAY, elbo=-90.0), night_row("a/step-2", TUESDAY, elbo=-80.0)]
    upsert_history(store, rows)
    first = read_history(store)
    upsert_history(store, rows)
    assert read_history(store) == first
    assert [(row.date, row.row.checkpoint, row.row.value("elbo")) for row in first] == [
        (MONDAY, "a/step-1", -90.0),
        (TUESDAY, "a/step-2", -80.0),
    ]


def test_a_row_is_replaced_by_date_checkpoint_and_extractor(store: Store) -> None:
    upsert_history(store, [night_row("a/step-1", MONDAY, elbo=-90.0)])
    upsert_history(store, [night_row("a/step-1", MONDAY, elbo=-70.0)])
    upsert_history(store, [night_row("a/step-1", MONDAY, elbo=-70.0, extractor="other")])
    upsert_history(store, [night_row("a/step-1", TUESDAY, elbo=-60.0)])
    assert [row.row.value("elbo") for row in read_history(store)] == [-70.0, -70.0, -60.0]


def test_dates_and_times_are_dates_and_times_for_who_plots_them(store: Store) -> None:
    when = datetime.datetime(2026, 8, 3, 1, 2, 3, tzinfo=datetime.UTC)
    upsert_history(store, [night_row("a/step-1", MONDAY, when, fid_corrected=9.5)])
    frame = pd.read_parquet(Path(store.root, "history.parquet"))
    assert frame["date"][0] == MONDAY
    assert frame["written_at"][0] == pd.Timestamp(when)
    assert frame["fid_corrected"][0] == 9.5
    assert pd.read_csv(Path(store.root, "history.csv"))["date"][0] == "2026-08-03"


def test_a_row_keeps_the_numbers_and_their_conditions_but_not_single_reasons() -> None:
    row = night_row(
        "a/b/step-1", MONDAY, elbo=-1.0, elbo_se=0.1, kid_reason="few", protocol="p"
    ).to_record()
    assert (row["series"], row["elbo"], row["elbo_se"], row["protocol"]) == ("a/b", -1.0, 0.1, "p")
    assert "kid_reason" not in row
    assert {"reason", "version", "checkpoint_sha256", "n_generated"} <= set(row)


def test_a_checkpoint_without_a_folder_is_of_the_series_here() -> None:
    assert series_of("vae.keras") == "."
    assert series_of("s3://b/runs/step-1") == "s3://b/runs"


def test_content_is_the_same_whichever_metrics_were_asked_for() -> None:
    few = scored("a/step-1", fingerprint="few")
    more = scored("a/step-1", fingerprint="more", kid=0.1)
    assert content_of(few) == content_of(more)
    assert content_of(few) != content_of(changed(more, checkpoint_sha256="another"))
    assert content_of(few) != content_of(changed(more, sigma=0.5))
