from __future__ import annotations

import pandas as pd
import pytest

from vae_batch.metrics import METRICS
from vae_batch.storage import Store, read_score_rows, read_scores, upsert_scores
from vae_batch.storage.score_table import SCHEMA

FIRST = {"checkpoint": "b", "extractor": "e", "step": 20, "status": "scored", "fid": 1.5}
SECOND = {"checkpoint": "a", "extractor": "e", "step": 3, "status": "failed", "reason": "NaN"}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(str(tmp_path))


def test_rows_are_ordered_by_step_and_upserted_by_key(store: Store) -> None:
    upsert_scores(store, [FIRST])
    upsert_scores(store, [SECOND])
    upsert_scores(store, [SECOND | {"status": "scored", "reason": None, "fid": 0.5}])
    rows = read_score_rows(store)
    assert [(row["checkpoint"], row["status"], row["fid"]) for row in rows] == [
        ("a", "scored", 0.5),
        ("b", "scored", 1.5),
    ]
    assert rows[0]["reason"] is None


def test_doing_it_twice_is_doing_it_once(store: Store) -> None:
    upsert_scores(store, [FIRST, SECOND])
    before = store.read("scores.parquet"), store.read("scores.csv")
    upsert_scores(store, [FIRST, SECOND])
    assert (store.read("scores.parquet"), store.read("scores.csv")) == before


def test_undefined_is_null_never_zero(store: Store) -> None:
    upsert_scores(store, [SECOND])
    assert read_scores(store)["fid"].isna().all()
    csv = pd.read_csv(pd.io.common.BytesIO(store.read("scores.csv")))
    assert csv["fid"].isna().all()
    assert csv["step"].tolist() == [3]


def test_unknown_columns_are_refused(store: Store) -> None:
    with pytest.raises(KeyError, match="fidd"):
        upsert_scores(store, [FIRST | {"fidd": 1.0}])


def test_every_metric_of_the_catalogue_has_a_column() -> None:
    assert set(METRICS) <= set(SCHEMA.names)


def test_no_table_yet(store: Store) -> None:
    assert read_score_rows(store) == []
    assert read_scores(store).empty
