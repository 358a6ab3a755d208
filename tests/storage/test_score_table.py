from __future__ import annotations

import csv
import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.stores.score_rows import score_row

from vae_batch.metrics import METRICS
from vae_batch.plan import InputError
from vae_batch.storage import Reason, RowWarning, Store, read_score_rows, read_scores, upsert_scores
from vae_batch.storage.score_schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY
from vae_batch.storage.tables import parquet_of, read_table, write_table

FIRST = score_row("b", 20, fid=1.5)
SECOND = score_row("a", 3, status="failed", reason="NaN", reason_code="checkpoint_error")

#: Columns that tables of version 0.1 lack.
NEW = ("reason_code", "reason_codes", "warnings_json", "traceback")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(str(tmp_path))


def test_rows_are_ordered_by_step_and_upserted_by_key(store: Store) -> None:
    upsert_scores(store, [FIRST])
    upsert_scores(store, [SECOND])
    upsert_scores(store, [score_row("a", 3, fid=0.5)])
    rows = read_score_rows(store)
    assert [(row.checkpoint, row.status, row.value("fid")) for row in rows] == [
        ("a", "scored", 0.5),
        ("b", "scored", 1.5),
    ]
    assert rows[0].reason is None


def test_upserting_the_same_rows_again_changes_nothing(store: Store) -> None:
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


def test_texts_are_stored_without_credentials(store: Store) -> None:
    upsert_scores(store, [score_row(reason="s3://key:secret@bucket/x is gone", status="failed")])
    (row,) = read_score_rows(store)
    assert row.reason is not None
    assert "secret" not in row.reason.text


def test_every_metric_of_the_catalogue_has_a_column() -> None:
    assert set(METRICS) <= set(SCHEMA.names)


def test_no_table_yet(store: Store) -> None:
    assert read_score_rows(store) == []
    assert read_scores(store).empty


def write_as_version_0_1(store: Store, *records: dict[str, object]) -> None:
    """The table as the first release wrote it: without codes, kinds and version."""
    schema = pa.schema([field for field in SCHEMA if field.name not in NEW])
    write_table(store, "scores", pa.Table.from_pylist(list(records), schema=schema))


def test_tables_of_version_0_1_are_read(store: Store) -> None:
    """Their sentences stay as they are, and no code is guessed from them."""
    failed = SECOND.to_record() | {"warnings": "samples repeat: 3 | samples are noisy: 2"}
    scored = FIRST.to_record() | {"kid_reason": "not asked for; add --metrics kid"}
    write_as_version_0_1(store, failed, scored)
    first, second = read_score_rows(store)
    assert first.reason == Reason("unknown", "NaN")
    assert first.warnings == (
        RowWarning("unknown", "warning", "samples repeat: 3"),
        RowWarning("unknown", "warning", "samples are noisy: 2"),
    )
    assert second.value("fid") == 1.5
    assert second.score("kid").reason == Reason("unknown", "not asked for; add --metrics kid")
    assert read_scores(store)["fid"].tolist()[1] == 1.5


def test_tables_of_version_0_1_are_extended(store: Store) -> None:
    write_as_version_0_1(store, SECOND.to_record())
    upsert_scores(store, [FIRST])
    table = read_table(store, "scores")
    assert table is not None
    assert table.schema.metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    assert [row.reason for row in read_score_rows(store)] == [Reason("unknown", "NaN"), None]


def test_tables_of_a_newer_version_are_refused(store: Store) -> None:
    schema = SCHEMA.with_metadata({VERSION_KEY: b"99"})
    write_table(store, "scores", pa.Table.from_pylist([FIRST.to_record()], schema=schema))
    for read in (read_score_rows, read_scores, lambda out: upsert_scores(out, [SECOND])):
        with pytest.raises(InputError, match=r"version 99 of the score table.*install the release"):
            read(store)


def test_the_csv_holds_no_formula_and_no_control_characters(store: Store) -> None:
    row = score_row("=cmd()|'/c'!A1", reference="a\x1b[2J\nb", fid=-1.5)
    upsert_scores(store, [row])
    text = store.read("scores.csv").decode()
    cells = next(csv.DictReader(io.StringIO(text)))
    assert cells["checkpoint"] == "'=cmd()|'/c'!A1"
    assert cells["reference"] == "a\\u{1b}[2J\nb"
    assert cells["fid"] == "-1.5"
    assert "\x1b" not in text
    assert read_score_rows(store) == [row]


def test_what_a_table_holds_is_checked_when_it_is_read(store: Store) -> None:
    """A digest of the rows; types of columns; values that every row has."""
    upsert_scores(store, [FIRST])
    sound = read_table(store, "scores")
    texts = sound.set_column(sound.column_names.index("fid"), "fid", pa.array(["x"]))
    nameless = sound.set_column(0, "checkpoint", pa.array([None], pa.string()))
    status = sound.set_column(2, "status", pa.array(["perhaps"]))
    codes = sound.column_names.index("reason_codes")
    unknown = sound.set_column(codes, "reason_codes", pa.array(['{"fid": "because"}']))
    damage = [
        (texts, "column fid: expected double, found string"),
        (nameless, "has no checkpoint"),
        (status, "expected one of scored, failed, found 'perhaps'"),
        (unknown, "fid: Input should be"),
    ]
    for table, words in damage:
        store.write("scores.parquet", parquet_of(table))
        with pytest.raises(OSError, match=rf"is damaged .*{words}.* --mend` removes"):
            read_score_rows(store)
    metadata = {**sound.schema.metadata, b"vae_batch.check": b"0" * 32}
    buffer = pa.BufferOutputStream()
    pq.write_table(sound.replace_schema_metadata(metadata), buffer)
    store.write("scores.parquet", bytes(buffer.getvalue()))
    with pytest.raises(OSError, match="its check does not match its rows"):
        read_score_rows(store)
