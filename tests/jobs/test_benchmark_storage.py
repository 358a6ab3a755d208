"""The storage benchmark: every format gives back what it was given, and its table is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import storage
import typer

from vae_batch.storage import encode_columns

SMALL = {"shards": 2, "resume": "4,9", "rounds": 2}
FORMATS = [
    *("as stored, with receipt", "as stored, file alone", "Parquet, pyarrow's defaults"),
    *("npz", "npz, compressed", "npz, float64"),
]


def run(path: Path, **options: Any) -> Any:
    storage.main(**SMALL, **options, json_path=path)
    return json.loads(path.read_text())


def check(table: dict[str, Any], places: list[str]) -> None:
    formats, resuming = table["formats"], table["resuming"]
    assert [(row["where"], row["format"]) for row in formats] == [
        (place, name) for place in places for name in FORMATS
    ]
    assert [(row["where"], row["shards"], row["way"], row["gathered"]) for row in resuming] == [
        (place, count, way, way == "receipts.json")
        for place in places
        for count in (4, 9)
        for way in ("receipts.json", "one receipt per shard")
    ]
    assert all(row["exact"] for row in formats)
    assert all(row["shards_found"] == row["shards"] and row["seconds"] > 0 for row in resuming)
    for row in formats:
        for verb in ("write", "read"):
            assert row[f"{verb}_seconds"] > 0
            assert row[f"{verb}_mb_per_second"] > 0


def test_made_shards(tmp_path: Path) -> None:
    table = run(tmp_path / "table.json", images=40, features=64, classes=5, s3=False)
    check(table, ["local"])
    rows = {row["format"]: row for row in table["formats"]}
    ours = rows["as stored, with receipt"]
    assert ours["write_times_ours"] == ours["read_times_ours"] == 1
    # An image has 64 + 5 numbers: 276 bytes as float32 and 552 as float64, beside headers.
    assert 276 < rows["npz"]["bytes_per_image"] < 276 + 40
    assert 552 < rows["npz, float64"]["bytes_per_image"] < 552 + 40
    assert rows["as stored, file alone"]["bytes_per_image"] < ours["bytes_per_image"]
    # MB/s are of the same raw bytes for all, 40 x 276.
    for row in rows.values():
        assert row["read_mb_per_second"] * row["read_seconds"] == pytest.approx(40 * 276 / 1e6)


def test_a_shard_of_a_finished_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "index": np.arange(12),
        "features": rng.normal(size=(12, 8)).astype(np.float32),
        "probabilities": np.full((12, 4), 0.25, np.float32),
    }
    shard = tmp_path / "part.parquet"
    shard.write_bytes(encode_columns(columns))
    table = run(tmp_path / "table.json", shard=shard, s3=False)
    check(table, ["local"])
    assert table["shapes"]["features"] == [12, 8]
    shard.write_bytes(encode_columns({"kl": rng.normal(size=12)}))
    with pytest.raises(typer.BadParameter, match="expected activations"):
        run(tmp_path / "none.json", shard=shard, s3=False)


@pytest.mark.slow
def test_on_s3(tmp_path: Path) -> None:
    pytest.importorskip("moto.server", reason="moto is missing: pip install '.[s3]'")
    table = run(tmp_path / "table.json", images=10, features=16, classes=3, s3=True)
    check(table, ["local", "S3 (moto)"])
